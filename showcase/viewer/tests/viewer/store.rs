//! The store by itself: what is kept, what goes, and what is counted.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use viewer::{Counts, Received, Store, Trace, TraceId};

use crate::spans::{pair, request, span, text, trace_id};

fn id(number: u8) -> TraceId {
    trace_id(number).try_into().unwrap()
}

fn names(trace: &Trace) -> Vec<&str> {
    let spans = trace.groups.iter().flat_map(|group| &group.spans);
    spans.map(|span| span.name.as_str()).collect()
}

fn held(store: &Store) -> Vec<TraceId> {
    let mut ids: Vec<_> = store.newest_first().map(|trace| trace.id).collect();
    ids.reverse();
    ids
}

/// A span of about this many bytes.
fn heavy(trace: u8, id: u64, bytes: usize) -> Span {
    let mut span = span(trace, id, "heavy");
    span.attributes = vec![pair("k", text(&"x".repeat(bytes)))];
    span
}

#[test]
fn spans_join_their_trace_in_whatever_order_and_request_they_come() {
    let store = Store::new(1 << 20);
    store.insert(request(
        "worker",
        vec![span(1, 3, "process"), span(2, 1, "other")],
    ));
    store.insert(request("api", vec![span(1, 2, "send")]));
    store.insert(request("api", vec![span(1, 1, "POST")]));
    assert_eq!(held(&store), [id(1), id(2)]);
    let trace = store.trace(&id(1)).unwrap();
    assert_eq!(names(&trace), ["process", "send", "POST"]);
    let services: Vec<_> = trace
        .groups
        .iter()
        .map(|group| group.source.service.as_str())
        .collect();
    assert_eq!(services, ["worker", "api", "api"]);
    assert_eq!(store.trace(&id(3)).map(|trace| trace.id), None);
}

#[test]
fn of_spans_with_the_same_id_the_first_stays() {
    let store = Store::new(1 << 20);
    let first = store.insert(request(
        "api",
        vec![span(1, 1, "first"), span(1, 1, "again")],
    ));
    assert_eq!(
        first,
        Received {
            accepted: 1,
            duplicate: 1,
            rejected: 0
        }
    );
    let before = store.counts();
    let later = store.insert(request(
        "api",
        vec![span(1, 1, "later"), span(2, 1, "other trace")],
    ));
    assert_eq!(
        later,
        Received {
            accepted: 1,
            duplicate: 1,
            rejected: 0
        }
    );
    assert_eq!(names(&store.trace(&id(1)).unwrap()), ["first"]);
    let after = store.counts();
    assert_eq!((after.spans, after.duplicate_spans), (2, 2));

    store.insert(request("api", vec![span(1, 1, "later")]));
    assert_eq!(
        store.counts().bytes,
        after.bytes,
        "a duplicate takes no room"
    );
    assert!(before.bytes < after.bytes);
}

#[test]
fn the_traces_that_arrived_first_go_whole_when_the_bound_is_reached() {
    let probe = Store::new(usize::MAX);
    probe.insert(request("api", vec![heavy(1, 1, 10_000)]));
    let one = probe.counts().bytes;
    assert!((10_000..20_000).contains(&one), "{one}");

    let store = Store::new(4 * one);
    for number in 1..=4 {
        store.insert(request("api", vec![heavy(number, 1, 10_000)]));
    }
    assert_eq!(store.counts().bytes, 4 * one);
    assert_eq!(store.counts().evicted_traces, 0, "exactly full is not over");
    // A late span does not make its trace younger.
    store.insert(request("api", vec![span(1, 2, "late")]));
    assert_eq!(
        held(&store),
        [id(2), id(3), id(4)],
        "the first goes, late span and all"
    );
    store.insert(request(
        "api",
        vec![heavy(5, 1, 10_000), heavy(6, 1, 10_000)],
    ));
    assert_eq!(held(&store), [id(3), id(4), id(5), id(6)]);
    assert_eq!(
        store.counts(),
        Counts {
            traces: 4,
            spans: 4,
            bytes: 4 * one,
            evicted_traces: 2,
            evicted_spans: 3,
            duplicate_spans: 0,
            rejected_spans: 0,
            logs: 0,
            unattached_logs: 0,
        }
    );
    // Its id is free again: what comes now is a trace that has just arrived.
    store.insert(request("api", vec![heavy(1, 1, 10_000)]));
    assert_eq!(held(&store), [id(4), id(5), id(6), id(1)]);
}

#[test]
fn a_trace_larger_than_the_bound_cannot_stay() {
    let store = Store::new(10_000);
    store.insert(request("api", vec![span(1, 1, "small")]));
    let received = store.insert(request("api", vec![heavy(2, 1, 20_000)]));
    assert_eq!(received.accepted, 1);
    assert_eq!(held(&store), [] as [TraceId; 0]);
    let counts = store.counts();
    assert_eq!(
        (counts.bytes, counts.spans, counts.evicted_traces),
        (0, 0, 2)
    );
}

#[test]
fn everything_that_a_span_holds_is_counted() {
    let bytes = |span: Span| {
        let store = Store::new(usize::MAX);
        store.insert(request("api", vec![span]));
        store.counts().bytes
    };
    let plain = bytes(span(1, 1, "x"));
    let large = "x".repeat(10_000);
    let changes: [fn(&mut Span, String); 6] = [
        |span, large| span.name = large,
        |span, large| span.trace_state = large,
        |span, large| span.attributes = vec![pair(&large, text(""))],
        |span, large| {
            span.status = Some(Status {
                message: large,
                code: 2,
            });
        },
        |span, large| {
            span.events = vec![opentelemetry_proto::tonic::trace::v1::span::Event {
                attributes: vec![pair("k", text(&large))],
                ..Default::default()
            }];
        },
        |span, large| {
            span.links = vec![Link {
                trace_id: trace_id(2),
                span_id: vec![1; 8],
                trace_state: large,
                ..Link::default()
            }];
        },
    ];
    for change in changes {
        let mut span = span(1, 1, "x");
        change(&mut span, large.clone());
        let more = bytes(span) - plain;
        assert!((10_000 - 32..11_000).contains(&more), "{more}");
    }
}

#[test]
fn what_many_traces_share_is_counted_for_each_and_copied_for_none() {
    let store = Store::new(1 << 20);
    let spans = (1..=200).map(|number| span(number, 1, "x")).collect();
    let mut shared = request("api", spans);
    let scope = shared.resource_spans[0].scope_spans[0]
        .scope
        .as_mut()
        .unwrap();
    scope.attributes = vec![pair("k", text(&"x".repeat(100_000)))];
    let resource = shared.resource_spans[0].resource.as_mut().unwrap();
    resource
        .attributes
        .push(pair("k", text(&"x".repeat(100_000))));
    store.insert(shared);
    let traces: Vec<_> = store.newest_first().collect();
    assert_eq!(traces.len(), 5, "200 kB each, in 1 MiB");
    let first = &traces[0].groups[0];
    let last = &traces[4].groups[0];
    assert!(Arc::ptr_eq(&first.source, &last.source) && Arc::ptr_eq(&first.scope, &last.scope));
}

#[test]
fn what_no_reader_could_read_is_set_right() {
    let store = Store::new(1 << 20);
    let mut odd = span(1, 1, "odd");
    odd.kind = 77;
    odd.status = Some(Status {
        message: "m".to_owned(),
        code: -1,
    });
    odd.parent_span_id = vec![0; 8];
    let link = |trace_id: Vec<u8>, span_id: Vec<u8>| Link {
        trace_id,
        span_id,
        ..Link::default()
    };
    odd.links = vec![
        link(vec![], vec![]),
        link(trace_id(2), vec![1; 8]),
        link(vec![0; 16], vec![1; 8]),
    ];
    odd.dropped_links_count = u32::MAX - 1;
    store.insert(request("api", vec![odd]));
    let trace = store.trace(&id(1)).unwrap();
    let kept = &trace.groups[0].spans[0];
    assert_eq!(
        (kept.kind, kept.status.clone()),
        (0, Some(Status::default()))
    );
    assert_eq!(kept.parent_span_id, Vec::<u8>::new());
    assert_eq!(kept.links, [link(trace_id(2), vec![1; 8])]);
    assert_eq!(kept.dropped_links_count, u32::MAX);
}

#[test]
fn a_reader_keeps_what_it_saw() {
    let store = Store::new(1 << 20);
    store.insert(request("api", vec![span(1, 1, "first")]));
    let seen = store.trace(&id(1)).unwrap();
    store.insert(request("api", vec![span(1, 2, "second")]));
    assert_eq!(names(&seen), ["first"]);
    assert_eq!(names(&store.trace(&id(1)).unwrap()), ["first", "second"]);
}

#[test]
fn a_resource_without_a_name_is_an_unknown_service() {
    let store = Store::new(1 << 20);
    let mut nameless = request("api", vec![span(1, 1, "x")]);
    nameless.resource_spans[0].resource = None;
    store.insert(nameless);
    assert_eq!(
        store.trace(&id(1)).unwrap().groups[0].source.service,
        "unknown_service"
    );
}
