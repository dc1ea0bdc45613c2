//! From a trace context to record headers and back, with the propagator that the application
//! installed. What the headers look like is the propagator's; how they are written is `carrier.rs`.
//!
//! Used by the producer and the consumer of this crate, and directly by whoever sends or receives
//! by other means. Starts no span.

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::{Context, global};
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use crate::carrier::{HeaderExtractor, HeaderInjector, RecordHeaders};

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
/// trace context gives a [`Context`] without a span, whatever is active around the call.
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
    extract_onto(&Context::new(), headers.map(RecordHeaders::as_borrowed))
}

/// [`extract`] with a propagator of one's own.
pub fn extract_with<H: RecordHeaders>(
    propagator: &dyn TextMapPropagator,
    headers: Option<&H>,
) -> Context {
    read(
        propagator,
        &Context::new(),
        headers.map(RecordHeaders::as_borrowed),
    )
}

/// [`extract`] on top of a context whose other values are kept.
pub(crate) fn extract_onto(base: &Context, headers: Option<&BorrowedHeaders>) -> Context {
    global::get_text_map_propagator(|propagator| read(propagator, base, headers))
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
