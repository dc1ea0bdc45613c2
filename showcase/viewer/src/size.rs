//! How much memory spans and log records take: what they have allocated, by capacity and not by length, since
//! decoding leaves room at the end of lists.
//!
//! An estimate: the allocator's own overhead is not in it.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

use crate::store::{Trace, TraceId};

/// A trace's own entries in the map, the queue and its set of ids.
pub(crate) const TRACE_BYTES: usize = size_of::<Trace>() + 4 * size_of::<TraceId>();
/// An entry in a set of span ids, at its usual load.
const SPAN_ID_BYTES: usize = 2 * size_of::<[u8; 8]>();
/// The two ids of a link.
const ID_BYTES: usize = 16 + 8;

/// A span and all it has allocated.
pub(crate) fn span_bytes(span: &Span) -> usize {
    let events: usize = span
        .events
        .iter()
        .map(|event| event.name.capacity() + attribute_bytes(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| ID_BYTES + link.trace_state.capacity() + attribute_bytes(&link.attributes))
        .sum();
    size_of::<Span>()
        + SPAN_ID_BYTES
        + span.trace_id.capacity()
        + span.span_id.capacity()
        + span.parent_span_id.capacity()
        + span.name.capacity()
        + span.trace_state.capacity()
        + span
            .status
            .as_ref()
            .map_or(0, |status| status.message.capacity())
        + attribute_bytes(&span.attributes)
        + span.events.capacity() * size_of::<Event>()
        + events
        + span.links.capacity() * size_of::<Link>()
        + links
}

/// A log record and all it has allocated.
pub(crate) fn log_bytes(record: &LogRecord) -> usize {
    size_of::<LogRecord>()
        + record.trace_id.capacity()
        + record.span_id.capacity()
        + record.severity_text.capacity()
        + record.event_name.capacity()
        + record.body.as_ref().map_or(0, value_bytes)
        + attribute_bytes(&record.attributes)
}

/// What a list of attributes has allocated.
pub(crate) fn attribute_bytes(pairs: &Vec<KeyValue>) -> usize {
    let inner = pairs
        .iter()
        .map(|pair| pair.key.capacity() + pair.value.as_ref().map_or(0, value_bytes));
    pairs.capacity() * size_of::<KeyValue>() + inner.sum::<usize>()
}

/// Beyond the value's own size. As deep as protobuf decoding lets a value nest.
fn value_bytes(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => text.capacity(),
        Some(Value::BytesValue(bytes)) => bytes.capacity(),
        Some(Value::ArrayValue(array)) => {
            array.values.capacity() * size_of::<AnyValue>()
                + array.values.iter().map(value_bytes).sum::<usize>()
        }
        Some(Value::KvlistValue(list)) => attribute_bytes(&list.values),
        _ => 0,
    }
}
