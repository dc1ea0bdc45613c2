//! Builds the providers, makes them global, and takes them down again.
//!
//! What to build is decided in `settings`; what `tracing` does with it in `subscriber`.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as OtlpProtocol, SpanExporter,
    WithExportConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::task::{self, JoinHandle};
use tokio::time;

use crate::log_format::LineFormat;
use crate::losses::{self, Account, CountedExporter, CountedLogs, CountedSpans, ShutdownReport};
use crate::settings::{Exporter, Propagators, Protocol, SettingError, Settings};
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
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    accounts: Accounts,
}

struct Accounts {
    spans: Arc<Account>,
    log_records: Arc<Account>,
    metrics: Arc<Account>,
}

/// Sets up telemetry as the environment has it: the global providers, the global propagator and the
/// global `tracing` subscriber.
///
/// Call it once, early, and within a Tokio runtime, which the gRPC exporter needs. Whatever keeps a
/// tracer (the modules of this crate do) must be created afterwards.
///
/// # Errors
///
/// When a variable is wrong, or when a subscriber is set already. Nothing is installed then.
pub fn init(identity: ServiceIdentity) -> Result<Telemetry, TelemetryError> {
    let environment =
        |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if tracing::dispatcher::has_been_set() {
        return Err(TelemetryError::SubscriberIsSet);
    }
    let settings = Settings::read(&identity, environment).map_err(TelemetryError::Settings)?;
    let telemetry = Telemetry::build(&settings)?;
    let line_format = LineFormat {
        format: settings.log_format,
        service: resource::text(&settings.resource, "service.name").unwrap_or_default(),
        colour: settings.colour && io::stderr().is_terminal(),
    };
    let subscriber = subscriber::subscriber(
        &settings.log_filter,
        line_format,
        io::stderr,
        telemetry.traces.as_ref(),
        telemetry.logs.as_ref(),
    );
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| TelemetryError::SubscriberIsSet)?;
    global::set_text_map_propagator(propagator(settings.propagators));
    if let Some(provider) = &telemetry.traces {
        global::set_tracer_provider(provider.clone());
    }
    Ok(telemetry)
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
    fn build(settings: &Settings) -> Result<Self, ExporterBuildError> {
        let mut telemetry = Self {
            traces: None,
            metrics: None,
            logs: None,
            accounts: Accounts {
                spans: Account::new("spans"),
                log_records: Account::new("log records"),
                metrics: Account::new("metrics"),
            },
        };
        if settings.disabled {
            return Ok(telemetry);
        }
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(settings.resource.clone())
            .build();
        // First, and global at once: the span processor takes its own metric from the global meter.
        telemetry.metrics = telemetry.meter_provider(settings, resource.clone())?;
        if let Some(provider) = &telemetry.metrics {
            global::set_meter_provider(provider.clone());
        }
        telemetry.traces = Some(telemetry.tracer_provider(settings, resource.clone())?);
        telemetry.logs = telemetry.logger_provider(settings, resource)?;
        Ok(telemetry)
    }

    fn meter_provider(
        &self,
        settings: &Settings,
        resource: Resource,
    ) -> Result<Option<SdkMeterProvider>, ExporterBuildError> {
        let account = Arc::clone(&self.accounts.metrics);
        let builder = SdkMeterProvider::builder().with_resource(resource);
        let builder = match settings.metrics {
            Exporter::Otlp(protocol) => {
                let inner = match protocol {
                    Protocol::HttpProtobuf => MetricExporter::builder()
                        .with_http()
                        .with_protocol(OtlpProtocol::HttpBinary)
                        .build()?,
                    Protocol::Grpc => MetricExporter::builder().with_tonic().build()?,
                };
                builder.with_periodic_exporter(CountedExporter { inner, account })
            }
            Exporter::Console => builder.with_periodic_exporter(CountedExporter {
                inner: opentelemetry_stdout::MetricExporter::default(),
                account,
            }),
            Exporter::None => return Ok(None),
        };
        Ok(Some(builder.build()))
    }

    /// Without an exporter there still is a provider: spans get ids and contexts travel on.
    fn tracer_provider(
        &self,
        settings: &Settings,
        resource: Resource,
    ) -> Result<SdkTracerProvider, ExporterBuildError> {
        let builder = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(settings.sampler.clone());
        let processor = match settings.traces {
            Exporter::Otlp(protocol) => {
                let exporter = match protocol {
                    Protocol::HttpProtobuf => SpanExporter::builder()
                        .with_http()
                        .with_protocol(OtlpProtocol::HttpBinary)
                        .build()?,
                    Protocol::Grpc => SpanExporter::builder().with_tonic().build()?,
                };
                self.span_processor(settings, exporter)
            }
            Exporter::Console => {
                self.span_processor(settings, opentelemetry_stdout::SpanExporter::default())
            }
            Exporter::None => return Ok(builder.build()),
        };
        Ok(builder.with_span_processor(processor).build())
    }

    fn span_processor(
        &self,
        settings: &Settings,
        exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static,
    ) -> CountedSpans {
        let account = Arc::clone(&self.accounts.spans);
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.span_queue)
            .build();
        let exporter = CountedExporter {
            inner: exporter,
            account: Arc::clone(&account),
        };
        CountedSpans {
            inner: BatchSpanProcessor::builder(exporter)
                .with_batch_config(batches)
                .build(),
            account,
        }
    }

    fn logger_provider(
        &self,
        settings: &Settings,
        resource: Resource,
    ) -> Result<Option<SdkLoggerProvider>, ExporterBuildError> {
        let processor = match settings.logs {
            Exporter::Otlp(protocol) => {
                let exporter = match protocol {
                    Protocol::HttpProtobuf => LogExporter::builder()
                        .with_http()
                        .with_protocol(OtlpProtocol::HttpBinary)
                        .build()?,
                    Protocol::Grpc => LogExporter::builder().with_tonic().build()?,
                };
                self.log_processor(exporter)
            }
            Exporter::Console => self.log_processor(opentelemetry_stdout::LogExporter::default()),
            Exporter::None => return Ok(None),
        };
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(processor)
            .build();
        Ok(Some(provider))
    }

    fn log_processor(
        &self,
        exporter: impl opentelemetry_sdk::logs::LogExporter + 'static,
    ) -> CountedLogs {
        let account = Arc::clone(&self.accounts.log_records);
        let exporter = CountedExporter {
            inner: exporter,
            account: Arc::clone(&account),
        };
        CountedLogs {
            inner: BatchLogProcessor::builder(exporter).build(),
            account,
        }
    }

    /// Sends what is queued, all signals at once, and stops. Takes five seconds at most.
    ///
    /// What was lost, now or before, is said on stderr in one line; nothing is said otherwise.
    pub async fn shutdown(self) -> ShutdownReport {
        let report = self.flush(SHUTDOWN_BOUND).await;
        if !report.is_clean() {
            tracing::warn!(target: losses::TARGET, "{report}");
        }
        report
    }

    async fn flush(self, bound: Duration) -> ShutdownReport {
        let Self {
            traces,
            metrics,
            logs,
            accounts,
        } = self;
        // On blocking threads: the gRPC exporter needs this runtime to make progress, and would
        // wait for itself if a worker thread of the runtime were the one that waits.
        let deadline = time::Instant::now() + bound;
        let flushes: [Option<JoinHandle<OTelSdkResult>>; 3] = [
            traces.map(|it| task::spawn_blocking(move || it.shutdown_with_timeout(bound))),
            metrics.map(|it| task::spawn_blocking(move || it.shutdown_with_timeout(bound))),
            logs.map(|it| task::spawn_blocking(move || it.shutdown_with_timeout(bound))),
        ];
        let mut timed_out = false;
        for flush in flushes.into_iter().flatten() {
            // The result itself is no news: the accounts know of every failed export.
            timed_out |= time::timeout_at(deadline, flush).await.is_err();
        }
        ShutdownReport {
            spans: accounts.spans.loss(),
            log_records: accounts.log_records.loss(),
            metrics_lost: accounts.metrics.last_failed(),
            timed_out,
        }
    }
}
