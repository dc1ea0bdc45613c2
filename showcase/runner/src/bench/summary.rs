//! Medians over the rounds, and what each mode takes beside the untraced run of the same round.

use crate::bench::mode::Mode;
use crate::bench::run::Run;
use serde::Serialize;

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` for no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let upper = *figures.get(middle)?;
        let median = match figures.len() % 2 {
            1 => upper,
            _ => (figures.get(middle.checked_sub(1)?)? + upper) / 2.0,
        };
        Some(Self {
            median,
            min: *figures.first()?,
            max: *figures.last()?,
        })
    }
}

/// All rounds of one scenario in one mode.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: &'static str,
    pub(crate) mode: Mode,
    pub(crate) rounds: usize,
    /// Records or orders a second.
    pub(crate) rate: Option<Spread>,
    pub(crate) rate_to_untraced: Option<Spread>,
    /// Microseconds of processor time for a record or an order, of all processes.
    pub(crate) cpu: Option<Spread>,
    /// What of it the untraced run of the same round did not take.
    pub(crate) cpu_added: Option<Spread>,
    pub(crate) cpu_to_untraced: Option<Spread>,
    pub(crate) processes: Vec<ProcessSummary>,
    pub(crate) spans_expected: u64,
    pub(crate) spans_got: u64,
    pub(crate) bytes_a_span: Option<f64>,
    pub(crate) spans_a_request: Option<f64>,
    /// Milliseconds.
    pub(crate) latency: Vec<(&'static str, Spread)>,
    pub(crate) is_good: bool,
}

/// One process over all rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProcessSummary {
    pub(crate) name: &'static str,
    pub(crate) cpu: Option<Spread>,
    /// Bytes.
    pub(crate) peak: Option<Spread>,
}

/// Of every scenario and mode, in the order in which they first ran.
pub(crate) fn summaries(runs: &[Run]) -> Vec<Summary> {
    let mut places: Vec<(&'static str, Mode)> = Vec::new();
    for run in runs {
        if !places.contains(&(run.scenario, run.mode)) {
            places.push((run.scenario, run.mode));
        }
    }
    // Scenarios together, modes in their order.
    let mut scenarios: Vec<&str> = Vec::new();
    for (scenario, _) in &places {
        if !scenarios.contains(scenario) {
            scenarios.push(scenario);
        }
    }
    places.sort_by_key(|(scenario, _)| scenarios.iter().position(|known| known == scenario));
    places
        .into_iter()
        .map(|(scenario, mode)| summary(runs, scenario, mode))
        .collect()
}

fn summary(runs: &[Run], scenario: &'static str, mode: Mode) -> Summary {
    let of_mode = |mode: Mode| {
        runs.iter()
            .filter(move |run| run.scenario == scenario && run.mode == mode)
    };
    let ours: Vec<&Run> = of_mode(mode).collect();
    // Each with the untraced run of its round: a machine that is slow for a while is so for both.
    let pairs: Vec<(&Run, &Run)> = match mode {
        Mode::Untraced => Vec::new(),
        _ => ours
            .iter()
            .filter_map(|run| {
                let untraced = of_mode(Mode::Untraced).find(|other| other.round == run.round)?;
                Some((*run, untraced))
            })
            .collect(),
    };
    let cpu_pairs = || {
        pairs
            .iter()
            .filter_map(|(run, untraced)| run.cpu().zip(untraced.cpu()))
    };
    let total = |of: fn(&Run) -> u64| -> u64 { ours.iter().map(|run| of(run)).sum() };
    let (expected, got) = (total(|run| run.spans.expected), total(|run| run.spans.got));
    let (bytes, requests) = (
        total(|run| run.spans.bytes),
        total(|run| run.spans.requests),
    );
    let each = |total: u64, of: u64| (of > 0).then(|| total as f64 / of as f64);
    let first = ours.first();
    Summary {
        scenario,
        mode,
        rounds: ours.len(),
        rate: Spread::of(ours.iter().map(|run| run.rate)),
        rate_to_untraced: Spread::of(pairs.iter().map(|(run, other)| run.rate / other.rate)),
        cpu: Spread::of(ours.iter().filter_map(|run| run.cpu())),
        cpu_added: Spread::of(cpu_pairs().map(|(cpu, untraced)| cpu - untraced)),
        cpu_to_untraced: Spread::of(cpu_pairs().map(|(cpu, untraced)| cpu / untraced)),
        processes: first
            .map(|run| {
                let names = run.processes.iter().enumerate();
                names
                    .map(|(index, process)| ProcessSummary {
                        name: process.name,
                        cpu: Spread::of(ours.iter().filter_map(|run| run.processes[index].cpu)),
                        peak: Spread::of(
                            ours.iter().filter_map(|run| {
                                run.processes[index].peak.map(|bytes| bytes as f64)
                            }),
                        ),
                    })
                    .collect()
            })
            .unwrap_or_default(),
        spans_expected: expected,
        spans_got: got,
        bytes_a_span: each(bytes, got),
        spans_a_request: each(got, requests),
        latency: first
            .map(|run| {
                let names = run.latency.keys();
                names
                    .filter_map(|name| {
                        let figures = ours.iter().filter_map(|run| run.latency.get(name).copied());
                        Some((*name, Spread::of(figures)?))
                    })
                    .collect()
            })
            .unwrap_or_default(),
        is_good: ours.iter().all(|run| run.complaints().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::run::tests::run;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of([7.0]), spread(7.0, 7.0, 7.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_mode_is_compared_with_the_untraced_run_of_its_round() {
        let all = Mode::Sampled(1.0);
        let runs = [
            run(Mode::Untraced, 1, 100.0, 10.0),
            run(all, 1, 50.0, 15.0),
            run(Mode::Untraced, 2, 10.0, 100.0),
            run(all, 2, 9.0, 110.0),
        ];
        let summaries = summaries(&runs);
        let [untraced, traced] = &summaries[..] else {
            panic!("{summaries:?}")
        };
        assert_eq!((untraced.mode, untraced.rounds), (Mode::Untraced, 2));
        assert_eq!(untraced.rate_to_untraced, None);
        assert_eq!(traced.mode, all);
        assert_eq!(traced.rate_to_untraced, Spread::of([0.5, 0.9]));
        assert_eq!(traced.cpu_added, Spread::of([5.0, 10.0]));
        assert_eq!(traced.cpu_to_untraced, Spread::of([1.5, 1.1]));
        assert_eq!((traced.spans_expected, traced.spans_got), (40_000, 40_000));
        assert_eq!(traced.bytes_a_span, Some(250.0));
        assert_eq!(traced.spans_a_request, Some(20_000.0));
        assert!(traced.is_good);
    }

    #[test]
    fn one_bad_round_spoils_its_mode() {
        let mut bad = run(Mode::Sampled(0.01), 2, 1.0, 1.0);
        bad.spans.got -= 1;
        let runs = [run(Mode::Sampled(0.01), 1, 1.0, 1.0), bad];
        let [summary] = &summaries(&runs)[..] else {
            panic!()
        };
        assert!(!summary.is_good);
        assert_eq!((summary.spans_expected, summary.spans_got), (400, 399));
    }
}
