//! What telemetry loses on its way out, counted and said.
//!
//! The SDK's batch processors drop what does not fit their queue and forget batches whose export
//! failed; at shutdown they answer `Ok` all the same. The wrappers here count what goes in and what
//! came out, so that the difference is known at any time. They change nothing on the way.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::logs::Severity;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord,
};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use opentelemetry_sdk::{Resource, error::OTelSdkError};

/// The target of the lines below. They go to stderr and never into telemetry itself.
pub(crate) const TARGET: &str = "telemetry::export";

/// An exporter that is down fails several times a second; one line in this time is enough.
pub(crate) const REMINDER: Duration = Duration::from_secs(30);

/// The account of one signal.
#[derive(Debug)]
pub(crate) struct Account {
    signal: &'static str,
    accepted: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    last_failed: AtomicBool,
    reported: Mutex<Option<Instant>>,
}

impl Account {
    pub(crate) fn new(signal: &'static str) -> Arc<Self> {
        Arc::new(Self {
            signal,
            accepted: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failed: AtomicBool::new(false),
            reported: Mutex::new(None),
        })
    }

    fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&self, items: u64, result: &OTelSdkResult) {
        match result {
            Ok(()) => {
                self.exported.fetch_add(items, Ordering::Relaxed);
                if self.last_failed.swap(false, Ordering::Relaxed) {
                    self.report_recovery();
                }
            }
            Err(error) => {
                self.failed.fetch_add(items, Ordering::Relaxed);
                self.last_failed.store(true, Ordering::Relaxed);
                self.report_failure(error);
            }
        }
    }

    fn report_failure(&self, error: &OTelSdkError) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_some_and(|last| last.elapsed() < REMINDER) {
            return;
        }
        *reported = Some(Instant::now());
        drop(reported);
        let (signal, lost) = (self.signal, self.failed.load(Ordering::Relaxed));
        let every = REMINDER.as_secs();
        tracing::warn!(
            target: TARGET,
            "cannot export {signal}: {error}; {lost} lost so far (said at most every {every} s)"
        );
    }

    fn report_recovery(&self) {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (signal, lost) = (self.signal, self.failed.load(Ordering::Relaxed));
        tracing::info!(target: TARGET, "exporting {signal} works again; {lost} were lost");
    }

    /// What was accepted and, as far as is known, reached nobody.
    pub(crate) fn loss(&self) -> Loss {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let exported = self.exported.load(Ordering::Relaxed);
        let refused = self.failed.load(Ordering::Relaxed);
        Loss {
            accepted,
            refused,
            unsent: accepted.saturating_sub(exported + refused),
        }
    }

    pub(crate) fn last_failed(&self) -> bool {
        self.last_failed.load(Ordering::Relaxed)
    }
}

/// What one signal lost in the life of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items that the application produced.
    pub accepted: u64,
    /// Items in batches whose export failed.
    pub refused: u64,
    /// Items that were never given to the exporter: the queue was full, or time ran out.
    pub unsent: u64,
}

impl Loss {
    /// All items that were lost.
    #[must_use]
    pub fn total(self) -> u64 {
        self.refused + self.unsent
    }
}

/// What was lost by the time telemetry shut down. Shown as one plain line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Spans.
    pub spans: Loss,
    /// Log records. Those on stderr are not concerned.
    pub log_records: Loss,
    /// The last collection of the metrics did not get out.
    pub metrics_lost: bool,
    /// Flushing did not end in time.
    pub timed_out: bool,
}

impl ShutdownReport {
    /// Whether everything got out.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.spans.total() == 0
            && self.log_records.total() == 0
            && !self.metrics_lost
            && !self.timed_out
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("no telemetry lost");
        }
        let mut losses = Vec::new();
        for (name, loss) in [("spans", self.spans), ("log records", self.log_records)] {
            if loss.total() > 0 {
                losses.push(format!(
                    "{} of {} {name} ({} in failed exports, {} never sent)",
                    loss.total(),
                    loss.accepted,
                    loss.refused,
                    loss.unsent
                ));
            }
        }
        if self.metrics_lost {
            losses.push("the last metrics".to_owned());
        }
        if losses.is_empty() {
            losses.push("nothing that is known of".to_owned());
        }
        write!(f, "telemetry lost: {}", losses.join(", "))?;
        if self.timed_out {
            f.write_str("; the final flush ran out of time")?;
        }
        Ok(())
    }
}

/// Counts the spans that end.
#[derive(Debug)]
pub(crate) struct CountedSpans {
    pub(crate) inner: BatchSpanProcessor,
    pub(crate) account: Arc<Account>,
}

impl SpanProcessor for CountedSpans {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        self.account.accept();
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts the log records that are emitted.
#[derive(Debug)]
pub(crate) struct CountedLogs {
    pub(crate) inner: BatchLogProcessor,
    pub(crate) account: Arc<Account>,
}

impl LogProcessor for CountedLogs {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.account.accept();
        self.inner.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what an exporter of any signal took and what it failed on.
#[derive(Debug)]
pub(crate) struct CountedExporter<E> {
    pub(crate) inner: E,
    pub(crate) account: Arc<Account>,
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len() as u64;
        let result = self.inner.export(batch).await;
        self.account.settle(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    // The OTLP exporters implement this one and leave the other to its default.
    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for CountedExporter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count() as u64;
        let result = self.inner.export(batch).await;
        self.account.settle(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for CountedExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.inner.export(metrics).await;
        self.account.settle(1, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
