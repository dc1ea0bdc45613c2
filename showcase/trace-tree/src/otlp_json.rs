//! OTLP JSON, as Jaeger's query API v3 and OTLP exporters write it, into a [`Trace`].
//!
//! Follows the OTLP specification's JSON encoding: hex ids, 64-bit integers as decimal strings or
//! numbers, enumerations as numbers (or, more leniently, names), defaults left out, unknown fields
//! ignored. What is there and of the wrong type is an error with its path, never a guess.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::trace::{Event, Kind, Link, Span, Status, Trace, Value, attributes};

/// Why a JSON value is not a trace in OTLP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtlpJsonError {
    /// Neither `resourceSpans` nor `result` is there: another kind of answer, an error perhaps.
    #[error("neither `resourceSpans` nor `result` in {start}")]
    NotTraces {
        /// How the JSON begins.
        start: String,
    },
    /// A field that is there has a value that OTLP does not allow.
    #[error("{path}: expected {expected}, found {found}")]
    Field {
        /// Where it is, as `resourceSpans[0].scopeSpans[2]…`.
        path: String,
        /// What belongs there.
        expected: &'static str,
        /// How that which is there begins.
        found: String,
    },
}

impl Trace {
    /// Reads `{"resourceSpans": […]}`, or the same inside `{"result": …}`. Of spans that share
    /// their ids the first is kept.
    ///
    /// # Errors
    /// When it is not OTLP JSON of traces, saying where.
    pub fn from_otlp_json(json: &Json) -> Result<Trace, OtlpJsonError> {
        let root = Node {
            json,
            path: String::new(),
        };
        let traces = match (json.get("result"), json.get("resourceSpans")) {
            (Some(_), _) => root.field("result"),
            (None, Some(_)) => root,
            (None, None) => {
                return Err(OtlpJsonError::NotTraces { start: start(json) });
            }
        };
        let mut spans = Vec::new();
        for group in traces.list("resourceSpans")? {
            let resource = group.field("resource").attributes()?;
            let service = match resource.get("service.name") {
                Some(Value::String(name)) => name.clone(),
                _ => "unknown_service".to_owned(),
            };
            for scope_group in group.list("scopeSpans")? {
                let scope = scope_group.field("scope").text("name")?;
                for node in scope_group.list("spans")? {
                    spans.push(node.span(&service, &resource, &scope)?);
                }
            }
        }
        Ok(Trace::from_spans(spans))
    }
}

/// A JSON value and where it stands. Absent fields are nodes too, holding null: protobuf's JSON
/// leaves out whatever has its default.
struct Node<'a> {
    json: &'a Json,
    path: String,
}

impl<'a> Node<'a> {
    fn field(&self, name: &str) -> Node<'a> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        let json = self.json.get(name).unwrap_or(&Json::Null);
        Node { json, path }
    }

    fn error(&self, expected: &'static str) -> OtlpJsonError {
        OtlpJsonError::Field {
            path: self.path.clone(),
            expected,
            found: start(self.json),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<Node<'a>>, OtlpJsonError> {
        if !self.json.is_object() && !self.json.is_null() {
            return Err(self.error("an object"));
        }
        let field = self.field(name);
        match field.json {
            Json::Null => Ok(Vec::new()),
            Json::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, json)| Node {
                    json,
                    path: format!("{}[{index}]", field.path),
                })
                .collect()),
            _ => Err(field.error("a list")),
        }
    }

    fn text(&self, name: &str) -> Result<String, OtlpJsonError> {
        let field = self.field(name);
        match field.json {
            Json::Null => Ok(String::new()),
            Json::String(text) => Ok(text.clone()),
            _ => Err(field.error("a text")),
        }
    }

    fn time(&self, name: &str) -> Result<u64, OtlpJsonError> {
        let field = self.field(name);
        let number = match field.json {
            Json::Null => Some(0),
            Json::Number(number) => number.as_u64(),
            Json::String(digits) => digits.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| field.error("nanoseconds as a number or a decimal text"))
    }

    /// Lower-case hex; none when absent, empty or all zero, which is how OTLP writes "no id".
    fn id(
        &self,
        name: &str,
        digits: usize,
        expected: &'static str,
    ) -> Result<Option<String>, OtlpJsonError> {
        let text = self.text(name)?;
        if text.bytes().all(|byte| byte == b'0') && (text.is_empty() || text.len() == digits) {
            return Ok(None);
        }
        if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.field(name).error(expected));
        }
        Ok(Some(text.to_ascii_lowercase()))
    }

    fn trace_id(&self) -> Result<String, OtlpJsonError> {
        const EXPECTED: &str = "32 hex digits, not all zero";
        let id = self.id("traceId", 32, EXPECTED)?;
        id.ok_or_else(|| self.field("traceId").error(EXPECTED))
    }

    fn span_id(&self) -> Result<String, OtlpJsonError> {
        const EXPECTED: &str = "16 hex digits, not all zero";
        let id = self.id("spanId", 16, EXPECTED)?;
        id.ok_or_else(|| self.field("spanId").error(EXPECTED))
    }

    fn span(
        &self,
        service: &str,
        resource: &BTreeMap<String, Value>,
        scope: &str,
    ) -> Result<Span, OtlpJsonError> {
        let mut events = Vec::new();
        for event in self.list("events")? {
            events.push(Event {
                time_unix_nano: event.time("timeUnixNano")?,
                name: event.text("name")?,
                attributes: event.attributes()?,
            });
        }
        let mut links = Vec::new();
        for link in self.list("links")? {
            links.push(Link {
                trace_id: link.trace_id()?,
                span_id: link.span_id()?,
                attributes: link.attributes()?,
            });
        }
        Ok(Span {
            trace_id: self.trace_id()?,
            span_id: self.span_id()?,
            parent_span_id: self.id("parentSpanId", 16, "16 hex digits, or nothing")?,
            name: self.text("name")?,
            service: service.to_owned(),
            kind: self.kind()?,
            start_unix_nano: self.time("startTimeUnixNano")?,
            end_unix_nano: self.time("endTimeUnixNano")?,
            attributes: self.attributes()?,
            resource: resource.clone(),
            scope: scope.to_owned(),
            events,
            links,
            status: self.field("status").status()?,
        })
    }

    fn kind(&self) -> Result<Kind, OtlpJsonError> {
        let field = self.field("kind");
        let kind = match field.json {
            Json::Null => Some(Kind::Unspecified),
            Json::Number(number) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .and_then(|number| Kind::ALL.get(number).copied()),
            Json::String(name) => name.strip_prefix("SPAN_KIND_").and_then(Kind::from_name),
            _ => None,
        };
        kind.ok_or_else(|| field.error("a span kind, 0 to 5 or SPAN_KIND_…"))
    }

    fn status(&self) -> Result<Status, OtlpJsonError> {
        let code = self.field("code");
        let message = self.text("message")?;
        let known = match code.json {
            Json::Null => Some(0),
            Json::Number(number) => number.as_u64(),
            Json::String(name) => match name.as_str() {
                "STATUS_CODE_UNSET" => Some(0),
                "STATUS_CODE_OK" => Some(1),
                "STATUS_CODE_ERROR" => Some(2),
                _ => None,
            },
            _ => None,
        };
        match known {
            Some(0) => Ok(Status::Unset),
            Some(1) => Ok(Status::Ok),
            Some(2) => Ok(Status::Error(message)),
            _ => Err(code.error("a status code, 0 to 2 or STATUS_CODE_…")),
        }
    }

    fn attributes(&self) -> Result<BTreeMap<String, Value>, OtlpJsonError> {
        Ok(attributes(self.pairs("attributes")?))
    }

    fn pairs(&self, name: &str) -> Result<Vec<(String, Value)>, OtlpJsonError> {
        let pair = |node: Node<'_>| Ok((node.text("key")?, node.field("value").value()?));
        self.list(name)?.into_iter().map(pair).collect()
    }

    /// An `AnyValue`. No recursion limit of its own is needed: serde_json has one.
    fn value(&self) -> Result<Value, OtlpJsonError> {
        let object = match self.json {
            Json::Null => return Ok(Value::Empty),
            Json::Object(object) => object,
            _ => return Err(self.error("an object such as {\"stringValue\": …}")),
        };
        let Some((name, json)) = object.iter().find(|(name, _)| name.ends_with("Value")) else {
            return Ok(Value::Empty);
        };
        let inner = self.field(name);
        let value = match (name.as_str(), json) {
            (_, Json::Null) => Some(Value::Empty),
            ("stringValue", Json::String(text)) => Some(Value::String(text.clone())),
            ("boolValue", Json::Bool(truth)) => Some(Value::Bool(*truth)),
            ("intValue", Json::Number(number)) => number.as_i64().map(Value::Int),
            ("intValue", Json::String(digits)) => digits.parse().ok().map(Value::Int),
            ("doubleValue", Json::Number(number)) => number.as_f64().map(Value::Double),
            ("doubleValue", Json::String(text)) => text.parse().ok().map(Value::Double),
            ("bytesValue", Json::String(base64)) => Some(Value::Bytes(base64.clone())),
            ("arrayValue", Json::Object(_)) => {
                let items = inner.list("values")?;
                let items: Result<_, _> = items.iter().map(Node::value).collect();
                Some(Value::Array(items?))
            }
            ("kvlistValue", Json::Object(_)) => {
                Some(Value::Map(attributes(inner.pairs("values")?)))
            }
            _ => None,
        };
        value.ok_or_else(|| inner.error("a value of the type that its name says"))
    }
}

/// Enough of a value to recognise it in a message, whatever its size.
fn start(json: &Json) -> String {
    const LENGTH: usize = 80;
    let text = json.to_string();
    match text.char_indices().nth(LENGTH) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
