//! What spans say about spans of other traces: links across traces, and the record that a send and
//! a process span have in common, by topic, partition and offset. And which consumer groups were
//! seen on which topic.
//!
//! An index for `join` and the page's backlinks, kept by the store as traces come and go. It holds
//! places, not spans, and decides nothing.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::messaging::{self, CONSUMER, PRODUCER};
use crate::store::{SpanId, TraceId};

/// An entry with its share of the map.
const ENTRY_BYTES: usize = 64;
/// More references to one thing are not kept: leaving would take too long, and nobody reads them.
const MAX_PER_KEY: usize = 256;
/// Bounds on what is remembered of topics, which outlives their traces.
const MAX_TOPICS: usize = 512;
const MAX_GROUPS: usize = 16;
const MAX_NAME_BYTES: usize = 512;

/// A span in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub span: SpanId,
}

#[derive(Debug, Default)]
pub(crate) struct References {
    /// By a keyed hash of what is referred to, so that no sender can aim at a collision; readers
    /// look at the spans anyway.
    places: HashMap<u64, Vec<Place>>,
    groups: HashMap<String, BTreeSet<String>>,
    hasher: RandomState,
}

impl References {
    /// Takes in what a span refers to; gives the bytes that takes.
    pub(crate) fn add(&mut self, trace: TraceId, span: &Span) -> usize {
        let Ok(id) = SpanId::try_from(span.span_id.as_slice()) else {
            return 0;
        };
        self.learn_group(span);
        let place = Place { trace, span: id };
        let mut added = 0;
        for key in self.keys(&trace, span) {
            let places = self.places.entry(key).or_default();
            if places.len() < MAX_PER_KEY {
                places.push(place);
                added += 1;
            }
        }
        added * ENTRY_BYTES
    }

    pub(crate) fn remove(&mut self, trace: &TraceId, span: &Span) {
        for key in self.keys(trace, span) {
            if let Some(places) = self.places.get_mut(&key) {
                places.retain(|place| place.trace != *trace || place.span[..] != span.span_id[..]);
                if places.is_empty() {
                    self.places.remove(&key);
                }
            }
        }
    }

    pub(crate) fn linking(&self, trace: &TraceId, span: &SpanId) -> Vec<Place> {
        self.at(self.link_key(trace, span))
    }

    pub(crate) fn of_record(&self, topic: &str, partition: &str, offset: i64) -> Vec<Place> {
        self.at(self.record_key(topic, partition, offset))
    }

    pub(crate) fn consumer_groups(&self, topic: &str) -> Vec<String> {
        let groups = self.groups.get(topic);
        groups.map_or_else(Vec::new, |groups| groups.iter().cloned().collect())
    }

    fn at(&self, key: u64) -> Vec<Place> {
        self.places.get(&key).cloned().unwrap_or_default()
    }

    fn keys(&self, trace: &TraceId, span: &Span) -> Vec<u64> {
        let others = span.links.iter().filter(|link| link.trace_id != trace);
        let mut keys: Vec<u64> = others
            .map(|link| self.link_key(&link.trace_id, &link.span_id))
            .collect();
        if (span.kind == PRODUCER || span.kind == CONSUMER)
            && let Some((topic, partition, offset)) = messaging::record(span)
        {
            keys.push(self.record_key(topic, partition, offset));
        }
        keys
    }

    fn link_key(&self, trace: &[u8], span: &[u8]) -> u64 {
        self.hasher.hash_one((trace, span))
    }

    fn record_key(&self, topic: &str, partition: &str, offset: i64) -> u64 {
        self.hasher.hash_one((topic, partition, offset))
    }

    fn learn_group(&mut self, span: &Span) {
        if span.kind != CONSUMER || !messaging::is_process(span) {
            return;
        }
        let Some(topic) = messaging::topic(span) else {
            return;
        };
        let group = messaging::group(span);
        if topic.len() > MAX_NAME_BYTES || group.len() > MAX_NAME_BYTES {
            return;
        }
        if !self.groups.contains_key(topic) {
            if self.groups.len() == MAX_TOPICS {
                return;
            }
            self.groups.insert(topic.to_owned(), BTreeSet::new());
        }
        if let Some(groups) = self.groups.get_mut(topic)
            && groups.len() < MAX_GROUPS
            && !groups.contains(group)
        {
            groups.insert(group.to_owned());
        }
    }
}
