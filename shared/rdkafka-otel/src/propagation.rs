//! From a trace context to record headers and back, with the propagator that the application
//! installed. What the headers look like is the propagator's, or `w3c.rs`'s where that writes the
//! same at a fraction of the cost; how they are written is `carrier.rs`.
//!
//! Used by the producer and the consumer of this crate, and directly by whoever sends or receives
//! by other means. Starts no span.

use std::fmt;
use std::str::FromStr;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
use opentelemetry::{Context, global};
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use crate::carrier::{self, HeaderExtractor, HeaderInjector, RecordHeaders};
use crate::{native, w3c};

/// Writes `cx` into `headers` with the global propagator.
///
/// The propagator's fields are removed first, so a context without a valid span leaves none of an
/// earlier hop's behind. All other headers keep their bytes and their order. Without a propagator
/// installed nothing changes.
///
/// ```
/// use opentelemetry::Context;
/// use rdkafka::message::OwnedHeaders;
///
/// let mut headers = OwnedHeaders::new();
/// rdkafka_otel::inject(&Context::current(), &mut headers);
/// ```
pub fn inject(cx: &Context, headers: &mut OwnedHeaders) {
    global::get_text_map_propagator(|propagator| inject_with(propagator, cx, headers));
}

/// [`inject`] with a propagator of one's own.
pub fn inject_with(propagator: &dyn TextMapPropagator, cx: &Context, headers: &mut OwnedHeaders) {
    let mut injector = HeaderInjector::new(headers);
    for field in propagator.fields() {
        injector.remove(field);
    }
    propagator.inject_context(cx, &mut injector);
}

/// Reads the context that a record carries, with the global propagator.
///
/// The result holds what the headers hold and nothing of the current context: a record without a
/// trace context gives a [`Context`] without a span, whatever is active around the call. Why there
/// is none says [`Propagation::creation_context`].
///
/// ```
/// use opentelemetry::trace::TraceContextExt;
/// use rdkafka::Message;
/// use rdkafka::message::BorrowedMessage;
///
/// fn came_from(record: &BorrowedMessage<'_>) -> Option<String> {
///     let cx = rdkafka_otel::extract(record.headers());
///     let creation = cx.span().span_context().clone();
///     creation.is_valid().then(|| creation.trace_id().to_string())
/// }
/// ```
pub fn extract<H: RecordHeaders>(headers: Option<&H>) -> Context {
    let headers = headers.map(RecordHeaders::as_borrowed);
    global::get_text_map_propagator(|propagator| read(propagator, &Context::new(), headers))
}

/// [`extract`] with a propagator of one's own.
pub fn extract_with<H: RecordHeaders>(
    propagator: &dyn TextMapPropagator,
    headers: Option<&H>,
) -> Context {
    let headers = headers.map(RecordHeaders::as_borrowed);
    read(propagator, &Context::new(), headers)
}

/// Why a record gives no span context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// The record carries none: its sender is not traced, or something in between dropped the
    /// headers.
    #[error("the record carries no trace context")]
    Absent,
    /// There is a header for it, but nothing that can be read as a valid span context.
    #[error("the record's trace context is malformed")]
    Malformed,
    /// There is a header for it, too long (over 512 bytes) to be looked at.
    #[error("the record's trace context is too long")]
    TooLong,
}

impl Missing {
    /// The reason as a label: `absent`, `malformed` or `too_long`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
        }
    }
}

const W3C_FIELDS: [&str; 3] = [w3c::TRACEPARENT, w3c::TRACESTATE, w3c::BAGGAGE];

/// How trace contexts get into headers and out of them, decided once.
///
/// [`inject`] and [`extract`] ask the global propagator every time. This looks at it once: if it is
/// the SDK's `TraceContextPropagator`, alone or in a composite with its `BaggagePropagator`, their
/// headers are written and read directly from then on, without an allocation and in about the time
/// that librdkafka needs. Any other propagator, a wrapper around those included, is called as it
/// is. Baggage is always left to the propagator.
///
/// Every client of this crate makes one for itself when it is made.
#[derive(Clone, Copy)]
pub struct Propagation(Format);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    TraceContext,
    TraceContextAndBaggage,
    /// Whatever is installed at the time of the call.
    Installed,
}

/// Shows which way was chosen.
impl fmt::Debug for Propagation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Propagation").field(&self.0).finish()
    }
}

impl Propagation {
    /// By the global propagator. Install it first: later on only its replacement by another kind
    /// than the W3C's is noticed, and only if what was found now was another kind, too.
    #[must_use]
    pub fn installed() -> Self {
        Self(global::get_text_map_propagator(recognise))
    }

    /// By `traceparent` and `tracestate`, whatever is installed. Without baggage.
    #[must_use]
    pub fn w3c() -> Self {
        Self(Format::TraceContext)
    }

    /// Writes `cx` into `headers`, exactly as [`inject`] does.
    ///
    /// ```
    /// use opentelemetry::Context;
    /// use rdkafka::message::OwnedHeaders;
    /// use rdkafka_otel::Propagation;
    ///
    /// let propagation = Propagation::w3c();
    /// let mut headers = OwnedHeaders::new();
    /// propagation.inject(&Context::current(), &mut headers);
    /// ```
    pub fn inject(&self, cx: &Context, headers: &mut OwnedHeaders) {
        self.inject_span(cx.span().span_context(), cx, headers);
    }

    /// [`inject`](Self::inject) of a span that is not (yet) in a context, with the baggage of `cx`.
    pub(crate) fn inject_span(&self, span: &SpanContext, cx: &Context, headers: &mut OwnedHeaders) {
        match self.0 {
            Format::TraceContextAndBaggage if cx.baggage().is_empty() => {
                carrier::remove_fields(headers, &W3C_FIELDS);
                append_trace_context(span, headers);
            }
            Format::TraceContext => {
                carrier::remove_fields(headers, &W3C_FIELDS[..2]);
                append_trace_context(span, headers);
            }
            _ => inject(&cx.with_remote_span_context(span.clone()), headers),
        }
    }

    /// Reads the context that a record carries; as [`extract`], nothing of the current one.
    ///
    /// ```
    /// use opentelemetry::trace::TraceContextExt;
    /// use rdkafka::message::{Header, OwnedHeaders};
    /// use rdkafka_otel::Propagation;
    ///
    /// let headers = OwnedHeaders::new().insert(Header {
    ///     key: "traceparent",
    ///     value: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    /// });
    /// let cx = Propagation::w3c().extract(Some(&headers));
    /// assert!(cx.span().span_context().is_sampled());
    /// ```
    pub fn extract<H: RecordHeaders>(&self, headers: Option<&H>) -> Context {
        self.extract_onto(&Context::new(), headers.map(RecordHeaders::as_borrowed))
            .context
    }

    /// The span context of the record's sender, or why there is none.
    ///
    /// # Errors
    ///
    /// [`Missing`] tells a record that carries no trace context from one whose context is broken.
    ///
    /// ```
    /// use rdkafka::message::{Header, OwnedHeaders};
    /// use rdkafka_otel::{Missing, Propagation};
    ///
    /// let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some("?") });
    /// match Propagation::w3c().creation_context(Some(&headers)) {
    ///     Ok(creation) => println!("sent by span {}", creation.span_id()),
    ///     Err(Missing::Absent) => println!("the sender is not traced"),
    ///     Err(broken) => println!("{broken}"),
    /// }
    /// ```
    pub fn creation_context<H: RecordHeaders>(
        &self,
        headers: Option<&H>,
    ) -> Result<SpanContext, Missing> {
        let headers = headers.map(RecordHeaders::as_borrowed);
        match self.0 {
            Format::Installed => self.extract_onto(&Context::new(), headers).creation,
            Format::TraceContext | Format::TraceContextAndBaggage => {
                let found = headers.map_or_else(Default::default, carrier::find_trace_context);
                read_trace_context(&found)
            }
        }
    }

    /// [`extract`](Self::extract) on top of a context whose other values are kept.
    pub(crate) fn extract_onto(
        &self,
        base: &Context,
        headers: Option<&BorrowedHeaders>,
    ) -> Extracted {
        let installed = || {
            global::get_text_map_propagator(|propagator| {
                let cx = read(propagator, base, headers);
                let creation = valid_span(&cx).ok_or_else(|| why(propagator, headers));
                Extracted {
                    context: cx,
                    creation,
                }
            })
        };
        if self.0 == Format::Installed {
            return installed();
        }
        let found = headers.map_or_else(Default::default, carrier::find_trace_context);
        let creation = read_trace_context(&found);
        let context = if self.0 == Format::TraceContextAndBaggage && found.has_baggage {
            // One reader for the span context whether or not there is baggage beside it.
            installed().context
        } else {
            base.clone()
        };
        let context = match &creation {
            Ok(span) => context.with_remote_span_context(span.clone()),
            Err(_) if context.has_active_span() => {
                context.with_remote_span_context(SpanContext::NONE)
            }
            Err(_) => context,
        };
        Extracted { context, creation }
    }
}

/// What the headers of one record gave.
pub(crate) struct Extracted {
    pub(crate) context: Context,
    pub(crate) creation: Result<SpanContext, Missing>,
}

/// The SDK's own propagators are known by how they print themselves: a fast path taken for a
/// wrapper with the same fields would pass by what the wrapper is there for. Should a release of the
/// SDK print them otherwise, a test fails, and until then the slow path is taken.
fn recognise(propagator: &dyn TextMapPropagator) -> Format {
    let printed = format!("{propagator:?}");
    let trace_context = "TraceContextPropagator { _private: () }";
    let baggage = "BaggagePropagator { _private: () }";
    let composite = |parts: &[&str]| {
        let parts = parts.join(", ");
        printed.starts_with(&format!(
            "TextMapCompositePropagator {{ propagators: [{parts}], "
        ))
    };
    if printed == trace_context || composite(&[trace_context]) {
        Format::TraceContext
    } else if composite(&[trace_context, baggage]) || composite(&[baggage, trace_context]) {
        Format::TraceContextAndBaggage
    } else {
        Format::Installed
    }
}

fn append_trace_context(span: &SpanContext, headers: &mut OwnedHeaders) {
    if !span.is_valid() {
        return;
    }
    let traceparent = w3c::format_traceparent(span);
    native::append(headers, w3c::TRACEPARENT.as_bytes(), Some(&traceparent));
    if span.trace_state().into_iter().len() > 0 {
        let tracestate = span.trace_state().header();
        native::append(
            headers,
            w3c::TRACESTATE.as_bytes(),
            Some(tracestate.as_bytes()),
        );
    }
}

fn read_trace_context(found: &carrier::TraceContext<'_>) -> Result<SpanContext, Missing> {
    let traceparent = found.traceparent.ok_or(Missing::Absent)?;
    let (trace_id, span_id, flags) =
        w3c::parse_traceparent(traceparent.ok_or(Missing::Malformed)?)?;
    // A tracestate that cannot be read does not take the span context with it.
    let trace_state = found
        .tracestate()
        .and_then(|state| TraceState::from_str(&state).ok())
        .unwrap_or_default();
    Ok(SpanContext::new(
        trace_id,
        span_id,
        flags,
        true,
        trace_state,
    ))
}

/// Why a propagator that may have any format found nothing: by what its fields hold.
fn why(propagator: &dyn TextMapPropagator, headers: Option<&BorrowedHeaders>) -> Missing {
    let Some(headers) = headers else {
        return Missing::Absent;
    };
    let extractor = HeaderExtractor::new(headers);
    propagator
        .fields()
        .filter(|field| !matches!(*field, w3c::TRACESTATE | w3c::BAGGAGE))
        .filter_map(|field| extractor.last_bytes(field))
        .map(|value| match value {
            Some(value) if value.len() > w3c::LONGEST_TRACEPARENT => Missing::TooLong,
            _ => Missing::Malformed,
        })
        .next()
        .unwrap_or(Missing::Absent)
}

pub(crate) fn valid_span(cx: &Context) -> Option<SpanContext> {
    let span = cx.span();
    let span = span.span_context();
    span.is_valid().then(|| span.clone())
}

fn read(
    propagator: &dyn TextMapPropagator,
    base: &Context,
    headers: Option<&BorrowedHeaders>,
) -> Context {
    let Some(headers) = headers else {
        return base.clone();
    };
    // The no-op propagator, there until the application installs another, answers with the current
    // context instead of the one it was given; a span around the call would pass for the record's.
    let _current = base.clone().attach();
    propagator.extract_with_context(base, &HeaderExtractor::new(headers))
}

#[cfg(test)]
mod tests;
