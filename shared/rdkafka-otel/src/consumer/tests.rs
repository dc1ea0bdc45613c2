//! A record that rdkafka's own header iterator cannot be shown, through a broker and on again.
//!
//! Here and not beside the other tests of `process`, because only this crate's inside can write a
//! header key that is not UTF-8.

use std::io;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::TracedConsumer;
use crate::{extract_with, inject_with, native, raw_headers};

const WAIT: Duration = Duration::from_secs(10);

type Pair = (Vec<u8>, Option<Vec<u8>>);

fn pairs(headers: &BorrowedHeaders) -> Vec<Pair> {
    raw_headers(headers)
        .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
        .collect()
}

fn span_context(id: u64) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from(u128::from(id)), SpanId::from(id));
    SpanContext::new(
        trace_id,
        span_id,
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    )
}

async fn send(config: &ClientConfig, topic: &str, headers: OwnedHeaders) {
    let producer: FutureProducer = config.create().unwrap();
    let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
        .key(&b"\xff\x00\xfe"[..])
        .headers(headers);
    producer.send(record, WAIT).await.unwrap();
}

#[tokio::test]
async fn a_hostile_record_is_received_processed_and_forwarded() {
    let broker = MockCluster::new(1).unwrap();
    broker.create_topic("hostile", 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "tests");
    let w3c = TraceContextPropagator::new();

    let traceparent = |id: u64| format!("00-{id:032x}-{id:016x}-01").into_bytes();
    let before: Vec<Pair> = vec![
        (b"\xff\xfe".to_vec(), Some(b"\x80\x00".to_vec())),
        (b"TraceParent".to_vec(), Some(traceparent(1))),
        (b"".to_vec(), None),
        (b"traceparent".to_vec(), Some(b"\xff".to_vec())),
        (b"a".to_vec(), Some(b"".to_vec())),
        (b"traceparent".to_vec(), Some(traceparent(2))),
        (b"a".to_vec(), None),
    ];
    let mut headers = OwnedHeaders::new();
    for (key, value) in &before {
        native::append(&mut headers, key, value.as_deref());
    }
    send(&config, "hostile", headers).await;

    let consumer = TracedConsumer::from_config(&config).unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset("hostile", 0, Offset::Beginning)
        .unwrap();
    consumer.consumer().assign(&assignment).unwrap();

    let record = consumer.recv().await.unwrap();
    assert_eq!(pairs(record.headers().unwrap()), before);
    let cx = extract_with(&w3c, record.headers());
    assert_eq!(cx.span().span_context(), &span_context(2));
    let done = || async { Ok::<_, io::Error>(()) };
    consumer.process(&record, done).await.unwrap();

    let mut headers = record.headers().unwrap().detach();
    let next = Context::new().with_remote_span_context(span_context(3));
    inject_with(&w3c, &next, &mut headers);
    send(&config, "hostile", headers).await;

    let forwarded = consumer.recv().await.unwrap();
    let mut expected: Vec<Pair> = [0, 2, 4, 6].map(|kept| before[kept].clone()).into();
    expected.push((b"traceparent".to_vec(), Some(traceparent(3))));
    assert_eq!(pairs(forwarded.headers().unwrap()), expected);
    assert_eq!(forwarded.key(), Some(&b"\xff\x00\xfe"[..]));
    consumer.process(&forwarded.detach(), done).await.unwrap();
}
