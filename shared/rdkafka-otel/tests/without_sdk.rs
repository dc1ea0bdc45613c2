//! A service that has a propagator but no SDK: no spans, and the trace of others goes through it.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::io;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, TraceContextExt, TraceFlags};
use rdkafka::Message;
use rdkafka::message::{Header, Headers};
use rdkafka::producer::FutureRecord;
use rdkafka_otel::{TracedProducer, extract};
use stage::{Broker, WAIT, receive, remote, traceparent, under, with_traceparent};

#[tokio::test]
async fn a_current_context_is_passed_on() {
    stage::install_propagator();
    let broker = Broker::any();
    let topic = broker.topic("passed-on", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let stale = remote(1, TraceFlags::SAMPLED);
    let current = remote(2, TraceFlags::SAMPLED);

    let record = FutureRecord::to(&topic).key("k").payload("p");
    producer
        .send(record.headers(with_traceparent(&stale)), WAIT)
        .with_context(under(&current))
        .await
        .unwrap();

    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    let received: Vec<_> = record.headers().unwrap().iter().collect();
    let present = traceparent(&current);
    let expected = Header {
        key: "traceparent",
        value: Some(present.as_bytes()),
    };
    assert_eq!(received, [expected]);
    assert_eq!(extract(record.headers()).span().span_context(), &current);

    let seen = consumer
        .process(&record, || async {
            Ok::<_, io::Error>(Context::current().span().span_context().clone())
        })
        .await
        .unwrap();
    assert_eq!(seen, current);
}

#[tokio::test]
async fn without_one_a_stale_context_is_cleared() {
    stage::install_propagator();
    let broker = Broker::any();
    let topic = broker.topic("cleared", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();

    let stale = with_traceparent(&remote(3, TraceFlags::SAMPLED));
    let kept = stale.clone().insert(Header {
        key: "a",
        value: Some("1"),
    });
    for headers in [Some(kept), Some(stale), None] {
        let mut record = FutureRecord::to(&topic).key("k").payload("p");
        record.headers = headers;
        producer.send(record, WAIT).await.unwrap();
    }

    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    let received: Vec<_> = record.headers().unwrap().iter().collect();
    assert_eq!(
        received,
        [Header {
            key: "a",
            value: Some(&b"1"[..])
        }]
    );
    assert!(receive(&consumer).await.headers().is_none());
    assert!(receive(&consumer).await.headers().is_none());
}
