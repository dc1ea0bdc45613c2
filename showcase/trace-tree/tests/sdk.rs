//! Spans that the SDK recorded read the same as spans that went over the wire.

use opentelemetry::trace::{
    Link, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{Array, Context, KeyValue, Value as SdkValue};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use trace_tree::{Trace, compare};

#[test]
fn recorded_spans_become_a_tree() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let tracer = provider.tracer("rdkafka-otel");

    let send = tracer
        .span_builder("send orders")
        .with_kind(SpanKind::Producer)
        .with_attributes([
            KeyValue::new("text", "orders"),
            KeyValue::new("int", 5),
            KeyValue::new("double", 5.0),
            KeyValue::new("bool", true),
            KeyValue::new("ints", SdkValue::Array(Array::I64(vec![1, 2]))),
            KeyValue::new("texts", SdkValue::Array(Array::String(vec!["a".into()]))),
            KeyValue::new("twice", 1),
            KeyValue::new("twice", 2),
        ])
        .start(&tracer);
    let cx = Context::new().with_span(send);
    let elsewhere = SpanContext::new(
        TraceId::from(1),
        SpanId::from(1),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let process = tracer
        .span_builder("process orders")
        .with_kind(SpanKind::Consumer)
        .with_links(vec![
            Link::with_context(cx.span().span_context().clone()),
            Link::new(elsewhere, vec![KeyValue::new("k", "v")], 0),
        ])
        .start_with_context(&tracer, &cx);
    let process = cx.with_span(process);
    process.span().add_event(
        "exception",
        vec![KeyValue::new("exception.type", "Timeout")],
    );
    process.span().set_status(Status::error("gone"));
    process.span().end();
    cx.span().set_status(Status::Ok);
    cx.span().end();

    let spans = exporter.get_finished_spans().unwrap();
    let trace = Trace::from_span_data(&spans, "worker");
    let expected = r#"
worker: send orders PRODUCER
  .bool = true
  .double = 5.0
  .int = 5
  .ints = [1, 2]
  .text = "orders"
  .texts = ["a"]
  .twice = 1 | 2
  !ok
  worker: process orders CONSUMER
    ->link send orders (parent)
    ->link another trace
      .k = "v"
    !error gone
    @exception exception.type="Timeout"
"#;
    if let Err(mismatch) = compare(expected, &trace) {
        panic!("{mismatch}");
    }
    let process = trace
        .spans
        .iter()
        .find(|span| span.name == "process orders")
        .unwrap();
    assert_eq!(process.scope, "rdkafka-otel");
    assert_eq!(process.trace_id.len(), 32);
    assert!(process.start_unix_nano > 1_700_000_000_000_000_000);
    assert!(process.end_unix_nano >= process.start_unix_nano);
}
