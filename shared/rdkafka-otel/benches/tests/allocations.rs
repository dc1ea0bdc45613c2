//! The fast paths allocate nothing in Rust: what is left is librdkafka's own, which no allocator of
//! Rust sees.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

use allocation_counter::measure;
use opentelemetry::trace::TraceFlags;
use rdkafka::message::OwnedHeaders;
use rdkafka_otel::Propagation;
use rdkafka_otel_benches::{
    SDK_PROPAGATOR, Service, context, extract_by_map, received, record, stale,
};

#[track_caller]
fn assert_allocates(expected: u64, work: impl Fn()) {
    // The first time fills what is filled once.
    work();
    let counted = measure(work);
    assert_eq!(counted.count_total, expected);
}

#[test]
fn reading_and_writing_a_context_allocates_nothing() {
    let fast = Propagation::w3c();
    for count in [1, 3, 20] {
        let headers = received(count - 1);
        assert_allocates(0, || {
            fast.creation_context(Some(&headers)).unwrap();
        });
    }
    let cx = context(TraceFlags::SAMPLED);
    assert_allocates(0, || {
        fast.inject(&cx, &mut OwnedHeaders::new());
    });
    for count in [5, 20] {
        let before = stale(count);
        assert_allocates(0, || fast.inject(&cx, &mut before.clone()));
    }
}

/// A `Context` is one allocation of the API's.
#[test]
fn a_context_allocates_itself() {
    let headers = received(2);
    assert_allocates(1, || {
        Propagation::w3c().extract(Some(&headers));
    });
}

/// The API keeps a span of the global provider in a box. The feature `metrics` adds nothing, and
/// `cargo test -p rdkafka-otel-benches` tests without it.
#[test]
fn a_send_below_an_unsampled_parent_allocates_the_apis_span() {
    let service = Service::new(true);
    let _parent = context(TraceFlags::NOT_SAMPLED).attach();
    assert_allocates(1, || {
        service.send();
    });
}

/// The record's context and its list of links; the API's box for the span, what shares the span,
/// and the context that holds it.
#[test]
fn processing_an_unsampled_record_allocates_its_contexts_and_link() {
    let service = Service::new(true);
    let record = record(TraceFlags::NOT_SAMPLED);
    assert_allocates(5, || service.process(&record));
}

/// That the counter counts.
#[test]
fn the_ways_that_people_use_allocate() {
    let headers = received(2);
    assert!(measure(|| drop(extract_by_map(&headers))).count_total > 6);
    let cx = context(TraceFlags::SAMPLED);
    let general = measure(|| {
        rdkafka_otel::inject_with(&*SDK_PROPAGATOR, &cx, &mut OwnedHeaders::new());
    });
    assert!(general.count_total > 1);
}
