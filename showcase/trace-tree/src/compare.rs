//! Holds a trace against an expected text, and says the difference as people read differences.
//!
//! It decides nothing that `text` has not defined: the lines agree or they do not.

use std::fmt::Write as _;

use crate::expected::{ExpectedError, parse};
use crate::text::{Item, Line};
use crate::trace::Trace;
use crate::tree::lines;

/// Why a trace is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The expected text itself is wrong.
    #[error(transparent)]
    Expected(#[from] ExpectedError),
    /// Lines differ: `-` is expected and not there, `+` is there and not expected. Of the lines
    /// that agree the spans are shown, and the two nearest.
    #[error("the trace is not the expected one (- expected, + actual):\n{diff}")]
    Different {
        /// The difference, a line each.
        diff: String,
    },
}

/// Whether the trace is exactly what the text says; the crate's page has the rules.
///
/// # Errors
/// [`Mismatch::Different`] with a line diff, or [`Mismatch::Expected`] when the text cannot be
/// read.
pub fn compare(expected: &str, trace: &Trace) -> Result<(), Mismatch> {
    let expected = parse(expected)?;
    let actual = lines(trace);
    let steps = align(&expected, &actual);
    if steps.iter().all(|step| matches!(step, Step::Same(_))) {
        return Ok(());
    }
    Err(Mismatch::Different { diff: diff(&steps) })
}

enum Step<'a> {
    Same(&'a Line),
    Missing(&'a Line),
    Extra(&'a Line),
}

/// The largest table of the alignment, in cells. Beyond it (two large traces with nothing in
/// common at either end) the differing part is shown whole, expected first.
const MAX_CELLS: usize = 4_000_000;

/// The fewest lines to take away and add: a longest common subsequence, between the ends that
/// agree anyway.
fn align<'a>(expected: &'a [Line], actual: &'a [Line]) -> Vec<Step<'a>> {
    let agree = |(want, have): &(&Line, &Line)| want.admits(have);
    let front = expected.iter().zip(actual).take_while(agree).count();
    let (wanted, had) = (&expected[front..], &actual[front..]);
    let backwards = wanted.iter().rev().zip(had.iter().rev());
    let back = backwards.take_while(agree).count();
    let (wanted, had) = (&wanted[..wanted.len() - back], &had[..had.len() - back]);

    let mut steps: Vec<Step<'_>> = actual[..front].iter().map(Step::Same).collect();
    let width = had.len() + 1;
    if (wanted.len() + 1).saturating_mul(width) > MAX_CELLS {
        steps.extend(wanted.iter().map(Step::Missing));
        steps.extend(had.iter().map(Step::Extra));
    } else {
        // longest[i * width + j]: of wanted[i..] and had[j..].
        let mut longest = vec![0_u32; (wanted.len() + 1) * width];
        for i in (0..wanted.len()).rev() {
            for j in (0..had.len()).rev() {
                longest[i * width + j] = if wanted[i].admits(&had[j]) {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < wanted.len() || j < had.len() {
            if i < wanted.len() && j < had.len() && wanted[i].admits(&had[j]) {
                steps.push(Step::Same(&had[j]));
                (i, j) = (i + 1, j + 1);
            } else if i < wanted.len()
                && (j == had.len() || longest[(i + 1) * width + j] >= longest[i * width + j + 1])
            {
                steps.push(Step::Missing(&wanted[i]));
                i += 1;
            } else {
                steps.push(Step::Extra(&had[j]));
                j += 1;
            }
        }
    }
    steps.extend(actual[actual.len() - back..].iter().map(Step::Same));
    steps
}

fn diff(steps: &[Step<'_>]) -> String {
    const NEAR: usize = 2;
    let changed: Vec<bool> = steps
        .iter()
        .map(|step| !matches!(step, Step::Same(_)))
        .collect();
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let near = index.saturating_sub(NEAR)..(index + NEAR + 1).min(steps.len());
        // Writing to a string cannot fail.
        _ = match step {
            Step::Missing(line) => writeln!(text, "- {line}"),
            Step::Extra(line) => writeln!(text, "+ {line}"),
            Step::Same(line)
                if matches!(line.item, Item::Span { .. }) || changed[near].contains(&true) =>
            {
                writeln!(text, "  {line}")
            }
            Step::Same(_) => Ok(()),
        };
    }
    text
}
