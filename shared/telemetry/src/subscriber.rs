//! Where `tracing` goes: events to stderr and to OTLP, `#[tracing::instrument]` spans into traces.
//!
//! The spans at the edges (HTTP, Kafka, database) do not pass here: they use the OpenTelemetry API,
//! so that no log level can take them away.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, fmt};

use crate::log_format::{LineFormat, NoFields};
use crate::losses;

/// Builds the subscriber of the process. A signal without a provider has no layer.
pub(crate) fn subscriber<W>(
    log_filter: &str,
    line_format: LineFormat,
    writer: W,
    traces: Option<&SdkTracerProvider>,
    logs: Option<&SdkLoggerProvider>,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer()
        .event_format(line_format)
        .fmt_fields(NoFields)
        .with_writer(writer)
        // Its complaint about a closed stderr would go to stderr, and panic there.
        .log_internal_errors(false)
        .with_filter(EnvFilter::new(log_filter));
    let bridge = logs.map(|provider| {
        let unrelated = filter::filter_fn(|metadata| !concerns_export(metadata));
        OpenTelemetryTracingBridge::new(provider)
            .with_filter(EnvFilter::new(log_filter).and(unrelated))
    });
    let spans = traces.map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tracing"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter::filter_fn(belongs_in_a_trace).with_max_level_hint(Level::INFO))
    });
    Registry::default().with(spans).with(bridge).with(lines)
}

/// Events are logs already, joined to the span by its id. Only those at ERROR mark the span too,
/// which is what `#[instrument(err)]` relies on; a WARN that names an error does not.
fn belongs_in_a_trace(metadata: &Metadata<'_>) -> bool {
    let wanted = if metadata.is_span() {
        *metadata.level() <= Level::INFO
    } else {
        *metadata.level() == Level::ERROR
    };
    wanted && !concerns_export(metadata)
}

/// What the exporters and their transports say about an export would cause the next one.
fn concerns_export(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let root = target.split("::").next().unwrap_or(target);
    target == losses::TARGET
        || root.starts_with("opentelemetry")
        || ["h2", "hyper", "hyper_util", "reqwest", "tonic", "tower"].contains(&root)
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
pub(crate) mod tests;
