//! The result of a load, as text and as JSON.

use crate::load::driver::Outcome;
use crate::load::joined::Asked;
use crate::load::latency::LatencySummary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a load came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    sent: u64,
    accepted: u64,
    finished: u64,
    /// Accepted, and without an end.
    unfinished: u64,
    /// Not accepted.
    failed: u64,
    failures: &'a BTreeMap<String, u64>,
    outcomes: &'a BTreeMap<&'static str, u64>,
    /// Finished orders a second, to the last end.
    rate: f64,
    seconds: f64,
    /// Milliseconds.
    accept: Option<LatencySummary>,
    end_to_end: Option<LatencySummary>,
    sampled: u64,
    traces: Option<Asked>,
    interrupted: bool,
}

impl<'a> Report<'a> {
    pub(crate) fn new(outcome: &'a Outcome, traces: Option<Asked>) -> Self {
        let finished = outcome.finished.values().sum();
        Self {
            sent: outcome.sent,
            accepted: outcome.accepted,
            finished,
            unfinished: outcome.unfinished,
            failed: outcome.refused.values().sum(),
            failures: &outcome.refused,
            outcomes: &outcome.finished,
            rate: finished as f64 / outcome.seconds.max(f64::EPSILON),
            seconds: outcome.seconds,
            accept: outcome.accept.summary(),
            end_to_end: outcome.end_to_end.summary(),
            sampled: outcome.sampled,
            traces,
            interrupted: outcome.interrupted,
        }
    }

    /// What went wrong, if something did. What is in flight when a run is interrupted did not.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut complaints = Vec::new();
        if self.failed > 0 {
            complaints.push(format!("{} orders were not accepted", self.failed));
        }
        if self.unfinished > 0 && !self.interrupted {
            complaints.push(format!("{} orders did not end", self.unfinished));
        }
        if let Some(Asked { asked, joined }) = self.traces
            && joined < asked
        {
            complaints.push(format!(
                "{} of {asked} traces did not join (are all sampled? see --sampling)",
                asked - joined
            ));
        }
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12}{value}");
        };
        let counts = |counts: String| match counts.as_str() {
            "" => String::new(),
            _ => format!("  ({counts})"),
        };
        if self.interrupted {
            line("", "interrupted; so far:".into());
        }
        line(
            "orders",
            format!(
                "{} sent, {} accepted, {} finished, {} unfinished, {} failed",
                self.sent, self.accepted, self.finished, self.unfinished, self.failed
            ),
        );
        line(
            "rate",
            format!(
                "{:.1} finished a second, for {:.1} s",
                self.rate, self.seconds
            ),
        );
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<String> = outcomes.map(|(end, n)| format!("{n} {end}")).collect();
        line("ended", outcomes.join(", "));
        if self.failed > 0 {
            let failures = self.failures.iter();
            let failures: Vec<String> = failures.map(|(why, n)| format!("{n} {why}")).collect();
            line("failed", failures.join(", "));
        }
        for (name, latency) in [("accept", self.accept), ("end to end", self.end_to_end)] {
            if let Some(LatencySummary { p50, p95, p99, max }) = latency {
                line(
                    name,
                    format!("p50 {p50:.1}  p95 {p95:.1}  p99 {p99:.1}  max {max:.1} ms"),
                );
            }
        }
        let asked = match self.traces {
            Some(Asked { asked, joined }) => format!("{joined} of {asked} asked for joined"),
            None => "not asked for".into(),
        };
        line(
            "traces",
            asked + &counts(format!("{} sampled", self.sampled)),
        );
        text
    }
}
