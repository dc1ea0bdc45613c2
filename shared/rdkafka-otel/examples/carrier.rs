//! The carrier alone: a context into headers and out again, without a broker.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::message::OwnedHeaders;

fn main() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let (trace, span) = (TraceId::from(7), SpanId::from(9));
    let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);

    let mut headers = OwnedHeaders::new();
    rdkafka_otel::inject(&Context::new().with_remote_span_context(span), &mut headers);
    // … the record is sent, and received …
    let received = rdkafka_otel::extract(Some(&headers));
    println!("{:?}", received.span().span_context());
}
