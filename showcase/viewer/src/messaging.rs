//! What a span says in the words of OpenTelemetry's messaging conventions (1.44): topic, group,
//! record, operation, queue wait.
//!
//! Only reading, and of any instrumentation: names that older conventions used are read too. What
//! follows from it is in `join`, `queue_wait` and `topology`.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;

/// Span kinds as OTLP numbers them.
pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;
pub(crate) const PRODUCER: i32 = 4;
pub(crate) const CONSUMER: i32 = 5;

/// The value of the first attribute with this key.
pub(crate) fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    pair.value.as_ref()?.value.as_ref()
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match attribute(&span.attributes, key)? {
        Value::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn whole_number(span: &Span, key: &str) -> Option<i64> {
    match attribute(&span.attributes, key)? {
        Value::IntValue(number) => Some(*number),
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

/// The topic or queue.
pub(crate) fn topic(span: &Span) -> Option<&str> {
    text(span, "messaging.destination.name")
}

/// The consumer group; empty when the instrumentation names none.
pub(crate) fn group(span: &Span) -> &str {
    text(span, "messaging.consumer.group.name")
        .or_else(|| text(span, "messaging.kafka.consumer.group"))
        .unwrap_or("")
}

/// Topic, partition and offset, which name a record.
pub(crate) fn record(span: &Span) -> Option<(&str, &str, i64)> {
    let offset = whole_number(span, "messaging.kafka.offset")
        .or_else(|| whole_number(span, "messaging.kafka.message.offset"))?;
    let partition = text(span, "messaging.destination.partition.id")?;
    Some((topic(span)?, partition, offset))
}

fn operation(span: &Span) -> Option<&str> {
    text(span, "messaging.operation.type").or_else(|| text(span, "messaging.operation"))
}

/// Whether a consumer span processes; one that does not say so counts as well.
pub(crate) fn is_process(span: &Span) -> bool {
    operation(span).is_none_or(|operation| operation == "process")
}

/// Whether the span only fetches records or commits offsets.
pub(crate) fn is_receive_or_settle(span: &Span) -> bool {
    matches!(operation(span), Some("receive" | "settle"))
}

/// Milliseconds that the record waited, as the span has measured it.
pub(crate) fn queue_wait_ms(span: &Span) -> Option<i64> {
    whole_number(span, "kafka.record.queue_time_ms").map(|wait| wait.max(0))
}

/// Why the trace context that the record had could not be used, in `rdkafka-otel`'s words.
pub(crate) fn missing_context(span: &Span) -> Option<&str> {
    text(span, "kafka.record.missing_context.reason")
}

/// Whether its status is an error.
pub(crate) fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == 2)
}
