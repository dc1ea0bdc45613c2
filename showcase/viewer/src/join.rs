//! Whether the halves of a trace join at each queue: for every send span and known consumer group,
//! and for every process span that nothing leads to. An orphan says why, from evidence in spans.
//!
//! Never "complete": a span may always come late. Of records without a known consumer group
//! nothing is said.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

use crate::messaging::{self, CONSUMER, PRODUCER};
use crate::otlp_json::hex;
use crate::record_context::NoContext;
use crate::references::Place;
use crate::store::{Group, SpanId, Store, Trace, TraceId};

/// How long the other half may take before it is missed.
const PATIENCE_MS: u64 = 10_000;
/// Send and process spans of one trace that are looked at.
const MAX_ENDS: usize = 2_000;
/// `SpanFlags` of OTLP: the low byte has the trace flags, bit 8 says that remoteness is known, and
/// so that the flags were filled in at all.
const FLAG_SAMPLED: u32 = 1;
const FLAGS_KNOWN: u32 = 0x100;

/// How far two halves have come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Joined,
    Waiting,
    Orphaned,
}

/// One end of a queue.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Join {
    pub(crate) span_id: String,
    /// Whether it is the sending end.
    pub(crate) is_send: bool,
    pub(crate) topic: String,
    /// Empty when the instrumentation names none.
    pub(crate) group: String,
    pub(crate) state: State,
    /// A sentence; empty when joined.
    pub(crate) reason: String,
    /// The other end, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) other: Option<OtherEnd>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtherEnd {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

impl From<Place> for OtherEnd {
    fn from(place: Place) -> Self {
        OtherEnd {
            trace_id: hex(&place.trace),
            span_id: hex(&place.span),
        }
    }
}

/// All ends of queues in a trace that are joined, waited for or missed, at `now_ms`.
pub(crate) fn joins(store: &Store, trace: &Trace, now_ms: u64) -> Vec<Join> {
    let mut ends: Vec<_> = trace
        .spans()
        .filter(|(_, span)| {
            span.kind == PRODUCER || (span.kind == CONSUMER && messaging::is_process(span))
        })
        .take(MAX_ENDS)
        .collect();
    // In the order of causes, as far as clocks agree.
    ends.sort_by_key(|(_, span)| span.start_time_unix_nano);
    let looking = Looking {
        store,
        trace,
        now_ms,
        consumers: consumers_by_cause(trace, &ends),
    };
    let mut joins = Vec::new();
    for (group, span) in ends {
        if span.kind == PRODUCER {
            looking.send(group, span, &mut joins);
        } else {
            joins.extend(looking.process(group, span));
        }
    }
    joins
}

/// Process spans of a trace by the spans of the same trace that they name as parent or link.
fn consumers_by_cause<'a>(
    trace: &Trace,
    ends: &[(&'a Group, &'a Span)],
) -> HashMap<&'a [u8], Vec<&'a Span>> {
    let mut by_cause: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    for (_, span) in ends.iter().filter(|(_, span)| span.kind == CONSUMER) {
        let linked = span.links.iter();
        let linked = linked.filter(|link| link.trace_id == trace.id);
        let causes = linked
            .map(|link| &link.span_id)
            .chain([&span.parent_span_id]);
        for cause in causes {
            by_cause.entry(cause).or_default().push(span);
        }
    }
    by_cause
}

struct Looking<'a> {
    store: &'a Store,
    trace: &'a Trace,
    now_ms: u64,
    consumers: HashMap<&'a [u8], Vec<&'a Span>>,
}

impl Looking<'_> {
    fn is_due(&self, group: &Group) -> bool {
        self.now_ms.saturating_sub(group.arrived_ms) > PATIENCE_MS
    }

    fn place(&self, span: &Span) -> Option<Place> {
        let span = SpanId::try_from(span.span_id.as_slice()).ok()?;
        Some(Place {
            trace: self.trace.id,
            span,
        })
    }

    fn send(&self, arrived_in: &Group, span: &Span, joins: &mut Vec<Join>) {
        let Some(topic) = messaging::topic(span) else {
            return;
        };
        // What was not sent is not waited for.
        if messaging::is_error(span) {
            return;
        }
        for group in self.store.consumer_groups(topic) {
            let (state, reason, other) = self.sent_to(arrived_in, span, &group);
            joins.push(Join {
                span_id: hex(&span.span_id),
                is_send: true,
                topic: topic.to_owned(),
                group,
                state,
                reason,
                other: other.map(OtherEnd::from),
            });
        }
    }

    fn sent_to(
        &self,
        arrived_in: &Group,
        span: &Span,
        group: &str,
    ) -> (State, String, Option<Place>) {
        let here = self.consumers.get(span.span_id.as_slice());
        let here = here.and_then(|spans| spans.iter().find(|span| messaging::group(span) == group));
        if let Some(found) = here {
            return (State::Joined, String::new(), self.place(found));
        }
        let id = SpanId::try_from(span.span_id.as_slice()).unwrap_or_default();
        for place in self.store.linking(&self.trace.id, &id) {
            let joined = self.with_span(place, |_, found| {
                found.kind == CONSUMER
                    && messaging::is_process(found)
                    && messaging::group(found) == group
                    && names(found, &self.trace.id, &id)
            });
            if joined == Some(true) {
                return (State::Joined, String::new(), Some(place));
            }
        }
        if let Some((topic, partition, offset)) = messaging::record(span) {
            for place in self.store.of_record(topic, partition, offset) {
                let evidence = self.with_span(place, |arrived_in, found| {
                    let same = found.kind == CONSUMER
                        && messaging::is_process(found)
                        && messaging::group(found) == group
                        && messaging::record(found) == Some((topic, partition, offset));
                    let continues_none = found.parent_span_id.is_empty() && found.links.is_empty();
                    same.then(|| {
                        if continues_none || NoContext::said(found).is_some() {
                            NoContext::of(arrived_in, found).reason_for_sender()
                        } else {
                            "processed this record under another parent or link"
                        }
                    })
                });
                if let Some(reason) = evidence.flatten() {
                    let reason = format!("{} {reason}", name_of(group));
                    return (State::Orphaned, reason, Some(place));
                }
            }
        }
        if self.is_due(arrived_in) {
            let reason = format!(
                "for more than {} s nothing of {} has named it as parent or link: the consumer \
                 is stopped or behind, does not sample, or does not report here",
                PATIENCE_MS / 1000,
                name_of(group)
            );
            (State::Orphaned, reason, None)
        } else {
            (
                State::Waiting,
                format!("waiting for {}", name_of(group)),
                None,
            )
        }
    }

    /// A process span by itself: `None` when its sender's end tells it already.
    fn process(&self, arrived_in: &Group, span: &Span) -> Option<Join> {
        let topic = messaging::topic(span)?;
        let (state, reason, other) = self.received(arrived_in, span)?;
        Some(Join {
            span_id: hex(&span.span_id),
            is_send: false,
            topic: topic.to_owned(),
            group: messaging::group(span).to_owned(),
            state,
            reason,
            other: other.map(OtherEnd::from),
        })
    }

    fn received(&self, arrived_in: &Group, span: &Span) -> Option<(State, String, Option<Place>)> {
        let waiting_or = |reason: String| {
            if self.is_due(arrived_in) {
                (State::Orphaned, reason, None)
            } else {
                (
                    State::Waiting,
                    "waiting for its other half".to_owned(),
                    None,
                )
            }
        };
        if let Some(said) = NoContext::said(span) {
            let reason = said.reason().to_owned();
            return Some((State::Orphaned, reason, self.sender(span)));
        }
        let parent = &span.parent_span_id;
        if !parent.is_empty() && !self.trace.has(parent) {
            return Some(waiting_or(format!(
                "its parent, span {}, was never received: it was not sampled, or its service does \
                 not report here",
                hex(parent)
            )));
        }
        if let Some(link) = span.links.first() {
            let in_this_trace = span
                .links
                .iter()
                .any(|link| link.trace_id == self.trace.id && self.trace.has(&link.span_id));
            if in_this_trace {
                return None;
            }
            for link in &span.links {
                if let Some(place) = place_of(&link.trace_id, &link.span_id)
                    && self.with_span(place, |_, _| ()).is_some()
                {
                    return Some((State::Joined, String::new(), Some(place)));
                }
            }
            let reason = if link.flags & FLAGS_KNOWN != 0 && link.flags & FLAG_SAMPLED == 0 {
                "the span that it links was not sampled".to_owned()
            } else {
                format!(
                    "the span that it links, {} in trace {}, was never received, or is no longer \
                     kept",
                    hex(&link.span_id),
                    hex(&link.trace_id)
                )
            };
            return Some(waiting_or(reason));
        }
        let sender = self.sender(span);
        // With a parent of any kind it belongs somewhere, unless its record shows otherwise.
        if !parent.is_empty() && (sender.is_none() || self.parent_is_send(span)) {
            return None;
        }
        let reason = NoContext::of(arrived_in, span).reason().to_owned();
        Some((State::Orphaned, reason, sender))
    }

    /// The send span of the record that a process span is about, unless that is its parent.
    fn sender(&self, span: &Span) -> Option<Place> {
        messaging::record(span).and_then(|(topic, partition, offset)| {
            let places = self.store.of_record(topic, partition, offset).into_iter();
            places
                .filter(|place| {
                    self.with_span(*place, |_, found| {
                        found.kind == PRODUCER
                            && messaging::record(found) == Some((topic, partition, offset))
                    }) == Some(true)
                })
                .find(|place| place.span[..] != span.parent_span_id[..])
        })
    }

    fn parent_is_send(&self, span: &Span) -> bool {
        place_of(&self.trace.id, &span.parent_span_id)
            .and_then(|place| self.with_span(place, |_, parent| parent.kind == PRODUCER))
            .unwrap_or(false)
    }

    fn with_span<T>(&self, place: Place, read: impl FnOnce(&Group, &Span) -> T) -> Option<T> {
        if place.trace == self.trace.id {
            return find(self.trace, &place.span).map(|(group, span)| read(group, span));
        }
        let trace = self.store.trace(&place.trace)?;
        find(&trace, &place.span).map(|(group, span)| read(group, span))
    }
}

/// The span with this id, and the group it came in.
pub(crate) fn find<'a>(trace: &'a Trace, id: &SpanId) -> Option<(&'a Group, &'a Span)> {
    if !trace.has(id) {
        return None;
    }
    trace.spans().find(|(_, span)| span.span_id == id)
}

fn place_of(trace: &[u8], span: &[u8]) -> Option<Place> {
    Some(Place {
        trace: TraceId::try_from(trace).ok()?,
        span: SpanId::try_from(span).ok()?,
    })
}

fn names(span: &Span, trace: &TraceId, id: &SpanId) -> bool {
    let mut links = span.links.iter();
    links.any(|link| link.trace_id == trace && link.span_id == id)
}

fn name_of(group: &str) -> String {
    if group.is_empty() {
        "the consumer".to_owned()
    } else {
        format!("group {group}")
    }
}

/// The worst of all ends, with its reason: that of a trace as a whole.
pub(crate) fn worst(joins: &[Join]) -> Option<&Join> {
    // Of equals the first: it is the one nearest to the cause.
    joins.iter().rev().max_by_key(|join| join.state)
}
