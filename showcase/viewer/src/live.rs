//! What the page reads beside Jaeger's API: the live list, a trace with its joins, backlinks and
//! logs, topology, queue waits, and the news that something changed.
//!
//! For the page of the same build and nobody else; its form may change with it. Answers are whole
//! states, never differences, so that a slow reader misses nothing but states in between.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::join::{self, Join};
use crate::otlp_json::{LogLine, Traces, hex};
use crate::parameters::Parameters;
use crate::query::{answer, failure, ok, trace_id};
use crate::queue_wait;
use crate::store::{SpanId, Store, Trace, TraceId, now_ms};
use crate::summary::{self, Filter, Summary};
use crate::topology;

/// Pages that are told of changes; further ones are to ask from time to time.
const MAX_LISTENERS: usize = 32;
/// Shortest time between two pieces of news.
const NEWS_INTERVAL: Duration = Duration::from_millis(250);
/// Links, and backlinks, of a trace that are followed.
const MAX_LINKS: usize = 500;
/// Longest span of time that topology and queue waits look back, in seconds.
const MAX_WINDOW_S: u64 = 24 * 60 * 60;

/// What the routes share.
#[derive(Clone)]
struct Live {
    store: Arc<Store>,
    listeners: Arc<Semaphore>,
    stop: CancellationToken,
    control_url: Option<Arc<str>>,
}

/// The routes under `/api/live`. Listeners are let go when `stop` is cancelled.
pub(crate) fn router(
    store: Arc<Store>,
    control_url: Option<&str>,
    stop: CancellationToken,
) -> Router {
    Router::new()
        .route("/api/live/config", get(config))
        .route("/api/live/events", get(events))
        .route("/api/live/traces", get(traces))
        .route("/api/live/traces/{trace_id}", get(trace))
        .route("/api/live/topology", get(graph))
        .route("/api/live/queue-wait", get(waits))
        .with_state(Live {
            store,
            listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
            stop,
            control_url: control_url.map(Into::into),
        })
}

async fn config(State(live): State<Live>) -> Response {
    let counts = live.store.counts();
    ok(&json!({
        "controlUrl": live.control_url.as_deref(),
        "counts": {
            "traces": counts.traces,
            "spans": counts.spans,
            "logs": counts.logs,
            "bytes": counts.bytes,
            "maxBytes": live.store.max_bytes(),
            "evictedTraces": counts.evicted_traces,
            "rejectedSpans": counts.rejected_spans,
        },
    }))
}

async fn events(State(live): State<Live>) -> Response {
    let Ok(permit) = Arc::clone(&live.listeners).try_acquire_owned() else {
        let message = "too many pages listen already; ask again from time to time";
        let refused = failure(StatusCode::SERVICE_UNAVAILABLE, message);
        return ([(header::RETRY_AFTER, "2")], refused).into_response();
    };
    let mut changes = live.store.changes();
    // So that the first news comes at once.
    changes.mark_changed();
    let news = stream::unfold(
        (changes, live.stop, permit),
        async |(mut changes, stop, permit)| {
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = changes.changed() => changed.ok()?,
            }
            let revision = *changes.borrow_and_update();
            let event = Event::default().event("change").data(revision.to_string());
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(NEWS_INTERVAL) => {}
            }
            Some((Ok::<_, Infallible>(event), (changes, stop, permit)))
        },
    );
    Sse::new(news).keep_alive(KeepAlive::new()).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    traces: Vec<Summary>,
    /// Whether older ones were left out.
    more: bool,
    /// How many were looked at.
    searched: usize,
    held: usize,
}

async fn traces(State(live): State<Live>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    answer(move || {
        let filter = match Filter::new(&Parameters(pairs)) {
            Ok(filter) => filter,
            Err(message) => return failure(StatusCode::BAD_REQUEST, &message),
        };
        let now = now_ms();
        let mut newest = live.store.newest_first();
        let (mut found, mut searched, mut looked_at) = (Vec::new(), 0, 0);
        let is_enough = |found: &Vec<_>, looked_at| {
            found.len() == filter.limit || looked_at >= filter.max_spans()
        };
        while !is_enough(&found, looked_at)
            && let Some(trace) = newest.next()
        {
            searched += 1;
            looked_at += 1;
            if !filter.may_want(&trace) {
                continue;
            }
            looked_at += trace.span_count();
            let has_state = |state| {
                let joins = join::joins(&live.store, &trace, now);
                join::worst(&joins).is_some_and(|worst| worst.state == state)
            };
            if filter.wants(&trace) && filter.state.is_none_or(has_state) {
                found.push(trace);
            }
        }
        let more = newest.next().is_some();
        let traces = found.iter();
        ok(&List {
            traces: traces
                .map(|trace| summary::summary(&live.store, trace, now))
                .collect(),
            more,
            searched,
            held: live.store.counts().traces,
        })
    })
    .await
}

/// A span elsewhere that a link leads to or comes from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linked {
    /// The span of this trace.
    of: String,
    trace_id: String,
    span_id: String,
    /// Empty when the span is not here.
    service: String,
    name: String,
    is_here: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    version: String,
    trace: Traces<'a>,
    joins: Vec<Join>,
    links: Vec<Linked>,
    backlinks: Vec<Linked>,
    logs: Vec<LogLine<'a>>,
    is_quiet: bool,
}

async fn trace(
    State(live): State<Live>,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let Some(id) = trace_id(&id) else {
        return failure(StatusCode::BAD_REQUEST, "a trace id has 32 hex digits");
    };
    answer(move || {
        let Some(trace) = live.store.trace(&id) else {
            return failure(StatusCode::NOT_FOUND, "No traces found");
        };
        let now = now_ms();
        let summary = summary::summary(&live.store, &trace, now);
        let joins = join::joins(&live.store, &trace, now);
        let backlinks = backlinks(&live.store, &trace);
        let logs: Vec<LogLine> = trace
            .logs
            .iter()
            .flat_map(|group| LogLine::of(group))
            .collect();
        let states: String = joins
            .iter()
            .map(|join| match join.state {
                join::State::Joined => 'j',
                join::State::Waiting => 'w',
                join::State::Orphaned => 'o',
            })
            .collect();
        let version = format!(
            "{}-{}-{}-{states}-{}",
            trace.span_count(),
            logs.len(),
            backlinks.len(),
            summary.is_quiet
        );
        if Parameters(pairs).get("version") == Some(&version) {
            return StatusCode::NO_CONTENT.into_response();
        }
        ok(&Detail {
            version,
            trace: Traces(std::slice::from_ref(&trace)),
            links: links(&live.store, &trace),
            joins,
            backlinks,
            logs,
            is_quiet: summary.is_quiet,
        })
    })
    .await
}

fn backlinks(store: &Store, trace: &Trace) -> Vec<Linked> {
    let spans = trace.spans().filter_map(|(_, span)| {
        let id = SpanId::try_from(span.span_id.as_slice()).ok()?;
        Some((id, store.linking(&trace.id, &id)))
    });
    spans
        .flat_map(|(of, places)| places.into_iter().map(move |place| (of, place)))
        .take(MAX_LINKS)
        .map(|(of, place)| linked(store, &of, &place.trace, &place.span))
        // An index by hash may be wrong, and what it leads to may just have gone.
        .filter(|linked| linked.is_here)
        .collect()
}

fn links(store: &Store, trace: &Trace) -> Vec<Linked> {
    let links = trace
        .spans()
        .flat_map(|(_, span)| span.links.iter().map(move |link| (span, link)));
    links
        .filter(|(_, link)| link.trace_id != trace.id)
        .take(MAX_LINKS)
        .filter_map(|(span, link)| {
            let to = TraceId::try_from(link.trace_id.as_slice()).ok()?;
            let to_span = SpanId::try_from(link.span_id.as_slice()).ok()?;
            Some(linked(store, &span.span_id, &to, &to_span))
        })
        .collect()
}

fn linked(store: &Store, of: &[u8], trace: &TraceId, span: &SpanId) -> Linked {
    let other = store.trace(trace);
    let found = other.as_deref().and_then(|trace| join::find(trace, span));
    Linked {
        of: hex(of),
        trace_id: hex(trace),
        span_id: hex(span),
        service: found.map_or_else(String::new, |(group, _)| {
            summary::cut(&group.source.service)
        }),
        name: found.map_or_else(String::new, |(_, span)| summary::cut(&span.name)),
        is_here: found.is_some(),
    }
}

/// How many seconds a chart looks back, and when that begins.
fn window(pairs: Vec<(String, String)>) -> Result<(u64, u64), String> {
    let seconds = match Parameters(pairs).get("seconds").map(str::parse) {
        None => 300,
        Some(Ok(seconds @ 1..=MAX_WINDOW_S)) => seconds,
        Some(_) => return Err(format!("seconds is a number from 1 to {MAX_WINDOW_S}")),
    };
    Ok((seconds, now_ms().saturating_sub(seconds * 1000)))
}

async fn graph(State(live): State<Live>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    answer(move || match window(pairs) {
        Ok((seconds, since)) => {
            let graph = topology::topology(&live.store, since);
            ok(&json!({"seconds": seconds, "graph": graph}))
        }
        Err(message) => failure(StatusCode::BAD_REQUEST, &message),
    })
    .await
}

async fn waits(State(live): State<Live>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    answer(move || match window(pairs) {
        Ok((seconds, since)) => {
            let waits = queue_wait::waits(&live.store, since);
            ok(&json!({"seconds": seconds, "nowMs": now_ms(), "waits": waits}))
        }
        Err(message) => failure(StatusCode::BAD_REQUEST, &message),
    })
    .await
}
