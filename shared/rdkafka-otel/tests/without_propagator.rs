//! A service that has an SDK but no propagator: spans without a connection, headers untouched.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::io;

use opentelemetry::global;
use opentelemetry::trace::{FutureExt, SpanId, TraceContextExt, TraceFlags};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rdkafka::Message;
use rdkafka::message::{Header, Headers};
use rdkafka::producer::FutureRecord;
use rdkafka_otel::{Parent, TracedProducer, extract};
use stage::{Broker, WAIT, receive, remote, traceparent, under, with_traceparent};

#[tokio::test]
async fn nothing_is_written_and_nothing_is_read() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    global::set_tracer_provider(provider);

    let broker = Broker::any();
    let topic = broker.topic("unconnected", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let theirs = remote(1, TraceFlags::SAMPLED);
    let ambient = remote(2, TraceFlags::SAMPLED);

    let record = FutureRecord::to(&topic).key("k").payload("p");
    producer
        .send(record.headers(with_traceparent(&theirs)), WAIT)
        .await
        .unwrap();

    let consumer = broker.consumer(&topic).with_parent(Parent::CreationContext);
    let record = receive(&consumer).await;
    let received: Vec<_> = record.headers().unwrap().iter().collect();
    let untouched = traceparent(&theirs);
    let expected = Header {
        key: "traceparent",
        value: Some(untouched.as_bytes()),
    };
    assert_eq!(received, [expected]);

    // The no-op propagator hands out the current context, which must not pass for the record's.
    consumer
        .process(&record, || async { Ok::<_, io::Error>(()) })
        .with_context(under(&ambient))
        .await
        .unwrap();
    {
        let _current = under(&ambient).attach();
        assert!(!extract(record.headers()).has_active_span());
    }

    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    assert_eq!(spans[1].parent_span_id, ambient.span_id());
    assert_eq!(spans[1].links.len(), 0);
}
