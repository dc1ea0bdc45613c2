//! What a process span says of the trace context on its record, where it continues none.
//!
//! Evidence is what the instrumentation says; whether there is a sender to miss is `join`'s.

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::messaging;
use crate::store::Group;

/// The instrumentation that says so when a context was there and could not be used.
const TELLS: &str = "rdkafka-otel";

/// Why a process span continues no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoContext {
    /// There was a header for it, and nonsense in it.
    Malformed,
    /// There was a header for it, too long to be read.
    TooLong,
    /// Its propagators found none.
    Absent,
    /// The instrumentation does not tell these apart.
    Unknown,
}

impl NoContext {
    /// What the span says by itself, if anything.
    pub(crate) fn said(span: &Span) -> Option<NoContext> {
        match messaging::missing_context(span)? {
            "malformed" => Some(NoContext::Malformed),
            "too_long" => Some(NoContext::TooLong),
            _ => None,
        }
    }

    /// Why a span that is known to continue none does so.
    pub(crate) fn of(group: &Group, span: &Span) -> NoContext {
        let scope = group.scope.scope.as_ref();
        let otherwise = match scope {
            Some(scope) if scope.name == TELLS => NoContext::Absent,
            _ => NoContext::Unknown,
        };
        NoContext::said(span).unwrap_or(otherwise)
    }

    /// For the process span.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            NoContext::Malformed => "the trace context in the record's headers is malformed",
            NoContext::TooLong => {
                "the trace context in the record's headers is too long to be read"
            }
            NoContext::Absent => {
                "no trace context in the record's headers: its sender wrote none, or propagation \
                 is off where it was processed"
            }
            NoContext::Unknown => {
                "no trace context in the record's headers, or none that could be read"
            }
        }
    }

    /// For the send span, after the name of the group.
    pub(crate) fn reason_for_sender(self) -> &'static str {
        match self {
            NoContext::Malformed => {
                "processed this record without its trace context: what the record's headers hold \
                 is malformed"
            }
            NoContext::TooLong => {
                "processed this record without its trace context: what the record's headers hold \
                 is too long to be read"
            }
            NoContext::Absent => {
                "processed this record without its trace context: none was written into the \
                 record's headers, or propagation is off where it was processed"
            }
            NoContext::Unknown => {
                "processed this record without its trace context: there was none in the record's \
                 headers, or none that it could read"
            }
        }
    }
}
