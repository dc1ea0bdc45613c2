//! Jaeger's query API v3 over the store: the four read paths, and a plain text at `/api`.
//!
//! Follows what Jaeger 2 answers, errors included, so that one client reads both. It differs
//! where it can do better without a client noticing: `query.attributes` filters, and a search
//! without a service looks at all of them.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;
use serde_json::json;

use crate::host::loopback_only;
use crate::otlp_json::Traces;
use crate::parameters::{Parameters, Search};
use crate::store::{Group, Store, Trace, TraceId};

/// The query API, and with it what `further` serves on the same address. On a loopback address
/// only loopback names are answered.
pub(crate) fn router(store: Arc<Store>, further: Router, listening_on: IpAddr) -> Router {
    let router = Router::new()
        .route("/api", get(welcome))
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{trace_id}", get(trace))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is nothing here; see /api"))
        .method_not_allowed_fallback(async || {
            failure(StatusCode::METHOD_NOT_ALLOWED, "this API is read with GET")
        })
        .with_state(store)
        .merge(further);
    if listening_on.is_loopback() {
        router.layer(middleware::from_fn(loopback_only))
    } else {
        router
    }
}

/// A failure as Jaeger writes it.
pub(crate) fn failure(status: StatusCode, message: &str) -> Response {
    let error = json!({"error": {"httpCode": status.as_u16(), "message": message}});
    (status, axum::Json(error)).into_response()
}

async fn welcome(State(store): State<Arc<Store>>) -> String {
    let counts = store.counts();
    format!(
        "Throughline viewer: traces in memory, sent over OTLP.\n\
         \n\
         Jaeger's query API v3:\n\
         \x20 GET /api/v3/services\n\
         \x20 GET /api/v3/operations?service=S[&span_kind=server]\n\
         \x20 GET /api/v3/traces?query.start_time_min=T&query.start_time_max=T\n\
         \x20     [&query.service_name=S&query.operation_name=N&query.num_traces=20]\n\
         \x20     [&query.duration_min=100ms&query.duration_max=2s&query.attributes={{\"k\":\"v\"}}]\n\
         \x20     T as 2026-01-31T12:00:00Z\n\
         \x20 GET /api/v3/traces/TRACE_ID (32 hex digits)\n\
         \n\
         The page is at /.\n\
         \n\
         Holding {} traces with {} spans in {} of {} KiB; gone to make room: {} traces with {} \
         spans; duplicate spans: {}; rejected: {}.\n",
        counts.traces,
        counts.spans,
        counts.bytes / 1024,
        store.max_bytes() / 1024,
        counts.evicted_traces,
        counts.evicted_spans,
        counts.duplicate_spans,
        counts.rejected_spans,
    )
}

async fn services(State(store): State<Arc<Store>>) -> Response {
    answer(move || {
        let mut services = BTreeSet::new();
        for trace in store.newest_first() {
            for group in &trace.groups {
                if !services.contains(&group.source.service) {
                    services.insert(group.source.service.clone());
                }
            }
        }
        ok(&json!({"services": services}))
    })
    .await
}

async fn operations(
    State(store): State<Arc<Store>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    answer(move || {
        let parameters = Parameters(pairs);
        let Some(service) = parameters.get("service") else {
            return failure(StatusCode::BAD_REQUEST, "parameter service is required");
        };
        let kind = parameters.get("span_kind");
        let traces: Vec<_> = store.newest_first().collect();
        let groups = traces.iter().flat_map(|trace| &trace.groups);
        // Spans have few names: most are known by now.
        let operations: HashSet<(&str, i32)> = groups
            .filter(|group| group.source.service == service)
            .flat_map(|group| &group.spans)
            .map(|span| (span.name.as_str(), span.kind))
            .collect();
        let operations: BTreeSet<(&str, &str)> = operations
            .into_iter()
            .map(|(name, kind)| (name, kind_name(kind)))
            .filter(|(_, of)| kind.is_none_or(|kind| kind.eq_ignore_ascii_case(of)))
            .collect();
        let operations: Vec<_> = operations
            .into_iter()
            .map(|(name, kind)| json!({"name": name, "spanKind": kind}))
            .collect();
        ok(&json!({"operations": operations}))
    })
    .await
}

async fn search(
    State(store): State<Arc<Store>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    answer(move || {
        let search = match Parameters(pairs).search() {
            Ok(search) => search,
            Err(message) => return failure(StatusCode::BAD_REQUEST, &message),
        };
        let mut found: Vec<(u64, Arc<Trace>)> = store
            .newest_first()
            .filter(|trace| search.finds(trace))
            .map(|trace| (start(&trace), trace))
            .collect();
        found.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
        found.truncate(search.traces);
        traces_answer(
            &found
                .into_iter()
                .map(|(_, trace)| trace)
                .collect::<Vec<_>>(),
        )
    })
    .await
}

async fn trace(State(store): State<Arc<Store>>, Path(id): Path<String>) -> Response {
    let Some(id) = trace_id(&id) else {
        return failure(
            StatusCode::BAD_REQUEST,
            "malformed parameter trace_id: 32 hex digits are needed",
        );
    };
    answer(move || traces_answer(store.trace(&id).as_slice())).await
}

fn traces_answer(traces: &[Arc<Trace>]) -> Response {
    if traces.is_empty() {
        return failure(StatusCode::NOT_FOUND, "No traces found");
    }
    #[derive(Serialize)]
    struct Found<'a> {
        result: Traces<'a>,
    }
    ok(&Found {
        result: Traces(traces),
    })
}

/// Reading and writing a large store takes long enough to be kept off the threads that serve.
pub(crate) async fn answer(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let work = tokio::task::spawn_blocking(work).await;
    work.unwrap_or_else(|error| {
        tracing::error!(%error, "a query was not answered");
        failure(StatusCode::INTERNAL_SERVER_ERROR, "the query failed")
    })
}

pub(crate) fn ok(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// When the trace began, in nanoseconds since the Unix epoch.
fn start(trace: &Trace) -> u64 {
    let spans = trace.groups.iter().flat_map(|group| &group.spans);
    spans
        .map(|span| span.start_time_unix_nano)
        .min()
        .unwrap_or(0)
}

pub(crate) fn trace_id(text: &str) -> Option<TraceId> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// As Jaeger writes kinds in this API.
fn kind_name(kind: i32) -> &'static str {
    match kind {
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        // Unspecified counts as internal, as OTLP allows and Jaeger does.
        _ => "internal",
    }
}

impl Search {
    /// Whether one span has everything that is asked for.
    fn finds(&self, trace: &Trace) -> bool {
        let of_service = |group: &&Arc<Group>| {
            let service = self.service.as_ref();
            service.is_none_or(|service| *service == group.source.service)
        };
        let may_have = |group: &&Arc<Group>| {
            self.attributes
                .iter()
                .all(|asked| asked.may_be_in_spans(group) || asked.is_in_resource(group))
        };
        trace
            .groups
            .iter()
            .filter(of_service)
            .filter(may_have)
            .any(|group| group.spans.iter().any(|span| self.matches(group, span)))
    }

    fn matches(&self, group: &Group, span: &Span) -> bool {
        let start = i128::from(span.start_time_unix_nano);
        let duration = i128::from(span.end_time_unix_nano) - start;
        let operation = self.operation.as_ref();
        (self.start_min..=self.start_max).contains(&start)
            && operation.is_none_or(|operation| *operation == span.name)
            && self.duration_min.is_none_or(|min| duration >= min)
            && self.duration_max.is_none_or(|max| duration <= max)
            && self
                .attributes
                .iter()
                .all(|asked| asked.is_in(&span.attributes) || asked.is_in_resource(group))
    }
}
