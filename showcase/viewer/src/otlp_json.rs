//! Traces as OTLP JSON, the way Jaeger's query API writes it: hex ids, 64-bit integers as decimal
//! strings, enumerations as numbers, defaults left out.
//!
//! Own code and not the serde of the protobuf crate, which writes every default and turns
//! infinite numbers into null. Equal resources and scopes of a trace are written once, however
//! many requests its spans came in.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::store::{Group, LogGroup, Scope, Source, Trace};

/// How deep values may nest. Beyond, a text stands for them: JSON parsers give up at some depth,
/// and one span would make its trace unreadable.
const MAX_DEPTH: usize = 16;

/// The body of `result`: every trace's groups, one trace after the other.
pub(crate) struct Traces<'a>(pub(crate) &'a [Arc<Trace>]);

/// A log record with who wrote it; the form is OTLP's, with the service's name and the logger's.
pub(crate) struct LogLine<'a> {
    group: &'a LogGroup,
    record: &'a LogRecord,
}

impl<'a> LogLine<'a> {
    /// The records of a group.
    pub(crate) fn of(group: &'a LogGroup) -> impl Iterator<Item = LogLine<'a>> {
        let records = group.records.iter();
        records.map(move |record| LogLine { group, record })
    }
}

impl Serialize for LogLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let time = match record.time_unix_nano {
            0 => record.observed_time_unix_nano,
            time => time,
        };
        let mut fields = object(serializer)?;
        fields.field("timeUnixNano", &time.to_string())?;
        fields.field("spanId", &hex(&record.span_id))?;
        fields.field("service", &self.group.source.service)?;
        if let Some(scope) = &self.group.scope.scope {
            fields.text("scope", &scope.name)?;
        }
        fields.field("severityNumber", &record.severity_number)?;
        fields.text("severityText", &record.severity_text)?;
        fields.field("body", &OneValue(record.body.as_ref(), 0))?;
        fields.list("attributes", &record.attributes)?;
        fields.0.end()
    }
}

struct ResourceSpans<'a> {
    source: &'a Source,
    scopes: Vec<ScopeSpans<'a>>,
}

struct ScopeSpans<'a> {
    scope: &'a Scope,
    spans: Vec<&'a Span>,
}

impl Serialize for Traces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resources: Vec<_> = self
            .0
            .iter()
            .flat_map(|trace| merge(&trace.groups))
            .collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("resourceSpans", &resources)?;
        map.end()
    }
}

/// Equal sources together, and in each equal scopes, both by first arrival.
fn merge(groups: &[Arc<Group>]) -> Vec<ResourceSpans<'_>> {
    let mut resources: Vec<ResourceSpans<'_>> = Vec::new();
    let mut resource_index = HashMap::new();
    let mut scope_index = HashMap::new();
    for group in groups {
        let resource = group.source.resource.as_ref().map(Message::encode_to_vec);
        let at = *resource_index
            .entry((resource, group.source.schema_url.as_str()))
            .or_insert(resources.len());
        if at == resources.len() {
            resources.push(ResourceSpans {
                source: &group.source,
                scopes: Vec::new(),
            });
        }
        let scopes = &mut resources[at].scopes;
        let scope = group.scope.scope.as_ref().map(Message::encode_to_vec);
        let scope_at = *scope_index
            .entry((at, scope, group.scope.schema_url.as_str()))
            .or_insert(scopes.len());
        if scope_at == scopes.len() {
            scopes.push(ScopeSpans {
                scope: &group.scope,
                spans: Vec::new(),
            });
        }
        scopes[scope_at].spans.extend(&group.spans);
    }
    resources
}

/// A JSON object whose fields are left out when they have their default.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn field(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    fn text(&mut self, name: &'static str, text: &str) -> Result<(), M::Error> {
        if text.is_empty() {
            Ok(())
        } else {
            self.field(name, text)
        }
    }

    fn number(&mut self, name: &'static str, number: u32) -> Result<(), M::Error> {
        if number == 0 {
            Ok(())
        } else {
            self.field(name, &number)
        }
    }

    fn list<T>(&mut self, name: &'static str, items: &[T]) -> Result<(), M::Error>
    where
        for<'a> Json<'a, T>: Serialize,
    {
        if items.is_empty() {
            Ok(())
        } else {
            self.field(name, &List(items))
        }
    }
}

/// Our JSON for a type that is not ours.
struct Json<'a, T>(&'a T);

struct List<'a, T>(&'a [T]);

impl<T> Serialize for List<'_, T>
where
    for<'a> Json<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Json))
    }
}

fn object<S: Serializer>(serializer: S) -> Result<Fields<S::SerializeMap>, S::Error> {
    serializer.serialize_map(None).map(Fields)
}

impl Serialize for ResourceSpans<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        fields.field("resource", &Json(self.source))?;
        fields.field("scopeSpans", &self.scopes)?;
        fields.text("schemaUrl", &self.source.schema_url)?;
        fields.0.end()
    }
}

impl Serialize for ScopeSpans<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spans: Vec<_> = self.spans.iter().map(|span| Json(*span)).collect();
        let mut fields = object(serializer)?;
        fields.field("scope", &Json(self.scope))?;
        fields.field("spans", &spans)?;
        fields.text("schemaUrl", &self.scope.schema_url)?;
        fields.0.end()
    }
}

impl Serialize for Json<'_, Span> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut fields = object(serializer)?;
        fields.field("traceId", &hex(&span.trace_id))?;
        fields.field("spanId", &hex(&span.span_id))?;
        fields.text("traceState", &span.trace_state)?;
        // Written for a root too, as Jaeger does.
        fields.field("parentSpanId", &hex(&span.parent_span_id))?;
        fields.number("flags", span.flags)?;
        fields.text("name", &span.name)?;
        if span.kind != 0 {
            fields.field("kind", &span.kind)?;
        }
        fields.field("startTimeUnixNano", &span.start_time_unix_nano.to_string())?;
        fields.field("endTimeUnixNano", &span.end_time_unix_nano.to_string())?;
        fields.list("attributes", &span.attributes)?;
        fields.number("droppedAttributesCount", span.dropped_attributes_count)?;
        fields.list("events", &span.events)?;
        fields.number("droppedEventsCount", span.dropped_events_count)?;
        fields.list("links", &span.links)?;
        fields.number("droppedLinksCount", span.dropped_links_count)?;
        // Always there, as in Jaeger's answers.
        let unset = Status::default();
        fields.field("status", &Json(span.status.as_ref().unwrap_or(&unset)))?;
        fields.0.end()
    }
}

impl Serialize for Json<'_, Source> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        if let Some(resource) = &self.0.resource {
            fields.list("attributes", &resource.attributes)?;
            fields.number("droppedAttributesCount", resource.dropped_attributes_count)?;
        }
        fields.0.end()
    }
}

impl Serialize for Json<'_, Scope> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        if let Some(scope) = &self.0.scope {
            fields.text("name", &scope.name)?;
            fields.text("version", &scope.version)?;
            fields.list("attributes", &scope.attributes)?;
            fields.number("droppedAttributesCount", scope.dropped_attributes_count)?;
        }
        fields.0.end()
    }
}

impl Serialize for Json<'_, Status> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        fields.text("message", &self.0.message)?;
        if self.0.code != 0 {
            fields.field("code", &self.0.code)?;
        }
        fields.0.end()
    }
}

impl Serialize for Json<'_, Event> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        fields.field("timeUnixNano", &self.0.time_unix_nano.to_string())?;
        fields.text("name", &self.0.name)?;
        fields.list("attributes", &self.0.attributes)?;
        fields.number("droppedAttributesCount", self.0.dropped_attributes_count)?;
        fields.0.end()
    }
}

impl Serialize for Json<'_, Link> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        fields.field("traceId", &hex(&self.0.trace_id))?;
        fields.field("spanId", &hex(&self.0.span_id))?;
        fields.text("traceState", &self.0.trace_state)?;
        fields.list("attributes", &self.0.attributes)?;
        fields.number("droppedAttributesCount", self.0.dropped_attributes_count)?;
        fields.number("flags", self.0.flags)?;
        fields.0.end()
    }
}

impl Serialize for Json<'_, KeyValue> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Pair(self.0, 0).serialize(serializer)
    }
}

/// A key and value, at a depth.
struct Pair<'a>(&'a KeyValue, usize);

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Pair(pair, depth) = *self;
        let mut fields = object(serializer)?;
        fields.field("key", &pair.key)?;
        fields.field("value", &OneValue(pair.value.as_ref(), depth))?;
        fields.0.end()
    }
}

/// An `AnyValue`, at a depth.
struct OneValue<'a>(Option<&'a AnyValue>, usize);

impl Serialize for OneValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OneValue(value, depth) = *self;
        let mut fields = object(serializer)?;
        match value.and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => fields.field("stringValue", text)?,
            Some(Value::BoolValue(truth)) => fields.field("boolValue", truth)?,
            Some(Value::IntValue(number)) => fields.field("intValue", &number.to_string())?,
            Some(Value::DoubleValue(number)) => double(&mut fields, *number)?,
            Some(Value::BytesValue(bytes)) => {
                fields.field("bytesValue", &STANDARD.encode(bytes))?
            }
            Some(Value::ArrayValue(_) | Value::KvlistValue(_)) if depth >= MAX_DEPTH => {
                fields.field("stringValue", "(nested too deeply to show)")?;
            }
            Some(Value::ArrayValue(array)) => {
                let items = array.values.iter();
                let items = items.map(|item| OneValue(Some(item), depth + 1)).collect();
                fields.field("arrayValue", &Values(items))?;
            }
            Some(Value::KvlistValue(list)) => {
                let items = list.values.iter();
                let items = items.map(|pair| Pair(pair, depth + 1)).collect();
                fields.field("kvlistValue", &Values(items))?;
            }
            // A reference into a dictionary that only profiles have counts as absent.
            Some(Value::StringValueStrindex(_)) | None => {}
        }
        fields.0.end()
    }
}

struct Values<T>(Vec<T>);

impl<T: Serialize> Serialize for Values<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = object(serializer)?;
        fields.field("values", &self.0)?;
        fields.0.end()
    }
}

/// JSON has no number for these; protobuf's rules name them.
fn double<M: SerializeMap>(fields: &mut Fields<M>, number: f64) -> Result<(), M::Error> {
    if number.is_nan() {
        fields.field("doubleValue", "NaN")
    } else if number.is_infinite() {
        let name = if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        fields.field("doubleValue", name)
    } else {
        fields.field("doubleValue", &number)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}
