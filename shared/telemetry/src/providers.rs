//! Builds the SDK's providers, one for each signal that is wanted, and takes them down again.
//!
//! The exporters read their own variables, which `settings` has checked.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol as OtlpProtocol, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::task::{self, JoinHandle};
use tokio::time;

use crate::counting::{CountedExporter, CountedLogs, CountedSpans};
use crate::losses::{Account, ShutdownReport};
use crate::own_metrics;
use crate::settings::{Exporter, Protocol, Settings, Tls};
use crate::setup::TelemetryError;
use crate::span_export::HttpSpans;
use crate::tls::{self, TlsError};

/// The most combinations of labels that one instrument has series for. In ordinary use none has half
/// of that; what is beyond goes, all together, into one series that says `otel.metric.overflow`.
const MOST_SERIES: usize = 200;

/// What was built. A signal that is turned off has no provider.
pub(crate) struct Providers {
    pub(crate) traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    pub(crate) logs: Option<SdkLoggerProvider>,
    accounts: Accounts,
}

struct Accounts {
    spans: Arc<Account>,
    log_records: Arc<Account>,
    metrics: Arc<Account>,
}

impl Providers {
    pub(crate) fn build(settings: &Settings) -> Result<Self, TelemetryError> {
        let mut providers = Self {
            traces: None,
            metrics: None,
            logs: None,
            accounts: Accounts {
                spans: Account::new("spans", &settings.traces),
                log_records: Account::new("log records", &settings.logs),
                metrics: Account::new("metrics", &settings.metrics),
            },
        };
        if settings.disabled {
            return Ok(providers);
        }
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(settings.resource.clone())
            .build();
        // First, and global at once: the span processor takes its own metric from the global meter.
        providers.metrics = providers.meter_provider(settings, resource.clone())?;
        if let Some(provider) = &providers.metrics {
            global::set_meter_provider(provider.clone());
            own_metrics::register(&providers.accounts.spans, &providers.accounts.log_records);
        }
        providers.traces = Some(providers.tracer_provider(settings, resource.clone())?);
        providers.logs = providers.logger_provider(settings, resource)?;
        Ok(providers)
    }

    fn meter_provider(
        &self,
        settings: &Settings,
        resource: Resource,
    ) -> Result<Option<SdkMeterProvider>, TelemetryError> {
        let account = Arc::clone(&self.accounts.metrics);
        let builder = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_view(bounded);
        let builder = match &settings.metrics {
            Exporter::Otlp { protocol, tls, .. } => {
                let inner = match protocol {
                    Protocol::HttpProtobuf => {
                        over_http(MetricExporter::builder().with_http(), tls)?.build()?
                    }
                    Protocol::Grpc => {
                        over_grpc(MetricExporter::builder().with_tonic(), tls)?.build()?
                    }
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
    ) -> Result<SdkTracerProvider, TelemetryError> {
        let builder = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(settings.sampler.clone());
        let processor = match &settings.traces {
            Exporter::Otlp { protocol, tls, .. } => match protocol {
                Protocol::HttpProtobuf if tls.is_none() && !settings.compresses_spans => {
                    self.span_processor(settings, HttpSpans::new(settings.span_timeout)?)
                }
                Protocol::HttpProtobuf => {
                    let exporter = over_http(SpanExporter::builder().with_http(), tls)?;
                    self.span_processor(settings, exporter.build()?)
                }
                Protocol::Grpc => {
                    let exporter = over_grpc(SpanExporter::builder().with_tonic(), tls)?;
                    self.span_processor(settings, exporter.build()?)
                }
            },
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
    ) -> Result<Option<SdkLoggerProvider>, TelemetryError> {
        let processor = match &settings.logs {
            Exporter::Otlp { protocol, tls, .. } => {
                let exporter = match protocol {
                    Protocol::HttpProtobuf => {
                        over_http(LogExporter::builder().with_http(), tls)?.build()?
                    }
                    Protocol::Grpc => {
                        over_grpc(LogExporter::builder().with_tonic(), tls)?.build()?
                    }
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

    /// Sends what is queued, within `bound`, and stops.
    pub(crate) async fn shutdown(self, bound: Duration) -> ShutdownReport {
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
        for flush in flushes.into_iter().flatten() {
            // The result is no news: the accounts know of every failed export.
            let _ = time::timeout_at(deadline, flush).await;
        }
        ShutdownReport {
            spans: accounts.spans.loss(),
            log_records: accounts.log_records.loss(),
            metrics_lost: accounts.metrics.last_failed(),
            timed_out: time::Instant::now() >= deadline,
        }
    }
}

/// The view of every instrument: as it is, with fewer series than the SDK's 2,000. Whatever label slips
/// in that should not have, memory and the bill stay bounded.
fn bounded(_: &Instrument) -> Option<Stream> {
    Stream::builder()
        .with_cardinality_limit(MOST_SERIES)
        .build()
        .ok()
}

fn over_http<B>(builder: B, tls: &Option<Box<Tls>>) -> Result<B, TlsError>
where
    B: WithExportConfig + WithHttpConfig,
{
    let builder = builder.with_protocol(OtlpProtocol::HttpBinary);
    match tls {
        Some(tls) => tls::http(builder, tls),
        None => Ok(builder),
    }
}

fn over_grpc<B: WithTonicConfig>(builder: B, tls: &Option<Box<Tls>>) -> Result<B, TlsError> {
    match tls {
        Some(tls) => tls::grpc(builder, tls),
        None => Ok(builder),
    }
}
