//! The spans of a trace, and who is whose parent.
//!
//! What the readers (OTLP JSON, the SDK's span data) produce and the tree is drawn from. It holds
//! spans as they were reported and repairs nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Spans as a backend has them: usually of one trace, or several (see [`Trace::into_traces`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In no particular order; no two have the same trace id and span id when read by this crate.
    pub spans: Vec<Span>,
}

/// One span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// 16 lower-case hex digits, or none for a root.
    pub parent_span_id: Option<String>,
    /// The span's name.
    pub name: String,
    /// `service.name` of the resource; `unknown_service` when it has none.
    pub service: String,
    /// The role of the span.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// By key; a key given twice is a [`Value::Repeated`].
    pub attributes: BTreeMap<String, Value>,
    /// The attributes of the resource that reported the span.
    pub resource: BTreeMap<String, Value>,
    /// The name of the instrumentation scope; empty when unknown.
    pub scope: String,
    /// In the order they were reported.
    pub events: Vec<Event>,
    /// In the order they were reported.
    pub links: Vec<Link>,
    /// How it ended.
    pub status: Status,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// The event's name, for example `exception`.
    pub name: String,
    /// By key; a key given twice is a [`Value::Repeated`].
    pub attributes: BTreeMap<String, Value>,
}

/// A reference from a span to another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// By key; a key given twice is a [`Value::Repeated`].
    pub attributes: BTreeMap<String, Value>,
}

/// The role of a span, as OTLP numbers it from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Not said.
    Unspecified,
    /// Inside one service.
    Internal,
    /// Answers a request from another.
    Server,
    /// Asks another and waits.
    Client,
    /// Sends a message.
    Producer,
    /// Processes a message.
    Consumer,
}

impl Kind {
    /// Every kind, in the order of OTLP's numbers.
    pub const ALL: [Kind; 6] = [
        Kind::Unspecified,
        Kind::Internal,
        Kind::Server,
        Kind::Client,
        Kind::Producer,
        Kind::Consumer,
    ];

    /// The name in the text, `SERVER` for example: OTLP's name without its prefix.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Unspecified => "UNSPECIFIED",
            Kind::Internal => "INTERNAL",
            Kind::Server => "SERVER",
            Kind::Client => "CLIENT",
            Kind::Producer => "PRODUCER",
            Kind::Consumer => "CONSUMER",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing was said, as is right for a span that went well.
    #[default]
    Unset,
    /// Declared to be well by the application.
    Ok,
    /// Failed; the description may be empty.
    Error(String),
}

/// The value of an attribute, with the type that it was sent with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Sent without a value.
    Empty,
    /// A text.
    String(String),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes, in base64 as OTLP JSON has them.
    Bytes(String),
    /// A list.
    Array(Vec<Value>),
    /// A map.
    Map(BTreeMap<String, Value>),
    /// All values (at least two) of a key that was sent more than once. OTLP forbids it and SDKs do
    /// it; a test must be able to see it.
    Repeated(Vec<Value>),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// Collects keys and values, keeping every value of a repeated key.
pub(crate) fn attributes(
    pairs: impl IntoIterator<Item = (String, Value)>,
) -> BTreeMap<String, Value> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        match map.get_mut(&key) {
            None => {
                map.insert(key, value);
            }
            Some(Value::Repeated(values)) => values.push(value),
            Some(first) => {
                let earlier = std::mem::replace(first, Value::Empty);
                *first = Value::Repeated(vec![earlier, value]);
            }
        }
    }
    map
}

impl Trace {
    /// Keeps the first of the spans that share a trace id and a span id.
    pub(crate) fn from_spans(spans: impl IntoIterator<Item = Span>) -> Trace {
        let mut seen = BTreeSet::new();
        let spans = spans
            .into_iter()
            .filter(|span| seen.insert((span.trace_id.clone(), span.span_id.clone())))
            .collect();
        Trace { spans }
    }

    /// The spans without a parent, or whose parent is not here, by start time.
    #[must_use]
    pub fn roots(&self) -> Vec<&Span> {
        let ids = self.ids();
        let mut roots: Vec<&Span> = self
            .spans
            .iter()
            .filter(|span| match parent_key(span) {
                None => true,
                Some(parent) => !ids.contains(&parent),
            })
            .collect();
        roots.sort_by(|a, b| order(a).cmp(&order(b)));
        roots
    }

    /// The spans that name `span_id` as their parent, by start time.
    #[must_use]
    pub fn children(&self, span_id: &str) -> Vec<&Span> {
        let mut children: Vec<&Span> = self
            .spans
            .iter()
            .filter(|span| span.parent_span_id.as_deref() == Some(span_id))
            .collect();
        children.sort_by(|a, b| order(a).cmp(&order(b)));
        children
    }

    /// The spans that name a parent which is not here, by start time. Empty for a trace that is
    /// whole, unless its caller is traced elsewhere.
    #[must_use]
    pub fn missing_parents(&self) -> Vec<&Span> {
        let mut missing = self.roots();
        missing.retain(|span| span.parent_span_id.is_some());
        missing
    }

    /// The span of that id.
    #[must_use]
    pub fn span(&self, span_id: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.span_id == span_id)
    }

    /// One for each trace id, by the start of the earliest span. A backend's answer to a search
    /// holds several traces.
    #[must_use]
    pub fn into_traces(self) -> Vec<Trace> {
        let mut by_id: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in self.spans {
            by_id.entry(span.trace_id.clone()).or_default().push(span);
        }
        let mut traces: Vec<Trace> = by_id.into_values().map(|spans| Trace { spans }).collect();
        traces.sort_by_key(|trace| trace.spans.iter().map(|span| span.start_unix_nano).min());
        traces
    }

    fn ids(&self) -> BTreeSet<(&str, &str)> {
        self.spans.iter().map(key).collect()
    }
}

/// What a span is found by.
pub(crate) fn key(span: &Span) -> (&str, &str) {
    (&span.trace_id, &span.span_id)
}

/// What the parent is found by: it is always of the same trace.
pub(crate) fn parent_key(span: &Span) -> Option<(&str, &str)> {
    let parent = span.parent_span_id.as_deref()?;
    Some((&span.trace_id, parent))
}

/// Siblings by start time. What follows decides only between spans of the same nanosecond, and puts
/// ids last, since they differ from run to run.
pub(crate) fn order(span: &Span) -> impl Ord + '_ {
    (
        span.start_unix_nano,
        span.end_unix_nano,
        &span.service,
        &span.name,
        span.kind,
        &span.trace_id,
        &span.span_id,
    )
}
