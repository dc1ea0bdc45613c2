//! Which lines of the OpenTelemetry SDK are worth showing.
//!
//! With a collector that is down the SDK logs twice or more a second. What `losses` says better is
//! left out, and anything else is shown once in a while.
//!
//! This is asked while a line is formatted, and is no `tracing_subscriber` filter, because one that
//! judges events rather than callsites leaves the registry's filter state behind for the next event
//! (tracing-subscriber 0.3.23 panics on that in debug builds).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{Level, Metadata};

use crate::losses;

/// Lines of the SDK that [`losses`] says better, once and with a count.
const SAID_BY_LOSSES: [&str; 14] = [
    "BatchLogProcessor.Emit.AfterShutdown",
    "BatchLogProcessor.ExportError",
    "BatchLogProcessor.LogsDropped",
    "BatchLogProcessor.Shutdown.Timeout",
    "BatchSpanProcessor.ExportError",
    "BatchSpanProcessor.OnEnd.AfterShutdown",
    "BatchSpanProcessor.Shutdown.Timeout",
    "BatchSpanProcessor.SpansDropped",
    "Export.Failed.DeadlineExceeded",
    "Export.Failed.Exhausted",
    "Export.Failed.NonRetryable",
    "HttpClient.NetworkError",
    "MeterProvider.Drop.ShutdownFailed",
    "PeriodicReader.ExportError",
];

/// Lets each line of the SDK through once per [`losses::REMINDER`], and some never.
#[derive(Default)]
pub(crate) struct SdkLines {
    said: Mutex<HashMap<&'static str, Instant>>,
}

impl SdkLines {
    pub(crate) fn allow(&self, metadata: &Metadata<'static>) -> bool {
        // Whoever asks for its DEBUG lines wants to see them.
        if *metadata.level() > Level::WARN || !metadata.target().starts_with("opentelemetry") {
            return true;
        }
        !SAID_BY_LOSSES.contains(&metadata.name()) && self.is_due(metadata.name())
    }

    fn is_due(&self, name: &'static str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said
            .get(name)
            .is_none_or(|last| last.elapsed() >= losses::REMINDER);
        if due {
            said.insert(name, Instant::now());
        }
        due
    }
}
