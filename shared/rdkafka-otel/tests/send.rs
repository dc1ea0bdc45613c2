//! The `send` span, on every way that a record can take: delivered, refused, timed out, given up.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::trace::{FutureExt, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message};
use rdkafka_otel::{TracedProducer, extract};
use stage::{
    Broker, WAIT, config, events, eventually, exception, nowhere, poll_once, receive, remote, sdk,
    server_attributes, start_and_drop, traceparent, under, unique,
};

const ERROR: &str = "rdkafka::error::KafkaError";

/// The attributes that every send span here begins with.
fn common(topic: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
    ]
}

fn client_id() -> KeyValue {
    KeyValue::new("messaging.client.id", "tests")
}

fn partition(id: &'static str) -> KeyValue {
    KeyValue::new("messaging.destination.partition.id", id)
}

/// The attributes of a record without key or payload, sent to one server.
fn bare(topic: &str, servers: &str) -> Vec<KeyValue> {
    let mut attributes = common(topic);
    attributes.push(client_id());
    attributes.push(KeyValue::new("messaging.kafka.message.tombstone", true));
    attributes.extend(server_attributes(servers));
    attributes
}

fn empty(topic: &str) -> FutureRecord<'_, str, str> {
    FutureRecord::to(topic)
}

fn assert_failed(span: &SpanData, message: &str) {
    assert_eq!(span.status, Status::error(message.to_owned()));
    assert_eq!(events(span), exception(ERROR, message));
    assert_eq!(span.span_kind, SpanKind::Producer);
}

#[tokio::test]
async fn a_delivered_record() {
    let broker = Broker::any();
    let topic = broker.topic("delivered", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();

    for expected_offset in 0..2 {
        let topic = &topic;
        let delivery = producer
            .send(FutureRecord::to(topic).key("c-7").payload("{}"), WAIT)
            .await
            .unwrap();
        assert_eq!((delivery.partition, delivery.offset), (0, expected_offset));
    }

    let spans = sdk().ended(&format!("send {topic}"));
    assert_eq!(spans.len(), 2);
    for (offset, span) in (0_i64..).zip(&spans) {
        let mut expected = common(&topic);
        expected.push(client_id());
        expected.push(KeyValue::new("messaging.kafka.message.key", "c-7"));
        expected.extend(server_attributes(&broker.servers));
        expected.push(partition("0"));
        expected.push(KeyValue::new("messaging.kafka.offset", offset));
        assert_eq!(span.attributes, expected);
        assert_eq!(span.span_kind, SpanKind::Producer);
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        assert_eq!(span.links.len(), 0);
        assert_eq!(span.status, Status::Unset);
        assert_eq!(events(span), []);
        assert!(span.end_time > span.start_time);
    }
    let scope = &spans[0].instrumentation_scope;
    assert_eq!(scope.name(), "rdkafka-otel");
    assert_eq!(scope.version(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        scope.schema_url(),
        Some("https://opentelemetry.io/schemas/1.44.0")
    );
}

/// Installs the SDK before a producer looks for it.
fn sdk_config(broker: &Broker) -> &'static ClientConfig {
    sdk();
    Box::leak(Box::new(broker.config()))
}

#[tokio::test]
async fn attributes_follow_the_record() {
    let broker = Broker::any();
    let topic = broker.topic("attributes", 2).await;
    let name = format!("send {topic}");
    sdk();
    // Two servers, no client id: neither can be told.
    let servers = format!("{0},{0}", broker.servers);
    let producer =
        TracedProducer::from_config(ClientConfig::new().set("bootstrap.servers", servers)).unwrap();

    let long = "k".repeat(1025);
    let keys: [(Option<&[u8]>, Option<&str>); 5] = [
        (None, None),
        (Some(b"\xff\xfe"), None),
        (Some(b""), Some("")),
        (Some(&long.as_bytes()[..1024]), Some(&long[..1024])),
        (Some(long.as_bytes()), None),
    ];
    for (sent, (key, shown)) in keys.into_iter().enumerate() {
        let mut record: FutureRecord<'_, [u8], str> = FutureRecord::to(&topic).payload("x");
        record.key = key;
        record.partition = Some(1);
        let app = [KeyValue::new("app.order.id", "4711")];
        producer.send_with(record, WAIT, app).await.unwrap();

        let mut expected = common(&topic);
        expected.push(partition("1"));
        if let Some(key) = shown {
            expected.push(KeyValue::new("messaging.kafka.message.key", key.to_owned()));
        }
        expected.push(KeyValue::new("app.order.id", "4711"));
        expected.push(KeyValue::new("messaging.kafka.offset", sent as i64));
        assert_eq!(sdk().ended(&name)[sent].attributes, expected);
    }
}

#[tokio::test]
async fn the_record_carries_the_span_and_keeps_its_headers() {
    let broker = Broker::any();
    let topic = broker.topic("headers", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    let stale = remote(1, TraceFlags::SAMPLED);
    let current = remote(2, TraceFlags::SAMPLED);

    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "b",
            value: Some(&b"\xff\x00"[..]),
        })
        .insert(Header {
            key: "Traceparent",
            value: Some(traceparent(&stale).as_bytes()),
        })
        .insert(Header {
            key: "tracestate",
            value: Some(&b"stale=1"[..]),
        })
        .insert(Header {
            key: "a",
            value: None::<&[u8]>,
        })
        .insert(Header {
            key: "traceparent",
            value: Some(traceparent(&stale).as_bytes()),
        })
        .insert(Header {
            key: "b",
            value: Some(&b""[..]),
        });
    producer
        .send(empty(&topic).headers(headers), WAIT)
        .with_context(under(&current))
        .await
        .unwrap();

    let span = sdk().only(&format!("send {topic}"));
    assert_eq!(span.span_context.trace_id(), current.trace_id());
    assert_eq!(span.parent_span_id, current.span_id());
    assert!(span.parent_span_is_remote);

    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    let received: Vec<_> = record.headers().unwrap().iter().collect();
    let present = traceparent(&span.span_context);
    assert_eq!(
        received,
        [
            Header {
                key: "b",
                value: Some(&b"\xff\x00"[..])
            },
            Header {
                key: "a",
                value: None
            },
            Header {
                key: "b",
                value: Some(&b""[..])
            },
            Header {
                key: "traceparent",
                value: Some(present.as_bytes())
            },
        ]
    );
    let cx = extract(record.headers());
    assert_eq!(
        cx.span().span_context().span_id(),
        span.span_context.span_id()
    );
}

#[tokio::test]
async fn an_unsampled_parent_costs_the_header_and_nothing_else() {
    let broker = Broker::any();
    let topic = broker.topic("unsampled", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    let parent = remote(3, TraceFlags::NOT_SAMPLED);

    let never = std::iter::from_fn(|| -> Option<KeyValue> { panic!("attributes were built") });
    producer
        .send_with(empty(&topic), WAIT, never)
        .with_context(under(&parent))
        .await
        .unwrap();

    assert_eq!(sdk().ended(&format!("send {topic}")).len(), 0);
    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    assert_eq!(record.headers().unwrap().count(), 1);
    let cx = extract(record.headers());
    let carried = cx.span().span_context().clone();
    assert_eq!(carried.trace_id(), parent.trace_id());
    assert!(!carried.is_sampled());
}

#[tokio::test]
async fn suppressed_telemetry_leaves_the_record_alone() {
    let broker = Broker::any();
    let topic = broker.topic("suppressed", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();

    let cx = under(&remote(4, TraceFlags::SAMPLED)).with_telemetry_suppressed();
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some("theirs"),
    });
    for headers in [Some(headers), None] {
        let mut record = empty(&topic);
        record.headers = headers;
        producer
            .send(record, WAIT)
            .with_context(cx.clone())
            .await
            .unwrap();
    }

    assert_eq!(sdk().ended(&format!("send {topic}")).len(), 0);
    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    let received: Vec<_> = record.headers().unwrap().iter().collect();
    assert_eq!(
        received,
        [Header {
            key: "traceparent",
            value: Some(&b"theirs"[..])
        }]
    );
    assert!(receive(&consumer).await.headers().is_none());
}

#[tokio::test]
async fn a_broker_that_is_down() {
    sdk();
    let servers = nowhere();
    let topic = unique("down");
    let producer =
        TracedProducer::from_config(config(&servers).set("message.timeout.ms", "200")).unwrap();

    let record = FutureRecord::to(&topic).key("k").payload("p");
    let (error, unsent) = producer.send(record, WAIT).await.unwrap_err();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)
    );
    assert_eq!(
        (unsent.key(), unsent.payload()),
        (Some(&b"k"[..]), Some(&b"p"[..]))
    );

    let span = sdk().only(&format!("send {topic}"));
    assert_failed(&span, &error.to_string());
    let mut expected = common(&topic);
    expected.push(client_id());
    expected.push(KeyValue::new("messaging.kafka.message.key", "k"));
    expected.extend(server_attributes(&servers));
    expected.push(KeyValue::new("error.type", "_MSG_TIMED_OUT"));
    assert_eq!(span.attributes, expected);
    assert!(span.end_time.duration_since(span.start_time).unwrap() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_partition_that_is_not_there() {
    let broker = Broker::any();
    let topic = broker.topic("partition", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();

    let (error, _) = producer
        .send(empty(&topic).partition(99), WAIT)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition)
    );

    let span = sdk().only(&format!("send {topic}"));
    assert_failed(&span, &error.to_string());
    let mut expected = common(&topic);
    expected.push(partition("99"));
    expected.push(client_id());
    expected.push(KeyValue::new("messaging.kafka.message.tombstone", true));
    expected.extend(server_attributes(&broker.servers));
    expected.push(KeyValue::new("error.type", "_UNKNOWN_PARTITION"));
    assert_eq!(span.attributes, expected);
}

#[tokio::test]
async fn a_record_that_the_broker_refuses() {
    let broker = Broker::mock();
    let topic = broker.topic("refused", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    broker.mock.as_ref().unwrap().request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );

    let (error, _) = producer.send(empty(&topic), WAIT).await.unwrap_err();

    let span = sdk().only(&format!("send {topic}"));
    assert_failed(&span, &error.to_string());
    let mut expected = bare(&topic, &broker.servers);
    expected.push(KeyValue::new("error.type", "TOPIC_AUTHORIZATION_FAILED"));
    expected.push(partition("0"));
    assert_eq!(span.attributes, expected);
}

#[tokio::test]
async fn a_topic_name_that_cannot_be() {
    sdk();
    let topic = unique("nul\0");
    let producer = TracedProducer::from_config(&config(&nowhere())).unwrap();

    let headers = OwnedHeaders::new().insert(Header {
        key: "a",
        value: Some("1"),
    });
    let record = empty(&topic).headers(headers);
    let (error, unsent) = producer.send(record, WAIT).await.unwrap_err();
    assert!(matches!(error, KafkaError::Nul(_)));
    assert_eq!(unsent.headers().unwrap().get(0).key, "a");

    let span = sdk().only(&format!("send {topic}"));
    assert_failed(&span, &error.to_string());
    assert_eq!(
        span.attributes.last(),
        Some(&KeyValue::new("error.type", "_OTHER"))
    );
}

#[tokio::test]
async fn a_sender_that_stops_waiting_does_not_end_the_span() {
    let broker = Broker::mock();
    let mock = broker.mock.as_ref().unwrap();
    let topic = broker.topic("not-waited-for", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    mock.broker_down(-1).unwrap();

    start_and_drop(producer.send(empty(&topic), WAIT));
    let name = format!("send {topic}");
    assert_eq!(sdk().ended(&name).len(), 0);
    mock.broker_up(-1).unwrap();

    let span = sdk().awaited(&name).await;
    assert_eq!(span.status, Status::Unset);
    let mut expected = bare(&topic, &broker.servers);
    expected.push(partition("0"));
    expected.push(KeyValue::new("messaging.kafka.offset", 0_i64));
    assert_eq!(span.attributes, expected);
    let consumer = broker.consumer(&topic);
    assert_eq!(receive(&consumer).await.offset(), 0);
}

#[tokio::test]
async fn a_producer_that_is_dropped_ends_every_span() {
    sdk();
    let servers = nowhere();
    let topic = unique("purged");
    let producer = TracedProducer::from_config(&config(&servers)).unwrap();
    let other = producer.clone();
    for _ in 0..100 {
        start_and_drop(producer.send(empty(&topic), WAIT));
    }
    drop(producer);
    let name = format!("send {topic}");
    assert_eq!(sdk().ended(&name).len(), 0);
    drop(other);

    let spans = sdk().ended(&name);
    assert_eq!(spans.len(), 100);
    let purged = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue).to_string();
    for span in &spans {
        assert_failed(span, &purged);
        let mut expected = bare(&topic, &servers);
        expected.push(KeyValue::new("error.type", "_PURGE_QUEUE"));
        assert_eq!(span.attributes, expected);
    }
}

fn queue_full(attempt: i64) -> (String, Vec<KeyValue>) {
    let attempt = KeyValue::new("kafka.queue.attempt", attempt);
    ("kafka.queue.full".to_owned(), vec![attempt])
}

/// A producer with room for one record, which is taken.
fn full_producer(broker: &Broker, topic: &str) -> TracedProducer {
    let producer =
        TracedProducer::from_config(broker.config().set("queue.buffering.max.messages", "1"))
            .unwrap();
    broker.mock.as_ref().unwrap().broker_down(-1).unwrap();
    start_and_drop(producer.send(empty(topic), WAIT));
    producer
}

#[tokio::test]
async fn a_queue_that_stays_full() {
    sdk();
    let broker = Broker::mock();
    let (first, second) = (unique("first"), unique("full"));
    let producer = full_producer(&broker, &first);

    let waits = [Duration::ZERO, Duration::from_millis(50)];
    for wait in waits {
        let (error, _) = producer.send(empty(&second), wait).await.unwrap_err();
        assert_eq!(
            error,
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
        );
    }

    let spans = sdk().ended(&format!("send {second}"));
    assert_eq!(spans.len(), 2);
    let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull).to_string();
    for (span, wait) in spans.iter().zip(waits) {
        assert_eq!(span.status, Status::error(full.clone()));
        let mut found = events(span);
        assert_eq!(found.pop(), exception(ERROR, &full).pop());
        // With pauses of 1, 2, 4, 8 … ms there is time for 1 try, or for 7 in 50 ms if nothing else
        // keeps the processor.
        assert!(!found.is_empty() && (wait.is_zero() || found.len() <= 3));
        assert!(!wait.is_zero() || found.len() == 1);
        for (event, attempt) in found.iter().zip([1, 2, 4]) {
            assert_eq!(event, &queue_full(attempt));
        }
        let mut expected = bare(&second, &broker.servers);
        expected.push(KeyValue::new("error.type", "_QUEUE_FULL"));
        assert_eq!(span.attributes, expected);
        assert!(span.end_time.duration_since(span.start_time).unwrap() >= wait);
    }
}

#[tokio::test]
async fn a_queue_that_has_room_again() {
    sdk();
    let broker = Broker::mock();
    let topic = broker.topic("room", 1).await;
    let producer = full_producer(&broker, &topic);

    let mut second = pin!(producer.send(empty(&topic), WAIT));
    assert!(poll_once(second.as_mut()).is_pending());
    broker.mock.as_ref().unwrap().broker_up(-1).unwrap();

    assert_eq!(second.await.unwrap().offset, 1);
    let spans = sdk().ended(&format!("send {topic}"));
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.status == Status::Unset));
    assert_eq!(events(&spans[0]), []);
    assert_eq!(events(&spans[1])[0], queue_full(1));
}

#[tokio::test]
async fn a_sender_that_stops_waiting_for_room() {
    sdk();
    let broker = Broker::mock();
    let (first, second) = (unique("first"), unique("cancelled"));
    let producer = full_producer(&broker, &first);

    start_and_drop(producer.send(empty(&second), WAIT));

    let span = sdk().only(&format!("send {second}"));
    assert_eq!(span.status, Status::error("dropped before it had finished"));
    assert_eq!(events(&span), [queue_full(1)]);
    let mut expected = bare(&second, &broker.servers);
    expected.push(KeyValue::new("error.type", "cancelled"));
    assert_eq!(span.attributes, expected);
}

#[tokio::test]
async fn a_send_without_a_current_span_starts_a_trace_each() {
    let broker = Broker::any();
    let topic = broker.topic("roots", 1).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    let both = (empty(&topic), empty(&topic));
    let (first, second) = tokio::join!(producer.send(both.0, WAIT), producer.send(both.1, WAIT));
    first.unwrap();
    second.unwrap();
    let spans = sdk().ended(&format!("send {topic}"));
    assert_eq!(spans.len(), 2);
    assert_ne!(
        spans[0].span_context.trace_id(),
        spans[1].span_context.trace_id()
    );
    assert!(!Context::current().has_active_span());
}

struct Probe(mpsc::Sender<&'static str>);

impl ClientContext for Probe {
    fn stats_raw(&self, _: &[u8]) {
        let _ = self.0.send("stats");
    }

    fn error(&self, _: KafkaError, _: &str) {
        let _ = self.0.send("error");
    }
}

#[tokio::test]
async fn the_applications_own_callbacks_are_called() {
    sdk();
    let (sender, called) = mpsc::channel();
    let mut config = config(&nowhere());
    config.set("statistics.interval.ms", "10");
    let producer = TracedProducer::from_config_and_context(&config, Probe(sender)).unwrap();

    let mut missing = vec!["stats", "error"];
    eventually(|| {
        for callback in called.try_iter() {
            missing.retain(|name| *name != callback);
        }
        missing.is_empty()
    })
    .await;
    drop(producer);
}

#[tokio::test]
async fn the_client_and_its_queue_can_be_reached() {
    let broker = Broker::any();
    let topic = broker.topic("client", 3).await;
    let producer = TracedProducer::from_config(sdk_config(&broker)).unwrap();
    let metadata = producer
        .client()
        .fetch_metadata(Some(&topic), WAIT)
        .unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);

    start_and_drop(producer.send(empty(&topic), WAIT));
    producer.flush(WAIT).unwrap();
    let span = sdk().only(&format!("send {topic}"));
    let offset = span.attributes.last().unwrap();
    assert_eq!(offset.key.as_str(), "messaging.kafka.offset");
    assert_eq!(offset.value, Value::I64(0));
}
