//! Waits in queues as process spans have measured them, newest first, for the page's chart.
//!
//! Points and not averages: each leads to the trace it comes from.

use std::sync::Arc;

use serde::Serialize;

use crate::messaging::{self, CONSUMER};
use crate::otlp_json::hex;
use crate::store::{Store, Trace};
use crate::summary::cut;

/// Most points in an answer.
const MAX_POINTS: usize = 2_000;
/// Spans that are looked at for one answer, newest traces first.
pub(crate) const MAX_SPANS: usize = 100_000;

/// One record's wait.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wait {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) wait_ms: i64,
    /// When its processing began; milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

/// The newest traces, up to `MAX_SPANS` spans, of those that grew since `since_ms`.
pub(crate) fn recent(store: &Store, since_ms: u64) -> impl Iterator<Item = Arc<Trace>> {
    let traces = store.newest_first();
    // By arrival, so that a sender with a wrong clock is seen as well.
    let recent = traces.filter(move |trace| trace.last_arrival_ms >= since_ms);
    recent.scan(0, |spans, trace| {
        let is_enough = *spans >= MAX_SPANS;
        *spans += trace.span_count();
        (!is_enough).then_some(trace)
    })
}

/// Waits of records whose trace grew since `since_ms`.
pub(crate) fn waits(store: &Store, since_ms: u64) -> Vec<Wait> {
    let mut waits = Vec::new();
    for trace in recent(store, since_ms) {
        for (_, span) in trace.spans() {
            if waits.len() == MAX_POINTS {
                return waits;
            }
            if span.kind != CONSUMER {
                continue;
            }
            if let (Some(topic), Some(wait_ms)) =
                (messaging::topic(span), messaging::queue_wait_ms(span))
            {
                waits.push(Wait {
                    topic: cut(topic),
                    group: cut(messaging::group(span)),
                    wait_ms,
                    at_ms: span.start_time_unix_nano / 1_000_000,
                    trace_id: hex(&trace.id),
                    span_id: hex(&span.span_id),
                });
            }
        }
    }
    waits
}
