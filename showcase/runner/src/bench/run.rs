//! What one run gave, and what there is to complain about.

use crate::bench::mode::Mode;
use serde::Serialize;
use std::collections::BTreeMap;

/// One run of one scenario in one mode.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) mode: Mode,
    /// From 1.
    pub(crate) round: u32,
    /// Records or orders a second.
    pub(crate) rate: f64,
    pub(crate) processes: Vec<Process>,
    pub(crate) spans: Spans,
    /// Milliseconds, by name; empty where none was measured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) latency: BTreeMap<&'static str, f64>,
}

/// What one of the measured processes used.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    /// Microseconds of processor time for a record or an order; absent where it is unknown.
    pub(crate) cpu: Option<f64>,
    /// Most bytes of memory that it ever held.
    pub(crate) peak: Option<u64>,
}

/// What became of the spans.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spans {
    /// Records or orders that could have been sampled.
    pub(crate) traces: u64,
    pub(crate) sampled: u64,
    pub(crate) expected: u64,
    pub(crate) got: u64,
    /// Of the requests that brought them.
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

impl Run {
    /// Processor time of all processes.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.processes.iter().map(|process| process.cpu).sum()
    }

    /// What makes this run worthless.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let Spans {
            traces,
            sampled,
            expected,
            got,
            ..
        } = self.spans;
        let mut complaints = Vec::new();
        if got < expected {
            complaints.push(format!("{} of {expected} spans were lost", expected - got));
        }
        if got > expected {
            complaints.push(format!("{got} spans came where {expected} were expected"));
        }
        let likely = traces as f64 * self.mode.share();
        let deviation = (likely * (1.0 - self.mode.share())).sqrt();
        // Six standard deviations: by chance once in 500 million runs.
        if (sampled as f64 - likely).abs() > 6.0 * deviation + 1.0 {
            complaints.push(format!(
                "{sampled} of {traces} traces were sampled, which is not {}",
                self.mode
            ));
        }
        let place = format!("{}, {}, round {}", self.scenario, self.mode, self.round);
        complaints
            .into_iter()
            .map(|complaint| format!("{place}: {complaint}"))
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn run(mode: Mode, round: u32, rate: f64, cpu: f64) -> Run {
        let sampled = mode.picked_of(10_000);
        Run {
            scenario: "produce, paced",
            mode,
            round,
            rate,
            processes: vec![Process {
                name: "client",
                cpu: Some(cpu),
                peak: Some(20_000_000),
            }],
            spans: Spans {
                traces: 10_000,
                sampled,
                expected: 2 * sampled,
                got: 2 * sampled,
                bytes: 500 * sampled,
                requests: 1,
            },
            latency: BTreeMap::new(),
        }
    }

    #[test]
    fn a_run_whose_spans_all_came_is_good() {
        for mode in [Mode::Untraced, Mode::Sampled(0.01), Mode::Sampled(1.0)] {
            assert_eq!(run(mode, 1, 1.0, 1.0).complaints(), Vec::<String>::new());
        }
    }

    #[test]
    fn lost_spans_additional_spans_and_a_sampler_that_does_not_sample_are_told() {
        let good = run(Mode::Sampled(0.01), 3, 1.0, 1.0);
        let mut lost = good.clone();
        lost.spans.got = 199;
        assert_eq!(
            lost.complaints(),
            ["produce, paced, 1 %, round 3: 1 of 200 spans were lost"]
        );
        let mut more = good.clone();
        more.spans.got = 201;
        assert_eq!(
            more.complaints(),
            ["produce, paced, 1 %, round 3: 201 spans came where 200 were expected"]
        );
        let mut none = good;
        (none.spans.sampled, none.spans.expected, none.spans.got) = (0, 0, 0);
        assert_eq!(
            none.complaints(),
            ["produce, paced, 1 %, round 3: 0 of 10000 traces were sampled, which is not 1 %"]
        );
    }

    #[test]
    fn untraced_means_no_span_at_all() {
        let mut run = run(Mode::Untraced, 1, 1.0, 1.0);
        run.spans.got = 1;
        assert_eq!(run.complaints().len(), 1);
    }
}
