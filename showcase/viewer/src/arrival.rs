//! What a request holds, taken apart by trace: checked, set right where readers could not read it,
//! and weighed.
//!
//! Between the receivers' decoding and the store, and without its lock.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use crate::attributes::Index;
use crate::size::{attribute_bytes, log_bytes, span_bytes};
use crate::store::{Group, LogGroup, Scope, Source, TraceId};

/// Lists by key, in the order in which the keys appear.
struct ByTrace<T> {
    lists: Vec<(TraceId, Vec<T>)>,
    index: HashMap<TraceId, usize>,
}

impl<T> ByTrace<T> {
    fn new() -> Self {
        ByTrace {
            lists: Vec::new(),
            index: HashMap::new(),
        }
    }

    fn push(&mut self, id: TraceId, item: T) {
        let at = *self.index.entry(id).or_insert(self.lists.len());
        match self.lists.get_mut(at) {
            Some((_, items)) => items.push(item),
            None => self.lists.push((id, vec![item])),
        }
    }
}

/// Spans by trace. Also gives the number of spans rejected.
pub(crate) fn spans(
    request: ExportTraceServiceRequest,
    arrived_ms: u64,
) -> (Vec<(TraceId, Group)>, usize) {
    let mut arrived = Vec::new();
    let mut rejected = 0;
    for resource_spans in request.resource_spans {
        let source = Arc::new(Source::new(
            resource_spans.resource,
            resource_spans.schema_url,
        ));
        for scope_spans in resource_spans.scope_spans {
            let scope = Arc::new(Scope::new(scope_spans.scope, scope_spans.schema_url));
            let mut by_trace = ByTrace::new();
            for mut span in scope_spans.spans {
                match admit(&mut span) {
                    Some(id) => by_trace.push(id, span),
                    None => rejected += 1,
                }
            }
            for (id, spans) in by_trace.lists {
                let group = Group {
                    source: Arc::clone(&source),
                    scope: Arc::clone(&scope),
                    index: Index::of(&spans),
                    spans,
                    arrived_ms,
                };
                arrived.push((id, group));
            }
        }
    }
    (arrived, rejected)
}

/// Log records by trace. Also gives the number of those that name none.
pub(crate) fn logs(request: ExportLogsServiceRequest) -> (Vec<(TraceId, LogGroup)>, usize) {
    let mut arrived = Vec::new();
    let mut unattached = 0;
    for resource_logs in request.resource_logs {
        let source = Arc::new(Source::new(
            resource_logs.resource,
            resource_logs.schema_url,
        ));
        for scope_logs in resource_logs.scope_logs {
            let scope = Arc::new(Scope::new(scope_logs.scope, scope_logs.schema_url));
            let mut by_trace: ByTrace<LogRecord> = ByTrace::new();
            for mut record in scope_logs.log_records {
                if !is_id(&record.span_id, 8) {
                    record.span_id.clear();
                }
                let id = TraceId::try_from(record.trace_id.as_slice());
                match id.ok().filter(|id| is_id(id, 16)) {
                    Some(id) => by_trace.push(id, record),
                    None => unattached += 1,
                }
            }
            for (id, records) in by_trace.lists {
                let group = LogGroup {
                    source: Arc::clone(&source),
                    scope: Arc::clone(&scope),
                    records,
                };
                arrived.push((id, group));
            }
        }
    }
    (arrived, unattached)
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
    /// What it takes in memory, what it shares included.
    pub(crate) fn bytes(&self) -> usize {
        let spare = self.spans.capacity() - self.spans.len();
        size_of::<Group>()
            + self.source.bytes
            + self.scope.bytes
            + self.index.bytes()
            + spare * size_of::<Span>()
            + self.spans.iter().map(span_bytes).sum::<usize>()
    }
}

impl LogGroup {
    /// What it takes in memory, what it shares included.
    pub(crate) fn bytes(&self) -> usize {
        let spare = self.records.capacity() - self.records.len();
        size_of::<LogGroup>()
            + self.source.bytes
            + self.scope.bytes
            + spare * size_of::<LogRecord>()
            + self.records.iter().map(log_bytes).sum::<usize>()
    }
}
