//! Services and topics as a graph: who calls whom, who sends to what, who processes from it, with
//! counts, errors and queue waits of the recent traces.
//!
//! Databases and parties that report nothing are not in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

use crate::messaging::{self, CLIENT, CONSUMER, PRODUCER, SERVER};
use crate::queue_wait::recent;
use crate::store::{Store, Trace};
use crate::summary::beginning_of;

/// More nodes than a picture can hold are left out, and it is said.
const MAX_NODES: usize = 60;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Service,
    Topic,
}

#[derive(Debug, PartialEq, Serialize)]
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

/// A node by a name that a trace holds: copies of it, one for every span, take most of the time.
type End<'a> = (Kind, &'a str);

#[derive(Default)]
struct Graph<'a> {
    nodes: HashSet<End<'a>>,
    traffic: HashMap<(End<'a>, End<'a>), Traffic>,
    beginnings: HashMap<&'a str, usize>,
    spans: usize,
}

pub(crate) fn topology(store: &Store, since_ms: u64) -> Topology {
    let traces: Vec<Arc<Trace>> = recent(store, since_ms).collect();
    let mut graph = Graph::default();
    for trace in &traces {
        graph.add(trace);
    }
    let left_out = graph.nodes.len().saturating_sub(MAX_NODES);
    let nodes: BTreeSet<End> = graph.nodes.into_iter().collect();
    let nodes: BTreeSet<End> = nodes.into_iter().take(MAX_NODES).collect();
    let traffic: BTreeMap<_, _> = graph.traffic.into_iter().collect();
    let edges = traffic
        .into_iter()
        .filter(|((from, to), _)| nodes.contains(from) && nodes.contains(to))
        .map(|((from, to), mut traffic)| {
            traffic.waits.sort_unstable();
            Edge {
                from: from.into(),
                to: to.into(),
                count: traffic.count,
                errors: traffic.errors,
                wait_p50_ms: percentile(&traffic.waits, 50),
                wait_p95_ms: percentile(&traffic.waits, 95),
            }
        })
        .collect();
    let mut beginnings: Vec<(&str, usize)> = graph.beginnings.into_iter().collect();
    beginnings.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    Topology {
        beginnings: beginnings
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect(),
        nodes: nodes.into_iter().map(Node::from).collect(),
        edges,
        left_out,
        spans: graph.spans,
    }
}

impl<'a> Graph<'a> {
    fn add(&mut self, trace: &'a Trace) {
        self.spans += trace.span_count();
        let callers = callers(trace);
        for group in &trace.groups {
            let service = beginning_of(&group.source.service);
            let here = (Kind::Service, service);
            self.nodes.insert(here);
            for span in &group.spans {
                if span.kind == SERVER && span.parent_span_id.is_empty() {
                    *self.beginnings.entry(service).or_default() += 1;
                }
                let topic =
                    || messaging::topic(span).map(|topic| (Kind::Topic, beginning_of(topic)));
                let ends = match span.kind {
                    SERVER => callers
                        .get(span.parent_span_id.as_slice())
                        .filter(|caller| **caller != group.source.service)
                        .map(|caller| ((Kind::Service, beginning_of(caller)), here)),
                    PRODUCER => topic().map(|topic| (here, topic)),
                    CONSUMER if messaging::is_process(span) => topic().map(|topic| (topic, here)),
                    _ => None,
                };
                if let Some(ends) = ends {
                    self.nodes.extend([ends.0, ends.1]);
                    count(self.traffic.entry(ends).or_default(), span);
                }
            }
        }
    }
}

/// The services of client spans by the spans' ids; none where nothing in the trace was called.
fn callers(trace: &Trace) -> HashMap<&[u8], &str> {
    let mut spans = trace.spans();
    if !spans.any(|(_, span)| span.kind == SERVER && !span.parent_span_id.is_empty()) {
        return HashMap::new();
    }
    let clients = trace.spans().filter(|(_, span)| span.kind == CLIENT);
    clients
        .map(|(group, span)| (span.span_id.as_slice(), group.source.service.as_str()))
        .collect()
}

fn count(traffic: &mut Traffic, span: &Span) {
    traffic.count += 1;
    traffic.errors += usize::from(messaging::is_error(span));
    if span.kind == CONSUMER {
        traffic.waits.extend(messaging::queue_wait_ms(span));
    }
}

impl From<End<'_>> for Node {
    fn from((kind, name): End<'_>) -> Node {
        Node {
            kind,
            name: name.to_owned(),
        }
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
