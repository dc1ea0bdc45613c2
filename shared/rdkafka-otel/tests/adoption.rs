//! The ways in for a service that keeps its own producer, context or loop: the same spans as those
//! of the traced clients, on every way that they can end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod stage;

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::trace::{FutureExt, SpanKind, Status, TraceContextExt, TraceFlags, Tracer};
use opentelemetry::{Context, KeyValue};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{
    BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer, ProducerContext,
    ThreadedProducer,
};
use rdkafka::{ClientContext, Message, Timestamp};
use rdkafka_otel::testing::compare;
use rdkafka_otel::{
    Parent, ProcessTracer, SendTraced, SendTracer, TracedContext, TracedProducer, extract,
};
use stage::{
    Broker, WAIT, beginning, config, events, eventually, exception, nowhere, receive, remote, sdk,
    server_attributes, start_and_drop, under, unique,
};

const ERROR: &str = "rdkafka::error::KafkaError";

/// The attributes of a record without key or payload at the start.
fn bare(topic: &str, servers: &str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("messaging.client.id", "tests"),
        KeyValue::new("messaging.kafka.message.tombstone", true),
    ];
    attributes.extend(server_attributes(servers));
    attributes
}

fn delivered(topic: &str, servers: &str, offset: i64) -> Vec<KeyValue> {
    let mut attributes = bare(topic, servers);
    attributes.push(KeyValue::new("messaging.destination.partition.id", "0"));
    attributes.push(KeyValue::new("messaging.kafka.offset", offset));
    attributes
}

fn failed(topic: &str, servers: &str, class: &'static str) -> Vec<KeyValue> {
    let mut attributes = bare(topic, servers);
    attributes.push(KeyValue::new("error.type", class));
    attributes
}

fn empty(topic: &str) -> FutureRecord<'_, str, str> {
    FutureRecord::to(topic)
}

#[tokio::test]
async fn a_future_producer_of_ones_own() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("future", 1).await;
    let producer: FutureProducer = broker.config().create().unwrap();
    // A configuration that consumers share makes no sender a member of their group.
    let tracer = SendTracer::from_config(&broker.group_config("workers"));
    let parent = remote(100, TraceFlags::SAMPLED);
    let delivery = tracer
        .send_traced_with(&producer, empty(&topic), WAIT, [KeyValue::new("app.x", 1)])
        .with_context(under(&parent))
        .await
        .unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let span = sdk().only(&format!("send {topic}"));
    let mut expected = delivered(&topic, &broker.servers, 0);
    expected.insert(8, KeyValue::new("app.x", 1));
    assert_eq!(span.attributes, expected);
    assert_eq!(span.span_kind, SpanKind::Producer);
    assert_eq!(span.parent_span_id, parent.span_id());
    assert_eq!(span.status, Status::Unset);
    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    let carried = extract(record.headers());
    assert_eq!(
        carried.span().span_context().span_id(),
        span.span_context.span_id()
    );
}

#[tokio::test]
async fn a_future_producer_whose_send_fails() {
    sdk();
    let (servers, topic) = (nowhere(), unique("future-fails"));
    let mut config = config(&servers);
    config.set("message.timeout.ms", "100");
    let producer: FutureProducer = config.create().unwrap();
    let tracer = SendTracer::from_config(&config);
    let (error, unsent) = tracer
        .send_traced(&producer, empty(&topic), WAIT)
        .await
        .unwrap_err();
    assert_eq!(unsent.headers().unwrap().count(), 1);

    let span = sdk().only(&format!("send {topic}"));
    assert_eq!(span.attributes, failed(&topic, &servers, "_MSG_TIMED_OUT"));
    assert_eq!(span.status, Status::error(error.to_string()));
    assert_eq!(events(&span), exception(ERROR, &error.to_string()));
}

#[tokio::test]
async fn a_future_producer_that_is_not_waited_for() {
    sdk();
    let broker = Broker::mock();
    let mock = broker.mock.as_ref().unwrap();
    let topic = broker.topic("future-dropped", 1).await;
    let mut config = broker.config();
    config.set("queue.buffering.max.messages", "1");
    let producer: FutureProducer = config.create().unwrap();
    let tracer = SendTracer::from_config(&config);
    mock.broker_down(-1).unwrap();

    // The first is queued, and a task waits on for it; the second finds the queue full.
    start_and_drop(tracer.send_traced(&producer, empty(&topic), WAIT));
    let name = format!("send {topic}");
    assert_eq!(sdk().ended(&name).len(), 0);
    start_and_drop(tracer.send_traced(&producer, empty(&topic), WAIT));
    let given_up = sdk().only(&name);
    assert_eq!(
        given_up.attributes,
        failed(&topic, &broker.servers, "cancelled")
    );
    let refused = tracer
        .send_traced(&producer, empty(&topic), Duration::ZERO)
        .await;
    assert_eq!(
        refused.unwrap_err().0,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    );
    assert_eq!(
        sdk().ended(&name)[1].attributes,
        failed(&topic, &broker.servers, "_QUEUE_FULL")
    );
    mock.broker_up(-1).unwrap();

    eventually(|| sdk().ended(&name).len() == 3).await;
    let span = &sdk().ended(&name)[2];
    assert_eq!(span.attributes, delivered(&topic, &broker.servers, 0));
    assert_eq!(span.status, Status::Unset);
}

#[tokio::test]
async fn without_waiting() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("unwaited", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let attributes = [KeyValue::new("app.x", 1)];
    let report = producer
        .send_result_with(empty(&topic), attributes)
        .map_err(|(error, _)| error)
        .unwrap();
    drop(
        producer
            .send_result(empty(&topic))
            .map_err(|(error, _)| error)
            .unwrap(),
    );
    let delivery = report.await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));
    producer.flush(WAIT).unwrap();

    let spans = sdk().ended(&format!("send {topic}"));
    assert_eq!(spans.len(), 2);
    let mut expected = delivered(&topic, &broker.servers, 0);
    expected.insert(8, KeyValue::new("app.x", 1));
    assert_eq!(spans[0].attributes, expected);
    assert_eq!(spans[1].attributes, delivered(&topic, &broker.servers, 1));
}

#[tokio::test]
async fn without_waiting_for_room() {
    sdk();
    let (servers, topic) = (nowhere(), unique("no-room"));
    let mut config = config(&servers);
    config.set("queue.buffering.max.messages", "1");
    let producer = TracedProducer::from_config(&config).unwrap();
    let kept = producer
        .send_result(empty("other"))
        .map_err(|(error, _)| error);
    let kept = kept.unwrap();
    let record = empty(&topic).headers(OwnedHeaders::new());
    let (error, record) = producer.send_result(record).err().unwrap();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    );
    assert_eq!(record.topic, topic);
    let span = sdk().only(&format!("send {topic}"));
    assert_eq!(span.attributes, failed(&topic, &servers, "_QUEUE_FULL"));
    assert_eq!(events(&span), exception(ERROR, &error.to_string()));

    // A report that outlives the producer tells that the record was given up.
    drop(producer);
    let (error, record) = kept.await.unwrap_err();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue)
    );
    assert_eq!(record.topic(), "other");
}

/// Says what was delivered, under numbers of its own.
struct Numbered(mpsc::SyncSender<(u64, Result<i64, KafkaError>, usize)>);

impl ClientContext for Numbered {}

impl ProducerContext for Numbered {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        let (record, result) = match result {
            Ok(record) => (record, Ok(record.offset())),
            Err((error, record)) => (record, Err(error.clone())),
        };
        // The span has ended by now.
        let ended = sdk().ended(&format!("send {}", record.topic())).len();
        self.0.send((*number, result, ended)).unwrap();
    }
}

fn numbered(topic: &str, number: u64) -> BaseRecord<'_, str, str, Box<u64>> {
    BaseRecord::with_opaque_to(topic, Box::new(number))
}

#[tokio::test]
async fn a_context_of_ones_own() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("own-context", 1).await;
    let (sender, delivered_numbers) = mpsc::sync_channel(10);
    let config = broker.config();

    let context = TracedContext::new(&config, Numbered(sender.clone()));
    let threaded: ThreadedProducer<_> = config.create_with_context(context).unwrap();
    threaded
        .send_traced(numbered(&topic, 7))
        .map_err(|(error, _)| error)
        .unwrap();
    threaded.flush(WAIT).unwrap();
    assert_eq!(delivered_numbers.recv().unwrap(), (7, Ok(0), 1));

    let context = TracedContext::new(&config, Numbered(sender));
    let polled: BaseProducer<_> = config.create_with_context(context).unwrap();
    polled
        .send_traced(numbered(&topic, 8))
        .map_err(|(error, _)| error)
        .unwrap();
    polled.flush(WAIT).unwrap();
    assert_eq!(delivered_numbers.recv().unwrap(), (8, Ok(1), 2));

    let spans = sdk().ended(&format!("send {topic}"));
    for (offset, span) in spans.iter().enumerate() {
        assert_eq!(
            span.attributes,
            delivered(&topic, &broker.servers, offset as i64)
        );
        assert_eq!(span.span_kind, SpanKind::Producer);
    }
    let consumer = broker.consumer(&topic);
    for span in &spans {
        let carried = extract(receive(&consumer).await.headers());
        assert_eq!(
            carried.span().span_context().span_id(),
            span.span_context.span_id()
        );
    }
}

#[tokio::test]
async fn a_context_of_ones_own_gets_its_opaque_back() {
    sdk();
    let (servers, topic) = (nowhere(), unique("own-refused"));
    let (sender, delivered_numbers) = mpsc::sync_channel(10);
    let mut config = config(&servers);
    config.set("queue.buffering.max.messages", "1");
    let context = TracedContext::new(&config, Numbered(sender));
    let producer: ThreadedProducer<_> = config.create_with_context(context).unwrap();
    producer
        .send_traced(numbered(&topic, 1))
        .map_err(|(error, _)| error)
        .unwrap();
    let (error, refused) = producer.send_traced(numbered(&topic, 2)).err().unwrap();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    );
    assert_eq!(*refused.delivery_opaque, 2);
    assert_eq!(refused.headers.unwrap().count(), 1);
    let span = sdk().only(&format!("send {topic}"));
    assert_eq!(span.attributes, failed(&topic, &servers, "_QUEUE_FULL"));

    drop(producer);
    let purged = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue);
    assert_eq!(delivered_numbers.recv().unwrap(), (1, Err(purged), 2));
    assert_eq!(
        sdk().ended(&format!("send {topic}"))[1].attributes,
        failed(&topic, &servers, "_PURGE_QUEUE")
    );
}

#[tokio::test]
async fn suppressed_telemetry_sends_records_as_they_are() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("own-suppressed", 1).await;
    let producer: FutureProducer = broker.config().create().unwrap();
    let tracer = SendTracer::from_config(&broker.config());
    tracer
        .send_traced(&producer, empty(&topic), WAIT)
        .with_context(under(&remote(1, TraceFlags::SAMPLED)).with_telemetry_suppressed())
        .await
        .unwrap();
    assert_eq!(sdk().ended(&format!("send {topic}")).len(), 0);
    assert!(receive(&broker.consumer(&topic)).await.headers().is_none());
}

fn record(topic: &str) -> OwnedMessage {
    let (timestamp, topic) = (Timestamp::NotAvailable, topic.to_owned());
    OwnedMessage::new(Some(vec![1]), None, topic, timestamp, 0, 7, None)
}

fn tracer() -> ProcessTracer {
    sdk();
    let mut config = config("a:1,b:2");
    config.set("group.id", "workers");
    ProcessTracer::from_config(&config)
}

/// What every span here says, and what follows.
fn expected(topic: &str, more: &str) -> String {
    let mut lines = vec![
        ".messaging.client.id = \"tests\"".to_owned(),
        ".messaging.consumer.group.name = \"workers\"".to_owned(),
        ".messaging.destination.name = *".to_owned(),
        ".messaging.destination.partition.id = \"0\"".to_owned(),
        ".messaging.kafka.offset = 7".to_owned(),
        ".messaging.operation.name = \"process\"".to_owned(),
        ".messaging.operation.type = \"process\"".to_owned(),
        ".messaging.system = \"kafka\"".to_owned(),
    ];
    let more: Vec<_> = more.lines().map(str::to_owned).collect();
    let attribute = |line: &String| line.starts_with('.');
    let at = more.iter().take_while(|line| attribute(line)).count();
    lines.extend(more[..at].iter().cloned());
    lines.sort();
    lines.extend(more[at..].iter().cloned());
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("test: process {topic} CONSUMER\n{lines}")
}

#[track_caller]
fn assert_trace(topic: &str, more: &str) {
    let span = sdk().only(&format!("process {topic}"));
    let trace = sdk().trace(span.span_context.trace_id());
    if let Err(mismatch) = compare(&expected(topic, more), &trace) {
        panic!("{mismatch}");
    }
}

#[test]
fn a_guard_around_blocking_work() {
    let topic = unique("guarded");
    let span = tracer().start(&record(&topic));
    let answer = {
        let _current = span.context().clone().attach();
        sdk().provider.tracer("tests").in_span("inside", |_| ());
        Ok::<_, io::Error>("answer")
    };
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 0);
    assert_eq!(span.finish(answer).unwrap(), "answer");
    assert!(!Context::current().has_active_span());
    assert_trace(&topic, "test: inside INTERNAL");
}

#[test]
fn a_guard_with_an_error() {
    let topic = unique("guard-error");
    let error = Err::<(), _>(io::Error::from(io::ErrorKind::NotFound));
    let result = tracer().start(&record(&topic)).finish(error);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_trace(
        &topic,
        ".error.type = \"NotFound\"\n\
         !error entity not found\n\
         @exception exception.message=\"entity not found\" exception.type=\"std::io::error::Error\"",
    );
}

#[test]
fn a_guard_that_is_dropped() {
    let topic = unique("guard-dropped");
    drop(tracer().start(&record(&topic)));
    assert_trace(
        &topic,
        ".error.type = \"cancelled\"\n!error dropped before it had finished",
    );
}

#[test]
fn a_guard_that_a_panic_drops() {
    let topic = unique("guard-panic");
    let panicked = std::thread::spawn({
        let topic = topic.clone();
        move || {
            let _span = tracer().start(&record(&topic));
            panic!("while the span is open");
        }
    });
    assert!(panicked.join().is_err());
    assert_trace(
        &topic,
        ".error.type = \"panic\"\n\
         !error panicked\n\
         @exception exception.message=\"panicked\" exception.type=\"panic\"",
    );
}

#[test]
fn a_guard_under_suppressed_telemetry() {
    let topic = unique("guard-suppressed");
    let ambient = under(&remote(2, TraceFlags::SAMPLED)).with_telemetry_suppressed();
    let _current = ambient.attach();
    let span = tracer().start(&record(&topic));
    assert!(span.context().is_telemetry_suppressed());
    let seen = span.context().span().span_context().clone();
    assert_eq!(seen, remote(2, TraceFlags::SAMPLED));
    span.finish(Ok::<_, io::Error>(())).unwrap();
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 0);
}

#[tokio::test]
async fn a_base_consumer_of_ones_own() {
    sdk();
    let broker = Broker::any();
    let topic = broker.topic("base-consumer", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    producer.send(empty(&topic), WAIT).await.unwrap();

    let config = broker.group_config("workers");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.assign(&beginning(&topic)).unwrap();
    let record = consumer.poll(WAIT).unwrap().unwrap();
    let tracer = ProcessTracer::from_config(&config).with_parent(Parent::CreationContext);
    let span = tracer.start(&record);
    span.finish(Ok::<_, KafkaError>(())).unwrap();

    let process = sdk().only(&format!("process {topic}"));
    let send = sdk().only(&format!("send {topic}"));
    assert_eq!(process.parent_span_id, send.span_context.span_id());
}
