//! A bench as a table for people and as JSON for programs.

use crate::bench::machine::Machine;
use crate::bench::mode::Mode;
use crate::bench::run::Run;
use crate::bench::summary::{Spread, Summary, summaries};
use serde::Serialize;
use std::fmt::Write;

/// Everything that a bench found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    broker: &'static str,
    machine: Machine,
    summaries: Vec<Summary>,
    complaints: Vec<String>,
    runs: Vec<Run>,
}

impl Report {
    pub(crate) fn new(bench: &'static str, on_real_broker: bool, runs: Vec<Run>) -> Self {
        Self {
            bench,
            broker: if on_real_broker {
                "a real one"
            } else {
                "embedded: a demo transport, whose figures say little about Kafka"
            },
            machine: Machine::this(),
            summaries: summaries(&runs),
            complaints: runs.iter().flat_map(Run::complaints).collect(),
            runs,
        }
    }

    /// What makes runs worthless, of all runs.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// As Markdown: a table for each scenario.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let unit = match self.bench {
            "hop" => "record",
            _ => "order",
        };
        let mut scenario = "";
        for summary in &self.summaries {
            if summary.scenario != scenario {
                scenario = summary.scenario;
                head(&mut text, summary, unit);
            }
            row(&mut text, summary);
        }
        let _ = writeln!(
            text,
            "\nMedians, with least and most of {} rounds; ratios and differences are to the untraced \
             run of the same round.\nBroker: {}.\nMachine: {}.",
            self.summaries.iter().map(|it| it.rounds).max().unwrap_or(0),
            self.broker,
            self.machine
        );
        for complaint in &self.complaints {
            let _ = writeln!(text, "\nFAILED: {complaint}");
        }
        text
    }
}

// Writing to a `String` does not fail.

fn head(text: &mut String, summary: &Summary, unit: &str) {
    let mut columns = vec![
        summary.scenario.to_owned(),
        format!("{unit}s/s"),
        "to untraced".into(),
        format!("CPU µs/{unit}"),
        "added".into(),
        "to untraced".into(),
    ];
    let several = summary.processes.len() > 1;
    for process in summary.processes.iter().filter(|_| several) {
        columns.push(format!("{} CPU µs", process.name));
    }
    for process in &summary.processes {
        columns.push(format!("{} peak MB", process.name));
    }
    for (name, _) in &summary.latency {
        columns.push(format!("{name} ms"));
    }
    columns.extend(
        [
            "spans expected",
            "got",
            "lost",
            "bytes/span",
            "spans/request",
        ]
        .map(str::to_owned),
    );
    let rule: Vec<&str> = columns.iter().map(|_| "---").collect();
    let _ = write!(
        text,
        "\n| {} |\n| {} |\n",
        columns.join(" | "),
        rule.join(" | ")
    );
}

fn row(text: &mut String, summary: &Summary) {
    let mode = match summary.mode {
        Mode::Untraced => "untraced".to_owned(),
        mode => format!("traced, {mode}"),
    };
    let mut cells = vec![
        if summary.is_good {
            mode
        } else {
            format!("{mode}: **FAILED**")
        },
        cell(summary.rate, 0),
        cell(summary.rate_to_untraced, 2),
        cell(summary.cpu, 2),
        cell(summary.cpu_added, 2),
        cell(summary.cpu_to_untraced, 2),
    ];
    let several = summary.processes.len() > 1;
    for process in summary.processes.iter().filter(|_| several) {
        cells.push(cell(process.cpu, 1));
    }
    for process in &summary.processes {
        cells.push(cell(process.peak.map(megabytes), 0));
    }
    for (_, spread) in &summary.latency {
        cells.push(cell(Some(*spread), 1));
    }
    let lost = i128::from(summary.spans_expected) - i128::from(summary.spans_got);
    cells.extend([
        summary.spans_expected.to_string(),
        summary.spans_got.to_string(),
        lost.to_string(),
        number(summary.bytes_a_span),
        number(summary.spans_a_request),
    ]);
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn megabytes(bytes: Spread) -> Spread {
    Spread {
        median: bytes.median / 1e6,
        min: bytes.min / 1e6,
        max: bytes.max / 1e6,
    }
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
    }
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::run::tests::run;

    #[test]
    fn the_table_has_a_row_for_each_mode_and_says_what_failed() {
        let mut bad = run(Mode::Sampled(1.0), 1, 50.0, 15.0);
        bad.spans.got -= 400;
        let report = Report::new("hop", true, vec![run(Mode::Untraced, 1, 100.0, 10.0), bad]);
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[1..5],
            [
                "| produce, paced | records/s | to untraced | CPU µs/record | added | to untraced | \
                 client peak MB | spans expected | got | lost | bytes/span | spans/request |",
                "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
                "| untraced | 100 (100–100) | – | 10.00 (10.00–10.00) | – | – | 20 (20–20) | \
                 0 | 0 | 0 | – | 0 |",
                "| traced, 100 %: **FAILED** | 50 (50–50) | 0.50 (0.50–0.50) | \
                 15.00 (15.00–15.00) | 5.00 (5.00–5.00) | 1.50 (1.50–1.50) | 20 (20–20) | \
                 20000 | 19600 | 400 | 255 | 19600 |",
            ]
        );
        assert!(
            table.contains("FAILED: produce, paced, 100 %, round 1: 400 of 20000 spans were lost")
        );
        assert_eq!(report.complaints().len(), 1);
    }
}
