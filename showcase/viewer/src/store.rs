//! The store: whole traces and their logs in memory, bounded in bytes, oldest out first.
//!
//! Between the receivers and the readers. A trace is kept as it arrived, group by group; the tree,
//! the merging of equal resources and all filtering are the reader's. What arrives is taken apart
//! in `arrival`, and what names other traces is indexed in `references`. Nothing is written to disk.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;

use crate::arrival;
use crate::attributes::Index;
use crate::references::{Place, References};
use crate::size::TRACE_BYTES;

/// The 16 bytes that name a trace.
pub type TraceId = [u8; 16];
/// The 8 bytes that name a span in its trace.
pub type SpanId = [u8; 8];

/// Traces in memory.
///
/// The bound is on an estimate that counts what the spans have allocated, and counts a resource
/// once in every group that shares it: it errs on the side of keeping less. Readers get shared
/// snapshots, and no lock is held while they read.
#[derive(Debug)]
pub struct Store {
    max_bytes: usize,
    inner: Mutex<Inner>,
    /// Counts the requests that changed something.
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    traces: HashMap<TraceId, Arc<Trace>>,
    /// Every key of `traces` once, by first arrival.
    arrival: VecDeque<TraceId>,
    references: References,
    counts: Counts,
}

/// What the store holds and has seen. Spans are counted as they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Traces held.
    pub traces: usize,
    /// Spans held.
    pub spans: usize,
    /// Estimate of the bytes held.
    pub bytes: usize,
    /// Traces that had to go, whole, to keep within the bound.
    pub evicted_traces: u64,
    /// Spans that went with them.
    pub evicted_spans: u64,
    /// Spans that were here already.
    pub duplicate_spans: u64,
    /// Spans with ids that are none.
    pub rejected_spans: u64,
    /// Log records held.
    pub logs: usize,
    /// Log records that name no trace; there is no place to show them.
    pub unattached_logs: u64,
}

/// What became of the spans of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Kept.
    pub accepted: usize,
    /// Here already, under the same trace id and span id: the first one stays. An exporter that
    /// retries sends the same span twice, so it is no failure.
    pub duplicate: usize,
    /// Not kept: the ids break the OTLP rules.
    pub rejected: usize,
}

/// A trace as far as it has arrived.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Its spans in the order of arrival.
    pub groups: Vec<Arc<Group>>,
    /// The logs that name it, in the order of arrival.
    pub logs: Vec<Arc<LogGroup>>,
    /// When the newest of its spans arrived, in milliseconds since the Unix epoch.
    pub last_arrival_ms: u64,
    span_ids: HashSet<SpanId>,
    log_count: usize,
    bytes: usize,
}

impl Trace {
    /// A trace of which nothing has arrived.
    fn new(id: TraceId) -> Trace {
        Trace {
            id,
            groups: Vec::new(),
            logs: Vec::new(),
            last_arrival_ms: 0,
            span_ids: HashSet::new(),
            log_count: 0,
            bytes: 0,
        }
    }

    /// Every span with the group it came in.
    pub fn spans(&self) -> impl Iterator<Item = (&Group, &Span)> {
        self.groups.iter().flat_map(|group| {
            let group = group.as_ref();
            group.spans.iter().map(move |span| (group, span))
        })
    }

    /// How many spans it has.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.span_ids.len()
    }

    /// Whether it has this span.
    #[must_use]
    pub fn has(&self, span: &[u8]) -> bool {
        SpanId::try_from(span).is_ok_and(|id| self.span_ids.contains(&id))
    }
}

/// Spans that came together from one instrumentation scope.
#[derive(Debug)]
pub struct Group {
    /// Who sent them.
    pub source: Arc<Source>,
    /// What recorded them.
    pub scope: Arc<Scope>,
    /// At least one.
    pub spans: Vec<Span>,
    /// When they arrived, in milliseconds since the Unix epoch.
    pub arrived_ms: u64,
    /// What attributes the spans have; of duplicates that were not kept too.
    pub(crate) index: Index,
}

/// Log records of one trace that came together from one instrumentation scope.
#[derive(Debug)]
pub struct LogGroup {
    /// Who sent them.
    pub source: Arc<Source>,
    /// What recorded them.
    pub scope: Arc<Scope>,
    /// At least one.
    pub records: Vec<LogRecord>,
}

/// The resource that spans came from.
#[derive(Debug)]
pub struct Source {
    /// As it was sent.
    pub resource: Option<Resource>,
    /// The schema of the resource; empty when unknown.
    pub schema_url: String,
    /// `service.name`, or `unknown_service`.
    pub service: String,
    pub(crate) bytes: usize,
}

/// The instrumentation scope that recorded spans.
#[derive(Debug)]
pub struct Scope {
    /// As it was sent.
    pub scope: Option<InstrumentationScope>,
    /// The schema of the scope and its spans; empty when unknown.
    pub schema_url: String,
    pub(crate) bytes: usize,
}

impl Store {
    /// An empty store that holds traces up to an estimate of `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Store {
        Store {
            max_bytes,
            inner: Mutex::default(),
            revision: watch::Sender::new(0),
        }
    }

    /// The bound it was made with.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Takes the spans of a request. If the bound is exceeded, the traces that arrived first go,
    /// each as a whole; a trace larger than the bound cannot stay.
    ///
    /// Links with invalid ids are taken off their span and counted in its dropped links; unknown
    /// kinds and status codes become unspecified and unset.
    pub fn insert(&self, request: ExportTraceServiceRequest) -> Received {
        let (arrived, rejected) = arrival::spans(request, now_ms());
        let mut received = Received {
            rejected,
            ..Received::default()
        };
        let mut evicted = Vec::new();
        let mut inner = self.lock();
        for (id, group) in arrived {
            inner.add(id, group, &mut received);
            inner.evict(self.max_bytes, &mut evicted);
        }
        inner.counts.duplicate_spans += received.duplicate as u64;
        inner.counts.rejected_spans += rejected as u64;
        // Freeing many spans takes its time, which nobody should wait for.
        drop(inner);
        drop(evicted);
        if received.accepted > 0 {
            self.revision.send_modify(|revision| *revision += 1);
        }
        received
    }

    /// Takes the log records of a request that name a trace, within the same bound. They may come
    /// before its spans; a trace of logs alone is not shown. Records that name none are counted.
    pub fn insert_logs(&self, request: ExportLogsServiceRequest) {
        let (arrived, unattached) = arrival::logs(request);
        let mut evicted = Vec::new();
        let mut inner = self.lock();
        let changed = !arrived.is_empty();
        for (id, group) in arrived {
            inner.add_logs(id, group);
            inner.evict(self.max_bytes, &mut evicted);
        }
        inner.counts.unattached_logs += unattached as u64;
        drop(inner);
        drop(evicted);
        if changed {
            self.revision.send_modify(|revision| *revision += 1);
        }
    }

    /// Tells of every change from now on; what was missed is one change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The trace of that id, as it is now.
    #[must_use]
    pub fn trace(&self, id: &TraceId) -> Option<Arc<Trace>> {
        let trace = self.lock().traces.get(id).cloned();
        trace.filter(|trace| !trace.groups.is_empty())
    }

    /// The traces that have spans, newest first, each as it is when its turn comes. The lock is held
    /// for a few at a time, and never while one is looked at.
    pub fn newest_first(&self) -> impl Iterator<Item = Arc<Trace>> {
        const AT_ONCE: usize = 128;
        let mut older_than = None;
        let some_at_a_time = std::iter::from_fn(move || {
            let traces = self.older(older_than, AT_ONCE);
            older_than = Some(traces.last()?.0);
            Some(traces)
        });
        let traces = some_at_a_time.flatten().map(|(_, trace)| trace);
        traces.filter(|trace| !trace.groups.is_empty())
    }

    /// Traces that arrived before that number, newest first, with theirs.
    fn older(&self, than: Option<u64>, count: usize) -> Vec<(u64, Arc<Trace>)> {
        let inner = self.lock();
        // Numbers go on when old traces leave the front.
        let first = inner.counts.evicted_traces;
        let next = first + inner.arrival.len() as u64;
        let end = than.map_or(next, |than| than.min(next));
        let numbers = (first..end).rev().take(count);
        numbers
            .filter_map(|number| {
                let at = usize::try_from(number - first).ok()?;
                Some((number, inner.traces.get(inner.arrival.get(at)?)?.clone()))
            })
            .collect()
    }

    /// Spans of other traces that link this span.
    #[must_use]
    pub fn linking(&self, trace: &TraceId, span: &SpanId) -> Vec<Place> {
        self.lock().references.linking(trace, span)
    }

    /// Send and process spans of this record, whatever their trace.
    #[must_use]
    pub fn of_record(&self, topic: &str, partition: &str, offset: i64) -> Vec<Place> {
        self.lock().references.of_record(topic, partition, offset)
    }

    /// The consumer groups that were seen to process records of this topic.
    #[must_use]
    pub fn consumer_groups(&self, topic: &str) -> Vec<String> {
        self.lock().references.consumer_groups(topic)
    }

    /// What is held and was seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A panic elsewhere leaves at worst counts that are off; the traces are still worth showing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    fn trace(&mut self, id: TraceId) -> &mut Arc<Trace> {
        match self.traces.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.arrival.push_back(id);
                self.counts.traces += 1;
                self.counts.bytes += TRACE_BYTES;
                let mut trace = Trace::new(id);
                trace.bytes = TRACE_BYTES;
                entry.insert(Arc::new(trace))
            }
        }
    }

    fn add(&mut self, id: TraceId, mut group: Group, received: &mut Received) {
        // Copies the list of groups only while a reader has the same trace.
        let trace = Arc::make_mut(self.trace(id));
        let sent = group.spans.len();
        group.spans.retain(|span| {
            // The ids were checked before the lock was taken.
            SpanId::try_from(span.span_id.as_slice()).is_ok_and(|id| trace.span_ids.insert(id))
        });
        received.accepted += group.spans.len();
        received.duplicate += sent - group.spans.len();
        if group.spans.is_empty() {
            return;
        }
        trace.last_arrival_ms = group.arrived_ms;
        let group = Arc::new(group);
        trace.groups.push(Arc::clone(&group));
        let mut bytes = group.bytes();
        for span in &group.spans {
            bytes += self.references.add(id, span);
        }
        if let Some(trace) = self.traces.get_mut(&id) {
            Arc::make_mut(trace).bytes += bytes;
        }
        self.counts.bytes += bytes;
        self.counts.spans += group.spans.len();
    }

    fn add_logs(&mut self, id: TraceId, group: LogGroup) {
        let bytes = group.bytes();
        let count = group.records.len();
        let trace = Arc::make_mut(self.trace(id));
        trace.bytes += bytes;
        trace.log_count += count;
        trace.logs.push(Arc::new(group));
        self.counts.bytes += bytes;
        self.counts.logs += count;
    }

    fn evict(&mut self, max_bytes: usize, evicted: &mut Vec<Arc<Trace>>) {
        while self.counts.bytes > max_bytes {
            let Some(trace) = self
                .arrival
                .pop_front()
                .and_then(|oldest| self.traces.remove(&oldest))
            else {
                return;
            };
            for (_, span) in trace.spans() {
                self.references.remove(&trace.id, span);
            }
            self.counts.traces -= 1;
            self.counts.spans -= trace.span_ids.len();
            self.counts.logs -= trace.log_count;
            self.counts.bytes -= trace.bytes;
            self.counts.evicted_traces += 1;
            self.counts.evicted_spans += trace.span_ids.len() as u64;
            evicted.push(trace);
        }
    }
}
