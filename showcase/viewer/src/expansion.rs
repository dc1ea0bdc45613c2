//! How far a request may grow when it is decoded: an empty span takes 2 bytes in protobuf and some
//! hundred in memory, so that a bound on the bytes that arrive is none on those that they become.
//!
//! Looked at before decoding, which says what is wrong with a request that cannot be read. Not for
//! gRPC, whose messages are decoded before anything of ours sees them.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::encoding::{WireType, decode_key, decode_varint};

/// Bytes of the parts of one request, without the text in them: several times of what ordinary
/// spans of the largest request take.
const MAX_PARTS_BYTES: usize = 128 * 1024 * 1024;
/// Braces and commas in a request in JSON: more than ordinary spans of the largest request have.
const MAX_MARKS: usize = 1_400_000;
/// As deep as protobuf decoding goes.
const MAX_DEPTH: usize = 100;

/// The messages of OTLP that hold others, or are held in numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Traces,
    Logs,
    ResourceSpans,
    ResourceLogs,
    Resource,
    ScopeSpans,
    ScopeLogs,
    Scope,
    Span,
    LogRecord,
    Event,
    Link,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
}

impl Part {
    /// What a field of it holds, by the field's number.
    fn field(self, number: u32) -> Option<Part> {
        Some(match (self, number) {
            (Part::Traces, 1) => Part::ResourceSpans,
            (Part::Logs, 1) => Part::ResourceLogs,
            (Part::ResourceSpans | Part::ResourceLogs, 1) => Part::Resource,
            (Part::ResourceSpans, 2) => Part::ScopeSpans,
            (Part::ResourceLogs, 2) => Part::ScopeLogs,
            (Part::ScopeSpans | Part::ScopeLogs, 1) => Part::Scope,
            (Part::ScopeSpans, 2) => Part::Span,
            (Part::ScopeLogs, 2) => Part::LogRecord,
            (Part::Span, 11) => Part::Event,
            (Part::Span, 13) => Part::Link,
            (Part::Resource, 1)
            | (Part::Scope | Part::Event, 3)
            | (Part::Link, 4)
            | (Part::LogRecord, 6)
            | (Part::Span, 9)
            | (Part::KeyValueList, 1) => Part::KeyValue,
            (Part::LogRecord, 5) | (Part::KeyValue, 2) | (Part::ArrayValue, 1) => Part::AnyValue,
            (Part::AnyValue, 5) => Part::ArrayValue,
            (Part::AnyValue, 6) => Part::KeyValueList,
            _ => return None,
        })
    }

    /// Its share of the list that it is in.
    fn bytes(self) -> usize {
        match self {
            Part::ResourceSpans => size_of::<ResourceSpans>(),
            Part::ResourceLogs => size_of::<ResourceLogs>(),
            Part::ScopeSpans => size_of::<ScopeSpans>(),
            Part::ScopeLogs => size_of::<ScopeLogs>(),
            Part::Span => size_of::<Span>(),
            Part::LogRecord => size_of::<LogRecord>(),
            Part::Event => size_of::<Event>(),
            Part::Link => size_of::<Link>(),
            Part::KeyValue => size_of::<KeyValue>(),
            Part::AnyValue => size_of::<AnyValue>(),
            // They are inside of what holds them.
            _ => 0,
        }
    }
}

/// Whether a request in protobuf, of which `whole` is the outermost message, may be decoded.
pub(crate) fn protobuf_fits(whole: Part, body: &[u8]) -> bool {
    let mut left = MAX_PARTS_BYTES;
    take(whole, body, MAX_DEPTH, &mut left).is_some()
}

/// Whether a request in JSON may be decoded. Every object has a brace, and what is not the first of
/// a list a comma; those in text count too.
pub(crate) fn json_fits(body: &[u8]) -> bool {
    memchr::memchr2_iter(b'{', b',', body).count() <= MAX_MARKS
}

/// Takes the parts of a message off what is left; `None` when that is not enough. What cannot be
/// read ends it early: decoding fails there.
fn take(part: Part, mut bytes: &[u8], depth: usize, left: &mut usize) -> Option<()> {
    while let Ok((number, wire_type)) = decode_key(&mut bytes) {
        let skipped = match wire_type {
            WireType::Varint => {
                if decode_varint(&mut bytes).is_err() {
                    return Some(());
                }
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => match decode_varint(&mut bytes) {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(_) => return Some(()),
            },
            WireType::StartGroup | WireType::EndGroup => return Some(()),
        };
        let Some((inner, rest)) = bytes.split_at_checked(skipped) else {
            return Some(());
        };
        bytes = rest;
        let held = part.field(number);
        if let Some(held) = held.filter(|_| wire_type == WireType::LengthDelimited && depth > 0) {
            *left = left.checked_sub(held.bytes())?;
            take(held, inner, depth - 1, left)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use prost::Message as _;

    fn left_of(spans: Vec<Span>) -> usize {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let mut left = MAX_PARTS_BYTES;
        take(Part::Traces, &request.encode_to_vec(), MAX_DEPTH, &mut left).unwrap();
        MAX_PARTS_BYTES - left
    }

    #[test]
    fn every_part_of_a_span_is_counted_once() {
        let value = |value| AnyValue { value: Some(value) };
        let pair = |value| KeyValue {
            key: "k".to_owned(),
            value: Some(value),
            ..KeyValue::default()
        };
        let number = || pair(value(Value::IntValue(1)));
        let array = ArrayValue {
            values: vec![value(Value::BoolValue(true)); 3],
        };
        let list = KeyValueList {
            values: vec![number(), number()],
        };
        let empty = size_of::<ResourceSpans>() + size_of::<ScopeSpans>();
        assert_eq!(left_of(vec![]), empty);
        let span = Span {
            attributes: vec![
                pair(value(Value::ArrayValue(array))),
                pair(value(Value::KvlistValue(list))),
            ],
            events: vec![Event {
                attributes: vec![number()],
                ..Event::default()
            }],
            links: vec![Link {
                attributes: vec![number()],
                ..Link::default()
            }],
            ..Span::default()
        };
        let spans = 2 * size_of::<Span>() + size_of::<Event>() + size_of::<Link>();
        // Each pair with its value, and the three in the array.
        let pairs = 6 * (size_of::<KeyValue>() + size_of::<AnyValue>());
        let expected = empty + spans + pairs + 3 * size_of::<AnyValue>();
        assert_eq!(left_of(vec![span, Span::default()]), expected);
    }

    #[test]
    fn what_grows_too_far_is_refused_and_what_cannot_be_read_is_not_judged() {
        let spans = [0x12, 0x00].repeat(MAX_PARTS_BYTES / size_of::<Span>());
        assert!(protobuf_fits(Part::ScopeSpans, &spans));
        assert!(!protobuf_fits(
            Part::ScopeSpans,
            &[&spans[..], &[0x12, 0x00]].concat()
        ));
        for broken in [&[0x12][..], &[0x12, 0x7f], &[0xff; 20], &[0x0b], &[0x08]] {
            assert!(protobuf_fits(Part::Traces, broken));
        }
        assert!(json_fits(&b"{,".repeat(MAX_MARKS / 2)));
        assert!(!json_fits(&b"{,".repeat(MAX_MARKS / 2 + 1)));
    }
}
