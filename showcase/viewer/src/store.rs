//! The store: whole traces in memory, bounded in bytes, oldest out first.
//!
//! Between the two receivers and the query API. A trace is kept as it arrived, group by group; the
//! tree, the merging of equal resources and all filtering are the reader's. Nothing is written to
//! disk.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use crate::size::{TRACE_BYTES, attribute_bytes, span_bytes};

/// The 16 bytes that name a trace.
pub type TraceId = [u8; 16];
type SpanId = [u8; 8];

/// Traces in memory.
///
/// The bound is on an estimate that counts what the spans have allocated, and counts a resource
/// once in every group that shares it: it errs on the side of keeping less. Readers get shared
/// snapshots, and no lock is held while they read.
#[derive(Debug)]
pub struct Store {
    max_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    traces: HashMap<TraceId, Arc<Trace>>,
    /// Every key of `traces` once, by first arrival.
    arrival: VecDeque<TraceId>,
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
    span_ids: HashSet<SpanId>,
    bytes: usize,
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
    bytes: usize,
}

/// The instrumentation scope that recorded spans.
#[derive(Debug)]
pub struct Scope {
    /// As it was sent.
    pub scope: Option<InstrumentationScope>,
    /// The schema of the scope and its spans; empty when unknown.
    pub schema_url: String,
    bytes: usize,
}

impl Store {
    /// An empty store that holds traces up to an estimate of `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Store {
        Store {
            max_bytes,
            inner: Mutex::default(),
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
        let (arrived, rejected) = sort(request);
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
        received
    }

    /// The trace of that id, as it is now.
    #[must_use]
    pub fn trace(&self, id: &TraceId) -> Option<Arc<Trace>> {
        self.lock().traces.get(id).cloned()
    }

    /// All traces as they are now, by first arrival.
    #[must_use]
    pub fn traces(&self) -> Vec<Arc<Trace>> {
        let inner = self.lock();
        let traces = inner.arrival.iter().filter_map(|id| inner.traces.get(id));
        traces.cloned().collect()
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

impl Inner {
    fn add(&mut self, id: TraceId, mut group: Group, received: &mut Received) {
        let trace = match self.traces.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.arrival.push_back(id);
                self.counts.traces += 1;
                entry.insert(Arc::new(Trace {
                    id,
                    groups: Vec::new(),
                    span_ids: HashSet::new(),
                    bytes: 0,
                }))
            }
        };
        // Copies the list of groups only while a reader has the same trace.
        let trace = Arc::make_mut(trace);
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
        let bytes = group.bytes()
            + if trace.groups.is_empty() {
                TRACE_BYTES
            } else {
                0
            };
        trace.bytes += bytes;
        self.counts.bytes += bytes;
        self.counts.spans += group.spans.len();
        trace.groups.push(Arc::new(group));
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
            self.counts.traces -= 1;
            self.counts.spans -= trace.span_ids.len();
            self.counts.bytes -= trace.bytes;
            self.counts.evicted_traces += 1;
            self.counts.evicted_spans += trace.span_ids.len() as u64;
            evicted.push(trace);
        }
    }
}

/// Takes a request apart by trace, without the lock. Also gives the number of spans rejected.
fn sort(request: ExportTraceServiceRequest) -> (Vec<(TraceId, Group)>, usize) {
    let mut arrived = Vec::new();
    let mut rejected = 0;
    for resource_spans in request.resource_spans {
        let source = Arc::new(Source::new(
            resource_spans.resource,
            resource_spans.schema_url,
        ));
        for scope_spans in resource_spans.scope_spans {
            let scope = Arc::new(Scope::new(scope_spans.scope, scope_spans.schema_url));
            // In the order in which the traces appear.
            let mut by_trace: Vec<(TraceId, Vec<Span>)> = Vec::new();
            let mut index: HashMap<TraceId, usize> = HashMap::new();
            for mut span in scope_spans.spans {
                let Some(id) = admit(&mut span) else {
                    rejected += 1;
                    continue;
                };
                let at = *index.entry(id).or_insert(by_trace.len());
                match by_trace.get_mut(at) {
                    Some((_, spans)) => spans.push(span),
                    None => by_trace.push((id, vec![span])),
                }
            }
            for (id, spans) in by_trace {
                let group = Group {
                    source: Arc::clone(&source),
                    scope: Arc::clone(&scope),
                    spans,
                };
                arrived.push((id, group));
            }
        }
    }
    (arrived, rejected)
}

/// The trace of a span that may be kept, with what readers could not read set right.
fn admit(span: &mut Span) -> Option<TraceId> {
    if span.parent_span_id.iter().all(|&byte| byte == 0) && span.parent_span_id.len() == 8 {
        span.parent_span_id.clear();
    }
    let parent_fits = matches!(span.parent_span_id.len(), 0 | 8);
    if !is_id(&span.span_id, 8) || !is_id(&span.trace_id, 16) || !parent_fits {
        return None;
    }
    let links = span.links.len();
    span.links
        .retain(|link| is_id(&link.trace_id, 16) && is_id(&link.span_id, 8));
    let dropped = u32::try_from(links - span.links.len()).unwrap_or(u32::MAX);
    span.dropped_links_count = span.dropped_links_count.saturating_add(dropped);
    if !(0..=5).contains(&span.kind) {
        span.kind = 0;
    }
    if span
        .status
        .as_ref()
        .is_some_and(|status| !(0..=2).contains(&status.code))
    {
        span.status = Some(Status::default());
    }
    TraceId::try_from(span.trace_id.as_slice()).ok()
}

fn is_id(id: &[u8], length: usize) -> bool {
    id.len() == length && id.iter().any(|&byte| byte != 0)
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    let named = attributes.iter().find(|pair| pair.key == "service.name");
    match named.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => "unknown_service".to_owned(),
    }
}

// The sizes of what groups share are taken once: a sender may share something large very often.
impl Source {
    fn new(resource: Option<Resource>, schema_url: String) -> Source {
        let service = service(resource.as_ref());
        let attributes = resource
            .as_ref()
            .map_or(0, |resource| attribute_bytes(&resource.attributes));
        let bytes = size_of::<Source>() + service.capacity() + schema_url.capacity() + attributes;
        Source {
            resource,
            schema_url,
            service,
            bytes,
        }
    }
}

impl Scope {
    fn new(scope: Option<InstrumentationScope>, schema_url: String) -> Scope {
        let inner = scope.as_ref().map_or(0, |scope| {
            scope.name.capacity() + scope.version.capacity() + attribute_bytes(&scope.attributes)
        });
        Scope {
            bytes: size_of::<Scope>() + schema_url.capacity() + inner,
            scope,
            schema_url,
        }
    }
}

impl Group {
    fn bytes(&self) -> usize {
        let spare = self.spans.capacity() - self.spans.len();
        size_of::<Group>()
            + self.source.bytes
            + self.scope.bytes
            + spare * size_of::<Span>()
            + self.spans.iter().map(span_bytes).sum::<usize>()
    }
}
