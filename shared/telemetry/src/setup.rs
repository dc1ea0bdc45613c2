//! Starts telemetry for a process and ends it.
//!
//! What to build is decided in `settings`, built in `providers`, and joined to `tracing` in
//! `subscriber`.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

use crate::environment::SettingError;
use crate::log_format::LineFormat;
use crate::losses::{self, ShutdownReport};
use crate::providers::Providers;
use crate::settings::{Propagators, Settings};
use crate::tls::TlsError;
use crate::{resource, subscriber};

/// How long [`Telemetry::shutdown`] may take in all.
const SHUTDOWN_BOUND: Duration = Duration::from_secs(5);

/// Who a service is, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct ServiceIdentity {
    /// `service.name`.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Environment variables that cannot be used, all of them.
    #[error("wrong environment variables:{}", listed(.0))]
    Settings(Vec<SettingError>),
    /// An OTLP exporter refused its settings.
    #[error("cannot build an OTLP exporter: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// An OTLP exporter cannot use TLS as it is set up.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The HTTP client that spans are sent with cannot be made.
    #[error("cannot build the HTTP client of the OTLP exporter: {0}")]
    HttpClient(io::Error),
    /// Telemetry, or another `tracing` subscriber, is set up already.
    #[error("a tracing subscriber is set already")]
    SubscriberIsSet,
}

fn listed(errors: &[SettingError]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

/// Telemetry that is running. Hold it as long as the service works, then call
/// [`Telemetry::shutdown`]: what is still queued when it is only dropped may be lost.
#[must_use = "telemetry ends when this is dropped"]
pub struct Telemetry {
    providers: Providers,
}

/// Sets up telemetry as the environment has it: the global providers, the global propagator and the
/// global `tracing` subscriber.
///
/// Call it once, early, and within a Tokio runtime, which the gRPC exporter needs. Whatever keeps a
/// tracer (the modules of this crate do) must be created afterwards.
///
/// # Errors
///
/// When a variable is wrong (then nothing is installed), or when a subscriber is set already.
pub fn init(identity: ServiceIdentity) -> Result<Telemetry, TelemetryError> {
    let environment =
        |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if tracing::dispatcher::has_been_set() {
        return Err(TelemetryError::SubscriberIsSet);
    }
    let settings = Settings::read(&identity, environment).map_err(TelemetryError::Settings)?;
    let providers = Providers::build(&settings)?;
    let line_format = LineFormat::new(
        settings.log_format,
        resource::text(&settings.resource, "service.name").unwrap_or_default(),
        settings.colour && io::stderr().is_terminal(),
    );
    let subscriber = subscriber::subscriber(
        &settings.log_filter,
        line_format,
        io::stderr,
        providers.traces.as_ref(),
        providers.logs.as_ref(),
    );
    global::set_text_map_propagator(propagator(settings.propagators));
    if let Some(provider) = &providers.traces {
        global::set_tracer_provider(provider.clone());
    }
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| TelemetryError::SubscriberIsSet)?;
    Ok(Telemetry { providers })
}

fn propagator(wanted: Propagators) -> TextMapCompositePropagator {
    let mut parts: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
    if wanted.trace_context {
        parts.push(Box::new(TraceContextPropagator::new()));
    }
    if wanted.baggage {
        parts.push(Box::new(BaggagePropagator::new()));
    }
    TextMapCompositePropagator::new(parts)
}

impl Telemetry {
    /// Sends what is queued, all signals at once, and stops. Takes five seconds at most.
    ///
    /// What was lost, now or before, is said on stderr in one line; nothing is said otherwise.
    pub async fn shutdown(self) -> ShutdownReport {
        let report = self.providers.shutdown(SHUTDOWN_BOUND).await;
        if !report.is_clean() {
            tracing::warn!(target: losses::TARGET, "{report}");
        }
        report
    }
}
