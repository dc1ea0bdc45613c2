//! From context to headers and back: by property with the W3C propagators, and with none at all.
//!
//! The tests of this library install no propagator and no SDK, so the global ones are the no-ops.

use std::str::FromStr;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rdkafka::message::{Header, OwnedHeaders};

use super::{extract, extract_with, inject, inject_with};
use crate::{native, raw_headers};

type Pair = (Vec<u8>, Option<Vec<u8>>);

const FIELDS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

fn w3c() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ])
}

fn span_context(trace_state: &str) -> SpanContext {
    SpanContext::new(
        TraceId::from(7),
        SpanId::from(9),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_str(trace_state).unwrap(),
    )
}

fn pairs(headers: &OwnedHeaders) -> Vec<Pair> {
    raw_headers(headers.as_borrowed())
        .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
        .collect()
}

fn is_field(key: &[u8]) -> bool {
    FIELDS
        .iter()
        .any(|field| key.eq_ignore_ascii_case(field.as_bytes()))
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..12),
        prop::sample::select(vec![
            &b"traceparent"[..],
            b"TraceParent",
            b"TRACEPARENT",
            b"tracestate",
            b"TraceState",
            b"baggage",
            b"Baggage",
            b"traceparent\0",
            b"traceparen",
            b"tracestate2",
        ])
        .prop_map(<[u8]>::to_vec),
    ]
}

fn any_headers() -> impl Strategy<Value = Vec<Pair>> {
    vec((any_key(), option::of(vec(any::<u8>(), 0..80))), 0..24)
}

fn any_span_context() -> impl Strategy<Value = SpanContext> {
    let trace_state = vec(("[a-z][a-z0-9]{0,8}", "[!-+\\--<>-~]{1,12}"), 0..4);
    (1..=u128::MAX, 1..=u64::MAX, any::<bool>(), trace_state).prop_map(
        |(trace_id, span_id, sampled, trace_state)| {
            SpanContext::new(
                TraceId::from(trace_id),
                SpanId::from(span_id),
                TraceFlags::default().with_sampled(sampled),
                true,
                TraceState::from_key_value(trace_state).unwrap(),
            )
        },
    )
}

fn from_pairs(list: &[Pair]) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in list {
        native::append(&mut headers, key, value.as_deref());
    }
    headers
}

proptest! {
    #[test]
    fn what_is_injected_is_extracted_and_the_rest_stays(
        before in any_headers(),
        span_context in any_span_context(),
    ) {
        let mut headers = from_pairs(&before);
        let others = |list: Vec<Pair>| -> Vec<Pair> {
            list.into_iter().filter(|(key, _)| !is_field(key)).collect()
        };
        let expected = others(pairs(&headers));

        let cx = Context::new().with_remote_span_context(span_context.clone());
        inject_with(&w3c(), &cx, &mut headers);

        let after = pairs(&headers);
        let parents = after.iter().filter(|(key, _)| key.eq_ignore_ascii_case(b"traceparent"));
        prop_assert_eq!(parents.count(), 1);
        prop_assert_eq!(others(after), expected);

        let extracted = extract_with(&w3c(), Some(&headers));
        let found = extracted.span().span_context().clone();
        prop_assert_eq!(found, span_context);
        prop_assert!(extracted.baggage().is_empty());
    }

    #[test]
    fn a_context_without_a_span_leaves_no_field_behind(before in any_headers()) {
        let mut headers = from_pairs(&before);
        inject_with(&w3c(), &Context::new(), &mut headers);
        prop_assert!(pairs(&headers).iter().all(|(key, _)| !is_field(key)));
        prop_assert!(!extract_with(&w3c(), Some(&headers)).has_active_span());
    }

    #[test]
    fn nothing_in_headers_panics(before in any_headers()) {
        let headers = from_pairs(&before);
        let _ = extract_with(&w3c(), Some(&headers));
        let _ = extract_with(&w3c(), Some(headers.as_borrowed()));
    }
}

#[test]
fn the_headers_are_exactly_these() {
    let cases = [
        (
            "",
            vec![],
            vec![(
                "traceparent",
                "00-00000000000000000000000000000007-0000000000000009-01",
            )],
        ),
        (
            "a=1,b=2",
            vec![KeyValue::new("tenant", "acme")],
            vec![
                (
                    "traceparent",
                    "00-00000000000000000000000000000007-0000000000000009-01",
                ),
                ("tracestate", "a=1,b=2"),
                ("baggage", "tenant=acme"),
            ],
        ),
    ];
    for (trace_state, baggage, expected) in cases {
        let cx = Context::new()
            .with_baggage(baggage)
            .with_remote_span_context(span_context(trace_state));
        let mut headers = OwnedHeaders::new().insert(Header {
            key: "TRACESTATE",
            value: Some("stale=1"),
        });
        inject_with(&w3c(), &cx, &mut headers);
        let expected: Vec<Pair> = expected
            .into_iter()
            .map(|(key, value)| (key.into(), Some(value.into())))
            .collect();
        assert_eq!(pairs(&headers), expected);
    }
}

#[test]
fn repeated_lists_are_read_as_one() {
    let parent = "00-00000000000000000000000000000007-0000000000000009-01";
    let headers = [
        ("tracestate", "a=1"),
        ("baggage", "x=1"),
        ("traceparent", "garbage"),
        ("traceparent", parent),
        ("tracestate", "b=2"),
        ("baggage", "y=2"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    });
    let cx = extract_with(&w3c(), Some(&headers));
    assert_eq!(cx.span().span_context(), &span_context("a=1,b=2"));
    assert_eq!(cx.baggage().get("x").map(|value| value.as_str()), Some("1"));
    assert_eq!(cx.baggage().get("y").map(|value| value.as_str()), Some("2"));
}

#[test]
fn a_broken_traceparent_gives_no_span() {
    for value in [
        "",
        "garbage",
        "00-00000000000000000000000000000000-0000000000000009-01",
        "00-00000000000000000000000000000007-0000000000000000-01",
        "ff-00000000000000000000000000000007-0000000000000009-01",
        "00-00000000000000000000000000000007-0000000000000009",
        "00-é0000000000000000000000000000007-0000000000000009-01",
    ] {
        let headers = OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some(value),
        });
        assert!(
            !extract_with(&w3c(), Some(&headers)).has_active_span(),
            "{value:?}"
        );
    }
}

#[test]
fn extraction_does_not_see_the_current_context() {
    let current = Context::new()
        .with_baggage([KeyValue::new("tenant", "acme")])
        .with_remote_span_context(span_context(""));
    let _current = current.attach();
    let headers = OwnedHeaders::new();

    let with_none = [
        extract::<OwnedHeaders>(None),
        extract(Some(&headers)),
        extract_with::<OwnedHeaders>(&w3c(), None),
        extract_with(&w3c(), Some(&headers)),
    ];
    for cx in with_none {
        assert!(!cx.has_active_span());
        assert!(cx.baggage().is_empty());
    }
}

#[test]
fn without_a_propagator_headers_are_left_alone() {
    let list = [
        (b"traceparent".to_vec(), Some(b"theirs".to_vec())),
        (b"a".to_vec(), None),
    ];
    let mut headers = from_pairs(&list);
    let cx = Context::new().with_remote_span_context(span_context(""));
    inject(&cx, &mut headers);
    assert_eq!(pairs(&headers), list);
}
