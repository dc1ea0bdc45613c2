//! Records sent by this crate and processed by it: the halves of a trace meet across a broker.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod stage;

use std::time::SystemTime;

use opentelemetry::trace::{FutureExt, SpanId, SpanKind, TraceFlags};
use opentelemetry::{KeyValue, Value};
use rdkafka::consumer::{CommitMode, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use rdkafka::{Message, Timestamp};
use rdkafka_otel::testing::compare;
use rdkafka_otel::{Parent, TracedConsumer, TracedProducer};
use stage::{Broker, WAIT, linked, receive, remote, sdk, under};

#[tokio::test]
async fn two_hops_are_one_trace() {
    sdk();
    let broker = Broker::any();
    let (orders, status) = (
        broker.topic("orders", 1).await,
        broker.topic("status", 1).await,
    );
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let root = remote(1, TraceFlags::SAMPLED);

    producer
        .send(FutureRecord::to(&orders).key("c-7").payload("placed"), WAIT)
        .with_context(under(&root))
        .await
        .unwrap();

    let worker = broker
        .consumer(&orders)
        .with_parent(Parent::CreationContext);
    let record = receive(&worker).await;
    worker
        .process(&record, || async {
            let reply = FutureRecord::to(&status).key("c-7").payload("accepted");
            let sent = producer.send(reply, WAIT).await;
            sent.map(drop).map_err(|(error, _)| error)
        })
        .await
        .unwrap();

    let listener = broker
        .consumer(&status)
        .with_parent(Parent::CreationContext);
    let record = receive(&listener).await;
    let payload = listener
        .process(&record, || async {
            Ok::<_, KafkaError>(record.payload().map(<[u8]>::to_vec))
        })
        .await;
    assert_eq!(payload.unwrap().as_deref(), Some(&b"accepted"[..]));

    let spans = [
        (format!("send {orders}"), SpanKind::Producer),
        (format!("process {orders}"), SpanKind::Consumer),
        (format!("send {status}"), SpanKind::Producer),
        (format!("process {status}"), SpanKind::Consumer),
    ]
    .map(|(name, kind)| {
        let span = sdk().only(&name);
        assert_eq!(span.span_kind, kind, "{name}");
        assert_eq!(span.span_context.trace_id(), root.trace_id(), "{name}");
        span
    });
    let mut parent = root.span_id();
    for span in &spans {
        assert_eq!(span.parent_span_id, parent, "{}", span.name);
        parent = span.span_context.span_id();
    }
    for (send, process) in [(&spans[0], &spans[1]), (&spans[2], &spans[3])] {
        assert_eq!(linked(send), []);
        let links: Vec<_> = linked(process).iter().map(|link| link.span_id()).collect();
        assert_eq!(links, [send.span_context.span_id()]);
        assert!(process.start_time >= send.start_time);
    }
}

#[tokio::test]
async fn the_whole_process_span_of_a_received_record() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("received", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).key("c-7");
    producer.send(record, WAIT).await.unwrap();

    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    // The same record once more, kept beyond the consumer's buffer.
    let kept = record.detach();
    let done = || async { Ok::<_, KafkaError>(()) };
    consumer.process(&record, done).await.unwrap();
    consumer.process(&kept, done).await.unwrap();

    let Timestamp::CreateTime(created) = record.timestamp() else {
        panic!("topics keep the sender's timestamp unless they are told otherwise")
    };
    let send = sdk().only(&format!("send {topic}"));
    let spans = sdk().ended(&format!("process {topic}"));
    assert_eq!(spans.len(), 2);
    for span in spans {
        let started = span
            .start_time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut expected = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", topic.clone()),
            KeyValue::new("messaging.destination.partition.id", "0"),
            KeyValue::new("messaging.kafka.offset", 0_i64),
            KeyValue::new("messaging.consumer.group.name", "tests"),
            KeyValue::new("messaging.client.id", "tests"),
            KeyValue::new("messaging.kafka.message.key", "c-7"),
            KeyValue::new("messaging.kafka.message.tombstone", true),
        ];
        expected.extend(stage::server_attributes(&broker.servers));
        expected.push(KeyValue::new(
            "kafka.record.queue_time_ms",
            started.as_millis() as i64 - created,
        ));
        expected.push(KeyValue::new("kafka.record.timestamp_type", "CreateTime"));
        assert_eq!(span.attributes, expected);
        assert_eq!(span.span_context.trace_id(), send.span_context.trace_id());
        assert_eq!(span.parent_span_id, send.span_context.span_id());
    }
}

#[tokio::test]
async fn records_without_headers_start_traces() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("bare", 1).await;
    let plain: rdkafka::producer::FutureProducer = broker.config().create().unwrap();
    plain
        .send(FutureRecord::to(&topic).key("k").payload("p"), WAIT)
        .await
        .unwrap();

    let consumer = broker.consumer(&topic).with_parent(Parent::CreationContext);
    let record = receive(&consumer).await;
    assert!(record.headers().is_none());
    consumer
        .process(&record, || async { Ok::<_, KafkaError>(()) })
        .await
        .unwrap();

    let span = sdk().only(&format!("process {topic}"));
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(linked(&span), []);
}

/// A service's loop, as a task: everything in it may move between threads.
async fn work(consumer: TracedConsumer, topic: String) -> Result<i64, KafkaError> {
    consumer.consumer().subscribe(&[&topic])?;
    let record = consumer.recv().await?;
    consumer
        .process(&record, || async { Ok::<_, KafkaError>(()) })
        .await?;
    consumer
        .consumer()
        .commit_message(&record, CommitMode::Sync)?;
    Ok(record.offset())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_member_in_a_task_of_its_own() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("group", 1).await;
    let mut config = broker.config();
    let producer: TracedProducer = config.create().unwrap();
    let send = {
        let topic = topic.clone();
        tokio::spawn(async move {
            producer
                .send(FutureRecord::to(&topic).key("k").payload("p"), WAIT)
                .await
        })
    };
    send.await.unwrap().unwrap();

    config
        .set("group.id", format!("group-{topic}"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "10");
    let consumer: TracedConsumer = config.create().unwrap();
    let offset = tokio::time::timeout(3 * WAIT, tokio::spawn(work(consumer, topic.clone()))).await;
    assert_eq!(offset.unwrap().unwrap(), Ok(0));
    let process = sdk().only(&format!("process {topic}"));
    let send = sdk().only(&format!("send {topic}"));
    assert_eq!(process.parent_span_id, send.span_context.span_id());
}

#[tokio::test]
async fn two_consumers_of_one_record() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("shared", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    producer
        .send(FutureRecord::to(&topic).key("k").payload("p"), WAIT)
        .await
        .unwrap();
    let groups = ["billing", "shipping"];
    for group in groups {
        let consumer = broker
            .consumer_with(group, DefaultConsumerContext, &topic)
            .with_parent(Parent::CreationContext);
        let record = receive(&consumer).await;
        let work = || async { Ok::<_, KafkaError>(()) };
        consumer.process(&record, work).await.unwrap();
    }

    let send = sdk().only(&format!("send {topic}"));
    let attributes = |operation: &str, group: &str| {
        let server = stage::server_attributes(&broker.servers);
        let server: String = server
            .iter()
            .map(|one| match &one.value {
                Value::I64(port) => format!(".{} = {port}\n", one.key),
                text => format!(".{} = {:?}\n", one.key, text.as_str()),
            })
            .collect();
        let (group, wait) = match group {
            "" => (String::new(), ""),
            _ => (
                format!(".messaging.consumer.group.name = \"{group}\"\n"),
                "->link * (parent)\n.kafka.record.queue_time_ms = *\n\
                 .kafka.record.timestamp_type = \"CreateTime\"\n",
            ),
        };
        format!(
            "{}.messaging.client.id = \"tests\"\n{group}\
             .messaging.destination.name = \"{topic}\"\n\
             .messaging.destination.partition.id = \"0\"\n\
             .messaging.kafka.message.key = \"k\"\n\
             .messaging.kafka.offset = 0\n\
             .messaging.operation.name = \"{operation}\"\n\
             .messaging.operation.type = \"{operation}\"\n\
             .messaging.system = \"kafka\"\n{server}",
            wait.replace('*', &format!("send {topic}")).replace(
                &format!("queue_time_ms = send {topic}"),
                "queue_time_ms = *"
            ),
        )
    };
    let indented = |text: String, depth: &str| -> String {
        text.lines()
            .map(|line| format!("{depth}{line}\n"))
            .collect()
    };
    let mut expected = format!("test: send {topic} PRODUCER\n");
    expected += &indented(attributes("send", ""), "  ");
    for group in groups {
        expected += &format!("  test: process {topic} CONSUMER\n");
        expected += &indented(attributes("process", group), "    ");
    }
    let trace = sdk().trace(send.span_context.trace_id());
    if let Err(mismatch) = compare(&expected, &trace) {
        panic!("{mismatch}");
    }
}
