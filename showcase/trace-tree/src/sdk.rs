//! The SDK's own span data as a [`Trace`], for tests that run in one process with an in-memory
//! exporter.
//!
//! Span data carries no resource, so the service is the caller's to say and
//! [`Span::resource`] holds nothing else.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, SpanKind, Status as SdkStatus};
use opentelemetry::{Array, KeyValue, Value as SdkValue};
use opentelemetry_sdk::trace::SpanData;

use crate::trace::{Event, Kind, Link, Span, Status, Trace, Value, attributes};

impl Trace {
    /// The spans of an in-memory exporter, all as of one service.
    #[must_use]
    pub fn from_span_data(spans: &[SpanData], service: &str) -> Trace {
        Trace::from_spans(spans.iter().map(|span| read(span, service)))
    }
}

fn read(span: &SpanData, service: &str) -> Span {
    let service_name = Value::String(service.to_owned());
    Span {
        trace_id: span.span_context.trace_id().to_string(),
        span_id: span.span_context.span_id().to_string(),
        parent_span_id: (span.parent_span_id != SpanId::INVALID)
            .then(|| span.parent_span_id.to_string()),
        name: span.name.to_string(),
        service: service.to_owned(),
        kind: match span.span_kind {
            SpanKind::Internal => Kind::Internal,
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
        },
        start_unix_nano: unix_nano(span.start_time),
        end_unix_nano: unix_nano(span.end_time),
        attributes: pairs(&span.attributes),
        resource: BTreeMap::from([("service.name".to_owned(), service_name)]),
        scope: span.instrumentation_scope.name().to_owned(),
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_unix_nano: unix_nano(event.timestamp),
                name: event.name.to_string(),
                attributes: pairs(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.span_context.trace_id().to_string(),
                span_id: link.span_context.span_id().to_string(),
                attributes: pairs(&link.attributes),
            })
            .collect(),
        status: match &span.status {
            SdkStatus::Unset => Status::Unset,
            SdkStatus::Ok => Status::Ok,
            SdkStatus::Error { description } => Status::Error(description.to_string()),
        },
    }
}

fn pairs(pairs: &[KeyValue]) -> BTreeMap<String, Value> {
    let pair = |pair: &KeyValue| (pair.key.to_string(), value(&pair.value));
    attributes(pairs.iter().map(pair))
}

fn value(value: &SdkValue) -> Value {
    match value {
        SdkValue::Bool(truth) => Value::Bool(*truth),
        SdkValue::I64(number) => Value::Int(*number),
        SdkValue::F64(number) => Value::Double(*number),
        SdkValue::String(text) => Value::String(text.to_string()),
        SdkValue::Array(Array::Bool(items)) => list(items, |item| Value::Bool(*item)),
        SdkValue::Array(Array::I64(items)) => list(items, |item| Value::Int(*item)),
        SdkValue::Array(Array::F64(items)) => list(items, |item| Value::Double(*item)),
        SdkValue::Array(Array::String(items)) => {
            list(items, |item| Value::String(item.to_string()))
        }
        // Both enums may grow; a value that is not known yet must still be seen in a comparison.
        other => Value::String(format!("{other:?}")),
    }
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(one).collect())
}

/// A time before 1970, which no clock that works gives, counts as 1970.
fn unix_nano(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
