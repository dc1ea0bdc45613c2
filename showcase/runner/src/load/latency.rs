//! Durations, counted into a histogram: three digits, from a microsecond to an hour.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

const HOUR_IN_MICROS: u64 = 3_600_000_000;

/// Durations so far.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// If the histogram refuses its bounds.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, HOUR_IN_MICROS, 3)?))
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// `None` while there are none.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        let milliseconds = |micros: u64| micros as f64 / 1_000.0;
        (!self.0.is_empty()).then(|| LatencySummary {
            p50: milliseconds(self.0.value_at_quantile(0.5)),
            p95: milliseconds(self.0.value_at_quantile(0.95)),
            p99: milliseconds(self.0.value_at_quantile(0.99)),
            max: milliseconds(self.0.max()),
        })
    }
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct LatencySummary {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.summary(), None);
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let summary = latencies.summary().unwrap();
        for (found, expected) in [
            (summary.p50, 50.0),
            (summary.p95, 95.0),
            (summary.p99, 99.0),
            (summary.max, 100.0),
        ] {
            assert!(
                (found - expected).abs() <= expected / 1_000.0,
                "{summary:?}"
            );
        }
        latencies.record(Duration::from_secs(1_000_000));
        assert!(latencies.summary().unwrap().max >= 3_599_000.0);
    }
}
