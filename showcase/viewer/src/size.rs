//! How much memory spans and log records take: what they have allocated, by capacity and not by length, since
//! decoding leaves room at the end of lists.
//!
//! An estimate: what an allocation takes is rounded up as allocators do, fragmentation is not in it.

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

/// What an allocation of so many bytes takes: a header, multiples of 16, and no less than 32. A span
/// is made of some twenty small ones, for which this is a third.
fn heap(bytes: usize) -> usize {
    if bytes == 0 {
        0
    } else {
        (bytes + 8).next_multiple_of(16).max(32)
    }
}

/// A span and all it has allocated.
pub(crate) fn span_bytes(span: &Span) -> usize {
    let events: usize = span
        .events
        .iter()
        .map(|event| heap(event.name.capacity()) + attribute_bytes(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| {
            2 * heap(ID_BYTES / 2)
                + heap(link.trace_state.capacity())
                + attribute_bytes(&link.attributes)
        })
        .sum();
    size_of::<Span>()
        + SPAN_ID_BYTES
        + heap(span.trace_id.capacity())
        + heap(span.span_id.capacity())
        + heap(span.parent_span_id.capacity())
        + heap(span.name.capacity())
        + heap(span.trace_state.capacity())
        + span
            .status
            .as_ref()
            .map_or(0, |status| heap(status.message.capacity()))
        + attribute_bytes(&span.attributes)
        + heap(span.events.capacity() * size_of::<Event>())
        + events
        + heap(span.links.capacity() * size_of::<Link>())
        + links
}

/// A log record and all it has allocated.
pub(crate) fn log_bytes(record: &LogRecord) -> usize {
    size_of::<LogRecord>()
        + heap(record.trace_id.capacity())
        + heap(record.span_id.capacity())
        + heap(record.severity_text.capacity())
        + heap(record.event_name.capacity())
        + record.body.as_ref().map_or(0, value_bytes)
        + attribute_bytes(&record.attributes)
}

/// What a list of attributes has allocated.
pub(crate) fn attribute_bytes(pairs: &Vec<KeyValue>) -> usize {
    let inner = pairs
        .iter()
        .map(|pair| heap(pair.key.capacity()) + pair.value.as_ref().map_or(0, value_bytes));
    heap(pairs.capacity() * size_of::<KeyValue>()) + inner.sum::<usize>()
}

/// Beyond the value's own size. As deep as protobuf decoding lets a value nest.
fn value_bytes(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => heap(text.capacity()),
        Some(Value::BytesValue(bytes)) => heap(bytes.capacity()),
        Some(Value::ArrayValue(array)) => {
            heap(array.values.capacity() * size_of::<AnyValue>())
                + array.values.iter().map(value_bytes).sum::<usize>()
        }
        Some(Value::KvlistValue(list)) => attribute_bytes(&list.values),
        _ => 0,
    }
}
