//! How much is traced in one run, and the environment that makes a process do so.
//!
//! Everything that could differ between two modes is set here, whatever the caller's shell has, so
//! that sampling is the only difference.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How much is traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// No SDK in the process. `hop` calls rdkafka directly then; the services of `pipeline` run
    /// with `OTEL_SDK_DISABLED=true`.
    Untraced,
    /// This share of the traces, from 0 to 1, chosen at the root.
    Sampled(f64),
}

impl Mode {
    /// The share of the traces that are recorded.
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Untraced => 0.0,
            Self::Sampled(share) => share,
        }
    }

    /// Whether the record with this number belongs to a sampled trace, where the records are made
    /// by us: evenly spread, and exactly as many as the share asks for.
    pub(crate) fn picks(self, record: u64) -> bool {
        self.picked_of(record + 1) > self.picked_of(record)
    }

    /// How many of the first `records` are picked.
    pub(crate) fn picked_of(self, records: u64) -> u64 {
        (records as f64 * self.share()).round() as u64
    }

    pub(crate) fn is_traced(self) -> bool {
        self != Self::Untraced
    }

    /// The variables of a process in this mode that exports to `sink`, a URL, and in which
    /// `span_queue` finished spans may wait for that.
    pub(crate) fn environment(self, sink: &str, span_queue: u32) -> Vec<(&'static str, String)> {
        let sampler = match self {
            Self::Sampled(share) if share < 1.0 => "parentbased_traceidratio",
            _ => "parentbased_always_on",
        };
        vec![
            ("OTEL_SDK_DISABLED", (!self.is_traced()).to_string()),
            ("OTEL_TRACES_SAMPLER", sampler.into()),
            ("OTEL_TRACES_SAMPLER_ARG", self.share().to_string()),
            ("OTEL_TRACES_EXPORTER", "otlp".into()),
            ("OTEL_METRICS_EXPORTER", "none".into()),
            ("OTEL_LOGS_EXPORTER", "none".into()),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                format!("{sink}/v1/traces"),
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf".into()),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none".into()),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10000".into()),
            ("OTEL_PROPAGATORS", "tracecontext,baggage".into()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", span_queue.to_string()),
            ("OTEL_BSP_SCHEDULE_DELAY", "1000".into()),
            ("NO_PROXY", "127.0.0.1,localhost".into()),
            // Lines for each order would be a cost of their own, and no more of them in one mode.
            ("RUST_LOG", "warn".into()),
        ]
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untraced => formatter.write_str("untraced"),
            Self::Sampled(share) => write!(formatter, "{} %", share * 100.0),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "untraced" {
            return Ok(Self::Untraced);
        }
        text.strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .map(|percent| percent / 100.0)
            .filter(|share| *share > 0.0 && *share <= 1.0)
            .map(Self::Sampled)
            .ok_or_else(|| "`untraced`, or a share above 0 % and up to 100 %, is wanted".to_owned())
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_shown() {
        for (text, mode, shown) in [
            ("untraced", Mode::Untraced, "untraced"),
            ("1%", Mode::Sampled(0.01), "1 %"),
            ("100 %", Mode::Sampled(1.0), "100 %"),
        ] {
            assert_eq!(text.parse(), Ok(mode));
            assert_eq!(mode.to_string(), shown);
        }
        for wrong in ["", "0%", "101%", "1", "traced", "-1%", "NaN%"] {
            assert!(wrong.parse::<Mode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn as_many_are_picked_as_are_counted() {
        for mode in [Mode::Untraced, Mode::Sampled(0.01), Mode::Sampled(1.0)] {
            let picked = (0..10_000).filter(|record| mode.picks(*record)).count();
            assert_eq!(picked as u64, mode.picked_of(10_000));
        }
        assert_eq!(Mode::Sampled(0.01).picked_of(10_000), 100);
        assert_eq!(Mode::Sampled(1.0).picked_of(10_000), 10_000);
    }

    #[test]
    fn modes_differ_in_sampling_and_in_nothing_else() {
        let of = |mode: Mode| mode.environment("http://sink", 1);
        let differences = |one: Mode, other: Mode| -> Vec<&'static str> {
            of(one)
                .iter()
                .zip(of(other))
                .filter(|(one, other)| *one != other)
                .map(|(one, _)| one.0)
                .collect()
        };
        let (few, all) = (Mode::Sampled(0.01), Mode::Sampled(1.0));
        assert_eq!(
            differences(few, all),
            ["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"]
        );
        assert_eq!(
            differences(Mode::Untraced, all),
            ["OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER_ARG"]
        );
    }
}
