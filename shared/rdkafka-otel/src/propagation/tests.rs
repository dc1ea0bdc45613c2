//! From context to headers and back: by property with the W3C propagators, and with none at all.
//!
//! The tests of this library install no propagator and no SDK, so the global ones are the no-ops.

use std::str::FromStr;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rdkafka::message::{Header, OwnedHeaders};

use super::{Format, Missing, Propagation, extract, extract_with, inject, inject_with, recognise};
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
    fn the_fast_way_writes_and_reads_the_same(
        before in any_headers(),
        span_context in any_span_context(),
    ) {
        let cx = Context::new().with_remote_span_context(span_context.clone());
        let formats = [
            (Propagation(Format::TraceContext), None),
            (Propagation(Format::TraceContextAndBaggage), Some(w3c())),
        ];
        for (fast, propagator) in formats {
            let trace_context = TraceContextPropagator::new();
            let propagator: &dyn TextMapPropagator =
                propagator.as_ref().map_or(&trace_context, |both| both);
            let (mut written, mut expected) = (from_pairs(&before), from_pairs(&before));
            fast.inject(&cx, &mut written);
            inject_with(propagator, &cx, &mut expected);
            prop_assert_eq!(pairs(&written), pairs(&expected));
            prop_assert_eq!(fast.creation_context(Some(&written)), Ok(span_context.clone()));
            let extracted = fast.extract(Some(&written));
            let extracted = extracted.span().span_context().clone();
            prop_assert_eq!(&extracted, &span_context);
        }
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

#[test]
fn the_sdks_own_propagators_are_recognised_and_no_others() {
    let trace_context = || Box::new(TraceContextPropagator::new());
    let baggage = || Box::new(BaggagePropagator::new());
    let cases: [(Box<dyn TextMapPropagator>, Format); 8] = [
        (trace_context(), Format::TraceContext),
        (
            Box::new(TextMapCompositePropagator::new(vec![trace_context()])),
            Format::TraceContext,
        ),
        (Box::new(w3c()), Format::TraceContextAndBaggage),
        (
            Box::new(TextMapCompositePropagator::new(vec![
                baggage(),
                trace_context(),
            ])),
            Format::TraceContextAndBaggage,
        ),
        (baggage(), Format::Installed),
        (
            Box::new(TextMapCompositePropagator::new(vec![])),
            Format::Installed,
        ),
        (
            Box::new(TextMapCompositePropagator::new(vec![
                trace_context(),
                Box::new(Careful(TraceContextPropagator::new())),
            ])),
            Format::Installed,
        ),
        (
            Box::new(Careful(TraceContextPropagator::new())),
            Format::Installed,
        ),
    ];
    for (propagator, expected) in cases {
        assert_eq!(recognise(&*propagator), expected, "{propagator:?}");
    }
}

/// Has the W3C's fields and lets nothing out: a fast way past it would.
#[derive(Debug)]
struct Careful(TraceContextPropagator);

impl TextMapPropagator for Careful {
    fn inject_context(&self, _: &Context, _: &mut dyn opentelemetry::propagation::Injector) {}

    fn extract_with_context(
        &self,
        cx: &Context,
        _: &dyn opentelemetry::propagation::Extractor,
    ) -> Context {
        cx.clone()
    }

    fn fields(&self) -> opentelemetry::propagation::text_map_propagator::FieldIter<'_> {
        self.0.fields()
    }
}

#[test]
fn why_there_is_no_span_context() {
    let parent = "00-00000000000000000000000000000007-0000000000000009-01";
    let too_long = format!("cc{}-{}", &parent[2..], "x".repeat(500));
    let spread = "a=1,".repeat(40);
    let cases: [(&[(&str, Option<&str>)], Result<&str, Missing>); 11] = [
        (&[], Err(Missing::Absent)),
        (&[("tenant", Some("acme"))], Err(Missing::Absent)),
        // Alone it means nothing.
        (&[("tracestate", Some("a=1"))], Err(Missing::Absent)),
        (&[("traceparent", None)], Err(Missing::Malformed)),
        (&[("traceparent", Some(""))], Err(Missing::Malformed)),
        (&[("TraceParent", Some("00-0"))], Err(Missing::Malformed)),
        (&[("traceparent", Some(&too_long))], Err(Missing::TooLong)),
        // The last one decides.
        (
            &[("traceparent", Some(parent)), ("traceparent", Some("?"))],
            Err(Missing::Malformed),
        ),
        (
            &[("traceparent", Some(parent)), ("tracestate", Some("a=1"))],
            Ok("a=1"),
        ),
        // Broken, and too long: the trace goes on without it.
        (
            &[("traceparent", Some(parent)), ("tracestate", Some("?"))],
            Ok(""),
        ),
        (
            &[("tracestate", Some(&spread)), ("TRACEPARENT", Some(parent))],
            Ok(""),
        ),
    ];
    for (list, expected) in cases {
        let headers = list
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: *value })
            });
        let expected = expected.map(span_context);
        let found = Propagation::w3c().creation_context(Some(&headers));
        assert_eq!(found, expected, "{list:?}");
    }
    let none = Propagation::w3c().creation_context::<OwnedHeaders>(None);
    assert_eq!(none, Err(Missing::Absent));
    let reasons = [Missing::Absent, Missing::Malformed, Missing::TooLong];
    assert_eq!(
        reasons.map(Missing::as_str),
        ["absent", "malformed", "too_long"]
    );
}

/// With a propagator of another format the reason is read from its own fields.
#[test]
fn why_another_propagator_found_none() {
    let headers = |value: &str| {
        OwnedHeaders::new().insert(Header {
            key: "b3",
            value: Some(value),
        })
    };
    #[derive(Debug)]
    struct B3([String; 1]);
    impl TextMapPropagator for B3 {
        fn inject_context(&self, _: &Context, _: &mut dyn opentelemetry::propagation::Injector) {}
        fn extract_with_context(
            &self,
            cx: &Context,
            _: &dyn opentelemetry::propagation::Extractor,
        ) -> Context {
            cx.clone()
        }
        fn fields(&self) -> opentelemetry::propagation::text_map_propagator::FieldIter<'_> {
            opentelemetry::propagation::text_map_propagator::FieldIter::new(&self.0)
        }
    }
    let b3 = B3(["b3".to_owned()]);
    let cases = [
        (None, Missing::Absent),
        (Some(OwnedHeaders::new()), Missing::Absent),
        (Some(headers("garbage")), Missing::Malformed),
        (Some(headers(&"0".repeat(513))), Missing::TooLong),
    ];
    for (headers, expected) in cases {
        let headers = headers.as_ref().map(OwnedHeaders::as_borrowed);
        assert_eq!(super::why(&b3, headers), expected);
    }
}
