//! What telemetry loses on its way out, in numbers and in words.
//!
//! The SDK's batch processors drop what does not fit their queue and forget batches whose export
//! failed; at shutdown they answer `Ok` all the same. `counting` enters here what goes in and what
//! came out, so that the difference is known at any time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use crate::settings::Exporter;

/// The target of the lines below. They go to stderr and never into telemetry itself.
pub(crate) const TARGET: &str = "telemetry::export";

/// An exporter that is down fails several times a second; one line in this time is enough.
pub(crate) const REMINDER: Duration = Duration::from_secs(30);

/// The account of one signal.
#[derive(Debug)]
pub(crate) struct Account {
    signal: &'static str,
    destination: String,
    accepted: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    last_failed: AtomicBool,
    reported: Mutex<Option<Instant>>,
}

impl Account {
    pub(crate) fn new(signal: &'static str, exporter: &Exporter) -> Arc<Self> {
        Arc::new(Self {
            signal,
            destination: exporter.to_string(),
            accepted: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failed: AtomicBool::new(false),
            reported: Mutex::new(None),
        })
    }

    /// One more item that should get out.
    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// The outcome of exporting a batch of `items`.
    pub(crate) fn settle(&self, items: u64, result: &OTelSdkResult) {
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
        let Self {
            signal,
            destination,
            failed,
            ..
        } = self;
        let lost = failed.load(Ordering::Relaxed);
        let every = REMINDER.as_secs();
        tracing::warn!(
            target: TARGET,
            "cannot export {signal} to {destination}: {error}; \
             {lost} lost so far (said at most every {every} s)"
        );
    }

    fn report_recovery(&self) {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (signal, lost) = (self.signal, self.failed.load(Ordering::Relaxed));
        tracing::info!(target: TARGET, "exporting {signal} works again; {lost} were lost");
    }

    /// Items in batches that were exported.
    pub(crate) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Items in batches whose export failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
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

#[cfg(test)]
#[path = "losses_tests.rs"]
mod tests;
