//! How many spans an OTLP request holds, counted on its bytes: decoding them would take the sink a
//! core that the measured processes need.
//!
//! Reads `ExportTraceServiceRequest` of opentelemetry-proto 1: `resource_spans` (1) holds
//! `scope_spans` (2), which holds `spans` (2).

/// The fields on the way to a span.
const PATH: [u64; 3] = [1, 2, 2];

/// The spans in `request`; `None` if it is no protobuf message.
pub(crate) fn spans(request: &[u8]) -> Option<u64> {
    count(request, &PATH)
}

fn count(mut message: &[u8], path: &[u64]) -> Option<u64> {
    let (wanted, deeper) = path.split_first()?;
    let mut found = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let skipped = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (field, rest) = message.split_at_checked(skipped)?;
        message = rest;
        if tag == wanted << 3 | 2 {
            found += if deeper.is_empty() {
                1
            } else {
                count(field, deeper)?
            };
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    fn span(number: u8) -> Span {
        Span {
            trace_id: vec![number; 16],
            name: "a name".repeat(usize::from(number)),
            start_time_unix_nano: u64::MAX,
            attributes: vec![KeyValue {
                key: "k".into(),
                value: Some(AnyValue {
                    value: Some(any_value::Value::StringValue("\x12\x02\x12".into())),
                }),
                ..KeyValue::default()
            }],
            ..Span::default()
        }
    }

    fn scope(spans: u8) -> ScopeSpans {
        ScopeSpans {
            spans: (0..spans).map(span).collect(),
            schema_url: "https://opentelemetry.io/schemas/1.44.0".into(),
            ..ScopeSpans::default()
        }
    }

    #[test]
    fn spans_of_every_scope_and_resource_are_counted() {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![
                ResourceSpans {
                    resource: Some(Resource::default()),
                    scope_spans: vec![scope(3), scope(0), scope(40)],
                    schema_url: "a".into(),
                },
                ResourceSpans {
                    scope_spans: vec![scope(1)],
                    ..ResourceSpans::default()
                },
                ResourceSpans::default(),
            ],
        };
        assert_eq!(spans(&request.encode_to_vec()), Some(44));
        assert_eq!(spans(&[]), Some(0));
    }

    #[test]
    fn what_is_no_message_counts_as_none() {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![scope(2)],
                ..ResourceSpans::default()
            }],
        };
        let bytes = request.encode_to_vec();
        for end in 1..bytes.len() {
            assert_eq!(spans(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(spans(&[0xff; 20]), None);
        assert_eq!(spans(b"\x0b"), None);
    }
}
