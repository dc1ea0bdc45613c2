//! The bytes are those that the SDK's own exporter sends.

use super::*;
use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;

fn resource() -> Resource {
    Resource::builder_empty()
        .with_schema_url(
            [
                KeyValue::new("service.name", "orders-api"),
                KeyValue::new("process.pid", 7),
            ],
            "https://opentelemetry.io/schemas/1.44.0",
        )
        .build()
}

fn scope(name: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(name)
        .with_version("1.2.3")
        .with_schema_url("https://example.org/schema")
        .with_attributes([KeyValue::new("a", true)])
        .build()
}

fn context(number: u8, state: TraceState) -> SpanContext {
    SpanContext::new(
        TraceId::from(u128::from(number) << 100 | 1),
        SpanId::from(u64::from(number)),
        TraceFlags::SAMPLED,
        number.is_multiple_of(2),
        state,
    )
}

fn plain(number: u8) -> SpanData {
    SpanData {
        span_context: context(number, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// Every kind of value, at its default and away from it, short and long.
fn values() -> Vec<KeyValue> {
    let long = "x".repeat(20_000);
    vec![
        KeyValue::new("text", "static"),
        KeyValue::new("owned", "ü".repeat(100)),
        KeyValue::new("shared", Value::String(Arc::<str>::from("shared").into())),
        KeyValue::new("long", long.clone()),
        KeyValue::new(long, ""),
        KeyValue::new("no", false),
        KeyValue::new("yes", true),
        KeyValue::new("zero", 0),
        KeyValue::new("most", i64::MAX),
        KeyValue::new("least", i64::MIN),
        KeyValue::new("half", 0.5),
        KeyValue::new("nothing", 0.0),
        KeyValue::new("not a number", f64::NAN),
        KeyValue::new("flags", Value::Array(Array::Bool(vec![true, false]))),
        KeyValue::new("numbers", Value::Array(Array::I64((0..200).collect()))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![0.0, -1.5]))),
        KeyValue::new(
            "texts",
            Value::Array(Array::String(vec!["a".into(), "".into()])),
        ),
        KeyValue::new("none", Value::Array(Array::String(Vec::new()))),
    ]
}

fn full(number: u8) -> SpanData {
    let state = TraceState::from_key_value([("vendor", "1"), ("other", "2")]).unwrap();
    let mut events = SpanEvents::default();
    events.events = vec![
        Event::new(
            "exception",
            UNIX_EPOCH + Duration::from_nanos(3),
            values(),
            4,
        ),
        Event::with_name(""),
    ];
    events.dropped_count = 300;
    let mut links = SpanLinks::default();
    links.links = vec![
        Link::new(context(5, state.clone()), values(), 2),
        Link::with_context(context(6, TraceState::NONE)),
    ];
    links.dropped_count = 1;
    SpanData {
        span_context: context(number, state),
        parent_span_id: SpanId::from(9),
        parent_span_is_remote: true,
        name: "POST /orders".into(),
        start_time: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        end_time: UNIX_EPOCH + Duration::new(1_800_000_001, 999_999_999),
        attributes: values(),
        dropped_attributes_count: 128,
        events,
        links,
        status: Status::error("it broke"),
        instrumentation_scope: scope("full"),
        ..plain(number)
    }
}

fn assert_same(spans: Vec<SpanData>, resource: &Resource) {
    let ours = request(&spans, &EncodedResource::new(resource));
    let theirs = ExportTraceServiceRequest {
        resource_spans: group_spans_by_resource_and_scope(
            spans,
            &ResourceAttributesWithSchema::from(resource),
        ),
    };
    // Decoded first: a difference is readable then.
    let decoded = ExportTraceServiceRequest::decode(&ours[..]).unwrap();
    if !format!("{decoded:?}").contains("NaN") {
        assert_eq!(decoded, theirs);
    }
    assert!(ours == theirs.encode_to_vec(), "the same, in other bytes");
}

#[test]
fn a_span_with_everything_is_as_the_sdk_writes_it() {
    assert_same(vec![full(1), full(2)], &resource());
}

#[test]
fn what_is_at_its_default_is_left_out() {
    assert_same(vec![plain(1)], &Resource::builder_empty().build());
    assert_same(Vec::new(), &resource());
}

#[test]
fn kinds_and_states_have_their_numbers() {
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    let states = [Status::Unset, Status::Ok, Status::error("")];
    for span_kind in kinds {
        for status in &states {
            let span = SpanData {
                span_kind: span_kind.clone(),
                status: status.clone(),
                ..plain(3)
            };
            assert_same(vec![span], &resource());
        }
    }
}

#[test]
fn spans_of_a_scope_stand_together_in_the_order_of_their_first() {
    let of = |number: u8, name: &'static str| SpanData {
        instrumentation_scope: scope(name),
        ..full(number)
    };
    let spans = (0..90).map(|number| of(number, ["a", "b", "c"][usize::from(number) * 7 % 3]));
    assert_same(spans.collect(), &resource());
}

#[test]
fn every_length_of_a_message_is_written_right() {
    for length in (0..700).chain([16_300, 16_384, 16_390, 2_097_100, 2_097_200]) {
        let span = SpanData {
            name: "n".repeat(length).into(),
            ..plain(1)
        };
        assert_same(vec![span], &resource());
    }
}

#[test]
fn times_before_1970_count_as_the_start_of_it() {
    let span = SpanData {
        start_time: UNIX_EPOCH - Duration::from_secs(1),
        ..plain(1)
    };
    assert_same(vec![span], &resource());
}
