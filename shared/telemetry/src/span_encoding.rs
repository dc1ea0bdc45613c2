//! Spans as the bytes of an OTLP request, written straight from what the SDK hands to an exporter.
//!
//! The SDK's own way builds a tree of messages first, with a copy of every key and value: most of
//! what an exported span costs. The bytes are the same, which the tests hold for every kind of
//! value. Field numbers are those of opentelemetry-proto 1, `trace.proto` and what it includes.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

/// Bytes of a usual span: room for a first batch, until one tells better.
const USUAL_SPAN: usize = 512;

/// Bit 8 of the flags says that bit 9 means something: whether the parent is remote.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// The `ResourceSpans` of every request, as far as they are the same in all: resource and schema.
#[derive(Debug, Default)]
pub(crate) struct EncodedResource {
    resource: Vec<u8>,
    schema_url: String,
}

impl EncodedResource {
    pub(crate) fn new(resource: &Resource) -> Self {
        let mut message = Message(Vec::new());
        message.nested(1, |message| {
            for (key, value) in resource.iter() {
                message.nested(1, |message| message.entry(key.as_str(), value));
            }
        });
        Self {
            resource: message.0,
            schema_url: resource.schema_url().unwrap_or_default().to_owned(),
        }
    }
}

/// An `ExportTraceServiceRequest` with all of `spans`, those of one scope together.
pub(crate) fn request(spans: &[SpanData], resource: &EncodedResource) -> Vec<u8> {
    let mut scopes: Vec<(&InstrumentationScope, Vec<&SpanData>)> = Vec::new();
    for span in spans {
        let scope = &span.instrumentation_scope;
        // A process has a handful, and neighbours often share theirs.
        match scopes.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, of_scope)) => of_scope.push(span),
            None => scopes.push((scope, vec![span])),
        }
    }
    let mut request = Message(Vec::with_capacity(spans.len() * USUAL_SPAN));
    request.nested(1, |message| {
        message.0.extend_from_slice(&resource.resource);
        for (scope, spans) in scopes {
            message.nested(2, |message| {
                message.nested(1, |message| {
                    message.string(1, scope.name());
                    message.string(2, scope.version().unwrap_or_default());
                    message.attributes(3, scope.attributes());
                });
                for span in spans {
                    message.nested(2, |message| message.span(span));
                }
                message.string(3, scope.schema_url().unwrap_or_default());
            });
        }
        message.string(3, &resource.schema_url);
    });
    request.0
}

/// A protobuf message that is being written. As proto3 has it, a field at its default is left out.
struct Message(Vec<u8>);

impl Message {
    fn span(&mut self, span: &SpanData) {
        let context = &span.span_context;
        self.ids(context);
        self.string(3, &context.trace_state().header());
        if span.parent_span_id != SpanId::INVALID {
            self.bytes(4, &span.parent_span_id.to_bytes());
        }
        self.string(5, &span.name);
        self.number(6, kind(&span.span_kind));
        self.time(7, span.start_time);
        self.time(8, span.end_time);
        self.attributes(9, &span.attributes);
        self.number(10, u64::from(span.dropped_attributes_count));
        for event in span.events.iter() {
            self.nested(11, |message| message.event(event));
        }
        self.number(12, u64::from(span.events.dropped_count));
        for link in span.links.iter() {
            self.nested(13, |message| message.link(link));
        }
        self.number(14, u64::from(span.links.dropped_count));
        self.nested(15, |message| match &span.status {
            Status::Unset => {}
            Status::Ok => message.number(3, 1),
            Status::Error { description } => {
                message.string(2, description);
                message.number(3, 2);
            }
        });
        self.flags(16, context, span.parent_span_is_remote);
    }

    fn event(&mut self, event: &Event) {
        self.time(1, event.timestamp);
        self.string(2, &event.name);
        self.attributes(3, &event.attributes);
        self.number(4, u64::from(event.dropped_attributes_count));
    }

    fn link(&mut self, link: &Link) {
        self.ids(&link.span_context);
        self.string(3, &link.span_context.trace_state().header());
        self.attributes(4, &link.attributes);
        self.number(5, u64::from(link.dropped_attributes_count));
        self.flags(6, &link.span_context, link.span_context.is_remote());
    }

    fn ids(&mut self, context: &SpanContext) {
        self.bytes(1, &context.trace_id().to_bytes());
        self.bytes(2, &context.span_id().to_bytes());
    }

    fn flags(&mut self, field: u32, context: &SpanContext, is_remote: bool) {
        let mut flags = u32::from(context.trace_flags().to_u8()) | HAS_IS_REMOTE;
        if is_remote {
            flags |= IS_REMOTE;
        }
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&flags.to_le_bytes());
    }

    fn attributes<'a>(&mut self, field: u32, attributes: impl IntoIterator<Item = &'a KeyValue>) {
        for attribute in attributes {
            self.nested(field, |message| {
                message.entry(attribute.key.as_str(), &attribute.value);
            });
        }
    }

    fn entry(&mut self, key: &str, value: &Value) {
        self.string(1, key);
        self.nested(2, |message| message.value(value));
    }

    /// A value is one of several fields, and is there even where it is the field's default.
    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.bytes(1, text.as_str().as_bytes()),
            Value::Bool(flag) => self.boolean(*flag),
            Value::I64(number) => self.integer(*number),
            Value::F64(number) => self.double(*number),
            Value::Array(array) => self.nested(5, |message| match array {
                Array::String(texts) => message.each(texts, |message, text| {
                    message.bytes(1, text.as_str().as_bytes());
                }),
                Array::Bool(flags) => message.each(flags, |message, flag| message.boolean(*flag)),
                Array::I64(numbers) => {
                    message.each(numbers, |message, number| message.integer(*number));
                }
                Array::F64(numbers) => {
                    message.each(numbers, |message, number| message.double(*number));
                }
                // The API may come to know more kinds; their text is better than nothing.
                other => message.each(&[other.to_string()], |message, text| {
                    message.bytes(1, text.as_bytes());
                }),
            }),
            other => self.bytes(1, other.as_str().as_bytes()),
        }
    }

    fn each<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        for value in values {
            self.nested(1, |message| write(message, value));
        }
    }

    fn boolean(&mut self, flag: bool) {
        self.tag(2, VARINT);
        self.0.push(u8::from(flag));
    }

    fn integer(&mut self, number: i64) {
        self.tag(3, VARINT);
        self.varint(number.cast_unsigned());
    }

    fn double(&mut self, number: f64) {
        self.tag(4, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// A message in this one. Its length stands before it and is known after it: nearly all are
    /// short, and the others are moved by a byte or two.
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let length_at = self.0.len();
        self.0.push(0);
        let start = self.0.len();
        write(self);
        let length = self.0.len() - start;
        if let Ok(short) = u8::try_from(length)
            && short < 0x80
        {
            self.0[length_at] = short;
            return;
        }
        let (bytes, count) = varint(length as u64);
        self.0
            .splice(length_at..start, bytes.into_iter().take(count));
    }

    fn string(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.tag(field, VARINT);
            self.varint(number);
        }
    }

    fn time(&mut self, field: u32, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        if nanos != 0 {
            self.tag(field, FIXED64);
            self.0.extend_from_slice(&nanos.to_le_bytes());
        }
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, number: u64) {
        if number < 0x80 {
            self.0.push(number as u8);
            return;
        }
        let (bytes, count) = varint(number);
        self.0.extend_from_slice(&bytes[..count]);
    }
}

/// Seven bits a byte, the lowest first; and how many bytes that takes.
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut count = 0;
    while number >= 0x80 {
        bytes[count] = number as u8 | 0x80;
        number >>= 7;
        count += 1;
    }
    bytes[count] = number as u8;
    (bytes, count + 1)
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

#[cfg(test)]
#[path = "span_encoding_tests.rs"]
mod tests;
