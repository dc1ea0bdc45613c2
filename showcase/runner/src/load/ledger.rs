//! What became of each order: accepted or refused, and how it ended.
//!
//! The event that an order ended may be heard before the answer that it was accepted.

use crate::load::latency::Latencies;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use uuid::Uuid;

/// An event of an order that is not ours is forgotten after this time.
const FORGET: Duration = Duration::from_secs(60);

/// All orders of a run.
pub(crate) struct Ledger {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) sampled: u64,
    /// By what was wrong.
    pub(crate) refused: BTreeMap<String, u64>,
    /// By how they ended.
    pub(crate) finished: BTreeMap<&'static str, u64>,
    pub(crate) accept: Latencies,
    pub(crate) end_to_end: Latencies,
    pub(crate) last_finished: Option<Instant>,
    open: HashMap<Uuid, Open>,
    early: HashMap<Uuid, (&'static str, Instant)>,
}

/// An order that was accepted and has not ended.
pub(crate) struct Open {
    pub(crate) due: Instant,
    /// Lets the next one go when this one ends, where the loop is closed.
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

impl Ledger {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            sent: 0,
            accepted: 0,
            sampled: 0,
            refused: BTreeMap::new(),
            finished: BTreeMap::new(),
            accept: Latencies::new()?,
            end_to_end: Latencies::new()?,
            last_finished: None,
            open: HashMap::new(),
            early: HashMap::new(),
        })
    }

    /// The answer came that the order is accepted.
    pub(crate) fn accepted(&mut self, order: Uuid, open: Open, at: Instant) {
        self.accepted += 1;
        self.accept.record(at - open.due);
        match self.early.remove(&order) {
            Some((status, ended)) => self.finish(&open, status, ended),
            None => {
                self.open.insert(order, open);
            }
        }
    }

    pub(crate) fn refused(&mut self, why: String) {
        *self.refused.entry(why).or_default() += 1;
    }

    /// A status event was heard.
    pub(crate) fn ended(&mut self, order: Uuid, status: &'static str, at: Instant) {
        match self.open.remove(&order) {
            Some(open) => self.finish(&open, status, at),
            None => {
                self.early.insert(order, (status, at));
            }
        }
    }

    fn finish(&mut self, open: &Open, status: &'static str, at: Instant) {
        *self.finished.entry(status).or_default() += 1;
        self.end_to_end.record(at - open.due);
        self.last_finished = Some(at);
    }

    pub(crate) fn finished(&self) -> u64 {
        self.finished.values().sum()
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Orders without an answer or without an end.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.refusals() - self.finished()
    }

    /// Forgets old events of orders that others posted, and second events of our own.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.early
            .retain(|_, (_, heard)| now.duration_since(*heard) < FORGET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(due: Instant) -> Open {
        Open { due, _place: None }
    }

    #[test]
    fn an_end_counts_whether_it_is_heard_before_or_after_the_answer() {
        let (mut ledger, start) = (Ledger::new().unwrap(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        let (one, other, foreign) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        ledger.sent = 3;
        ledger.accepted(one, open(start), after(10));
        assert_eq!((ledger.finished(), ledger.in_flight()), (0, 3));
        ledger.ended(one, "paid", after(50));
        ledger.ended(other, "declined", after(20));
        ledger.ended(foreign, "paid", after(20));
        assert_eq!((ledger.finished(), ledger.in_flight()), (1, 2));
        ledger.accepted(other, open(start), after(30));
        ledger.refused("503".into());
        assert_eq!(ledger.in_flight(), 0);
        assert_eq!(
            ledger.finished,
            BTreeMap::from([("paid", 1), ("declined", 1)])
        );
        // Heard again: an event may come twice.
        ledger.ended(one, "paid", after(60));
        assert_eq!(ledger.finished(), 2);
        assert_eq!(ledger.early.len(), 2);
        ledger.tidy(after(60_020));
        assert_eq!(ledger.early.len(), 1);
        let end_to_end = ledger.end_to_end.summary().unwrap();
        assert!((end_to_end.max - 50.0).abs() < 0.1, "{end_to_end:?}");
    }
}
