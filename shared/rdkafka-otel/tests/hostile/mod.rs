//! Header lists made of any bytes, and what must hold for each of them.
//!
//! The fuzz targets and the replay of their corpus share this file, so that what was found once is
//! tested ever after. Nothing here knows the fuzzer.

#![allow(dead_code, reason = "every user of this module takes a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use rdkafka::message::OwnedHeaders;
use rdkafka_otel::testing::append_header;
use rdkafka_otel::{Missing, Propagation, extract_with, inject_with, raw_headers};

const FIELDS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Keys that a random byte string would hardly ever hit.
const KEYS: [&[u8]; 12] = [
    b"traceparent",
    b"tracestate",
    b"baggage",
    b"TraceParent",
    b"TRACESTATE",
    b"Baggage",
    b"traceparent\0x",
    b"traceparenz",
    b"t",
    b"",
    b"\xff\xfe",
    b"tracestate ",
];

const VALUES: [&[u8]; 4] = [
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more",
    b"a=1,b=2",
    b"k=v;p=1, l=w",
];

/// Bytes that are read one after the other; what is missing at the end is zero or empty.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn one(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for byte in self.take(8) {
            number = number << 8 | u64::from(*byte);
        }
        number
    }
}

type Pair = (Vec<u8>, Option<Vec<u8>>);

/// One header for each few bytes: a known or a given key, a known, given, null or very long value.
fn read_headers(bytes: &mut Bytes<'_>) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    while !bytes.0.is_empty() {
        let form = bytes.one();
        let key = match usize::from(form & 0xf) {
            known if known < KEYS.len() => KEYS[known],
            _ => {
                let length = bytes.one();
                bytes.take(usize::from(length))
            }
        };
        let long;
        let value = match usize::from(form >> 4) {
            known if known < VALUES.len() => Some(VALUES[known]),
            4 => None,
            5 => {
                let (times, length) = (bytes.one(), bytes.one());
                long = bytes
                    .take(usize::from(length))
                    .repeat(usize::from(times) * 8);
                Some(&long[..])
            }
            _ => {
                let length = bytes.one();
                Some(bytes.take(usize::from(length)))
            }
        };
        append_header(&mut headers, key, value);
    }
    headers
}

fn read_context(bytes: &mut Bytes<'_>) -> Context {
    let flags = bytes.one();
    let trace_id = u128::from(bytes.number()) << 64 | u128::from(bytes.number());
    let span_id = bytes.number();
    let length = bytes.one();
    let state = String::from_utf8_lossy(bytes.take(usize::from(length))).into_owned();
    let span = SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(span_id),
        TraceFlags::default().with_sampled(flags & 1 == 1),
        true,
        state.parse::<TraceState>().unwrap_or_default(),
    );
    let mut cx = Context::new().with_remote_span_context(span);
    if flags & 2 == 2 {
        let length = bytes.one();
        let value = String::from_utf8_lossy(bytes.take(usize::from(length))).into_owned();
        cx = cx.with_baggage([KeyValue::new("k", value)]);
    }
    cx
}

fn w3c() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ])
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

fn span_of(cx: &Context) -> SpanContext {
    cx.span().span_context().clone()
}

/// Reading any headers gives a valid span context or a reason, the same as the SDK's propagator
/// reads wherever that accepts what the specification allows, and changes nothing.
pub(crate) fn extract(data: &[u8]) {
    let headers = read_headers(&mut Bytes(data));
    let before = pairs(&headers);
    let by_sdk = extract_with(&w3c(), Some(&headers));
    let fast = Propagation::w3c();
    match fast.creation_context(Some(&headers)) {
        Ok(span) => {
            assert!(span.is_valid() && span.is_remote());
            assert_eq!(span, span_of(&by_sdk));
            assert!(span.trace_state().header().len() <= 512);
            assert_eq!(span_of(&fast.extract(Some(&headers))), span);
        }
        Err(missing) => {
            assert!(!fast.extract(Some(&headers)).has_active_span());
            let has_traceparent = before
                .iter()
                .any(|(key, _)| key.eq_ignore_ascii_case(b"traceparent"));
            assert_eq!(missing == Missing::Absent, !has_traceparent);
        }
    }
    assert!(by_sdk.baggage().len() <= 64);
    assert_eq!(pairs(&headers), before);
}

/// Writing any context into any headers leaves the application's as they are and one `traceparent`
/// at most, on both ways alike.
pub(crate) fn inject(data: &[u8]) {
    let mut bytes = Bytes(data);
    let cx = read_context(&mut bytes);
    let before = read_headers(&mut bytes);
    let mut expected: Vec<Pair> = pairs(&before);
    expected.retain(|(key, _)| !is_field(key));

    let mut general = before.clone();
    inject_with(&w3c(), &cx, &mut general);
    let written = pairs(&general);
    let others: Vec<_> = written.iter().filter(|(key, _)| !is_field(key)).collect();
    assert_eq!(others, expected.iter().collect::<Vec<_>>());
    let parents = written.iter().filter(|(key, _)| key == b"traceparent");
    assert_eq!(parents.count(), usize::from(span_of(&cx).is_valid()));

    let mut general = before.clone();
    inject_with(&TraceContextPropagator::new(), &cx, &mut general);
    let mut fast = before;
    Propagation::w3c().inject(&cx, &mut fast);
    assert_eq!(pairs(&fast), pairs(&general));
}

/// What is injected is extracted again.
pub(crate) fn round_trip(data: &[u8]) {
    let mut bytes = Bytes(data);
    let cx = read_context(&mut bytes);
    let mut headers = read_headers(&mut bytes);
    let fast = Propagation::w3c();
    fast.inject(&cx, &mut headers);
    let sent = span_of(&cx);
    match fast.creation_context(Some(&headers)) {
        Ok(read) => {
            assert_eq!(
                (read.trace_id(), read.span_id(), read.trace_flags()),
                (sent.trace_id(), sent.span_id(), sent.trace_flags())
            );
            let state = sent.trace_state().header();
            // Longer ones lose entries, and bytes at the ends of entries may be blanks.
            if state.len() <= 512 && !state.contains([' ', '\t']) {
                assert_eq!(read.trace_state(), sent.trace_state());
            }
        }
        Err(missing) => {
            assert!(!sent.is_valid());
            assert_eq!(missing, Missing::Absent);
        }
    }
}
