//! Services and topics as a graph: who calls whom, who sends to what, who processes from it, with
//! counts, errors and queue waits of the recent traces.
//!
//! Databases and parties that report nothing are not in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

use crate::messaging::{self, CLIENT, CONSUMER, PRODUCER, SERVER};
use crate::queue_wait::recent;
use crate::store::{Store, Trace};
use crate::summary::cut;

/// More nodes than a picture can hold are left out, and it is said.
const MAX_NODES: usize = 60;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Service,
    Topic,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Edge {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) count: usize,
    pub(crate) errors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait_p50_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait_p95_ms: Option<i64>,
}

/// The graph of the traces that grew since a time.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    /// Services whose spans begin traces, those that begin most first.
    pub(crate) beginnings: Vec<String>,
    pub(crate) left_out: usize,
    pub(crate) spans: usize,
}

#[derive(Default)]
struct Traffic {
    count: usize,
    errors: usize,
    waits: Vec<i64>,
}

pub(crate) fn topology(store: &Store, since_ms: u64) -> Topology {
    let mut nodes = BTreeSet::new();
    let mut traffic: BTreeMap<(Node, Node), Traffic> = BTreeMap::new();
    let mut beginnings: BTreeMap<String, usize> = BTreeMap::new();
    let mut spans = 0;
    for trace in recent(store, since_ms) {
        spans += trace.span_count();
        for (group, span) in trace.spans() {
            if span.kind == SERVER && span.parent_span_id.is_empty() {
                *beginnings.entry(cut(&group.source.service)).or_default() += 1;
            }
        }
        of_trace(&trace, &mut nodes, &mut traffic);
    }
    let left_out = nodes.len().saturating_sub(MAX_NODES);
    let nodes: BTreeSet<Node> = nodes.into_iter().take(MAX_NODES).collect();
    let edges = traffic
        .into_iter()
        .filter(|((from, to), _)| nodes.contains(from) && nodes.contains(to))
        .map(|((from, to), mut traffic)| {
            traffic.waits.sort_unstable();
            Edge {
                from,
                to,
                count: traffic.count,
                errors: traffic.errors,
                wait_p50_ms: percentile(&traffic.waits, 50),
                wait_p95_ms: percentile(&traffic.waits, 95),
            }
        })
        .collect();
    let mut beginnings: Vec<(String, usize)> = beginnings.into_iter().collect();
    beginnings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Topology {
        beginnings: beginnings.into_iter().map(|(name, _)| name).collect(),
        nodes: nodes.into_iter().collect(),
        edges,
        left_out,
        spans,
    }
}

fn of_trace(
    trace: &Trace,
    nodes: &mut BTreeSet<Node>,
    traffic: &mut BTreeMap<(Node, Node), Traffic>,
) {
    let clients: HashMap<&[u8], &str> = trace
        .spans()
        .filter(|(_, span)| span.kind == CLIENT)
        .map(|(group, span)| (span.span_id.as_slice(), group.source.service.as_str()))
        .collect();
    for (group, span) in trace.spans() {
        let here = node(Kind::Service, &group.source.service);
        let ends = match span.kind {
            SERVER => clients
                .get(span.parent_span_id.as_slice())
                .filter(|caller| **caller != group.source.service)
                .map(|caller| (node(Kind::Service, caller), here.clone())),
            PRODUCER => {
                messaging::topic(span).map(|topic| (here.clone(), node(Kind::Topic, topic)))
            }
            CONSUMER if messaging::is_process(span) => {
                messaging::topic(span).map(|topic| (node(Kind::Topic, topic), here.clone()))
            }
            _ => None,
        };
        nodes.insert(here);
        if let Some(ends) = ends {
            nodes.extend([ends.0.clone(), ends.1.clone()]);
            count(traffic.entry(ends).or_default(), span);
        }
    }
}

fn count(traffic: &mut Traffic, span: &Span) {
    traffic.count += 1;
    traffic.errors += usize::from(messaging::is_error(span));
    if span.kind == CONSUMER {
        traffic.waits.extend(messaging::queue_wait_ms(span));
    }
}

fn node(kind: Kind, name: &str) -> Node {
    Node {
        kind,
        name: cut(name),
    }
}

/// Nearest rank, of a sorted list.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[7], 95), Some(7));
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 95), Some(95));
        assert_eq!(percentile(&[1, 2], 50), Some(1));
        assert_eq!(percentile(&[1, 2], 95), Some(2));
    }
}
