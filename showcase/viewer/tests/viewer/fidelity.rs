//! What was sent is what is read: every field, every type of value, and traces of a size that
//! real ones have.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use reqwest::StatusCode;
use serde_json::json;

use crate::running::Running;
use crate::spans::{pair, request, span, text, trace_hex, trace_id};

#[tokio::test]
async fn every_field_of_otlp_is_written() {
    let viewer = Running::start().await;
    let list = |values| ArrayValue { values };
    let some = |value| AnyValue { value: Some(value) };
    let full = Span {
        trace_id: trace_id(1),
        span_id: vec![0xab; 8],
        trace_state: "vendor=1".to_owned(),
        parent_span_id: vec![0xcd; 8],
        flags: 257,
        name: "send orders".to_owned(),
        kind: 4,
        start_time_unix_nano: 1,
        end_time_unix_nano: u64::MAX,
        attributes: vec![
            pair("s", text("é\u{0}\"<script>")),
            pair("b", Value::BoolValue(false)),
            pair("i", Value::IntValue(i64::MIN)),
            pair("d", Value::DoubleValue(5.0)),
            pair("nan", Value::DoubleValue(f64::NAN)),
            pair("inf", Value::DoubleValue(f64::INFINITY)),
            pair("ninf", Value::DoubleValue(f64::NEG_INFINITY)),
            pair("y", Value::BytesValue(vec![0, 1, 255])),
            pair(
                "a",
                Value::ArrayValue(list(vec![some(Value::IntValue(1)), AnyValue::default()])),
            ),
            pair(
                "m",
                Value::KvlistValue(KeyValueList {
                    values: vec![pair("k", text("v"))],
                }),
            ),
            KeyValue {
                key: "none".to_owned(),
                ..KeyValue::default()
            },
        ],
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 7,
            name: "exception".to_owned(),
            attributes: vec![pair("exception.type", text("Timeout"))],
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![Link {
            trace_id: trace_id(2),
            span_id: vec![0xef; 8],
            trace_state: "vendor=2".to_owned(),
            attributes: vec![pair("k", text("v"))],
            dropped_attributes_count: 4,
            flags: 1,
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "gone".to_owned(),
            code: 2,
        }),
    };
    let sent = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![pair("service.name", text("api"))],
                dropped_attributes_count: 6,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "rdkafka-otel".to_owned(),
                    version: "0.1.0".to_owned(),
                    attributes: vec![pair("k", text("v"))],
                    dropped_attributes_count: 7,
                }),
                spans: vec![full],
                schema_url: "https://scope.example".to_owned(),
            }],
            schema_url: "https://resource.example".to_owned(),
        }],
    };
    viewer.send(&sent).await;
    let attributes = json!([
        {"key": "s", "value": {"stringValue": "é\u{0}\"<script>"}},
        {"key": "b", "value": {"boolValue": false}},
        {"key": "i", "value": {"intValue": "-9223372036854775808"}},
        {"key": "d", "value": {"doubleValue": 5.0}},
        {"key": "nan", "value": {"doubleValue": "NaN"}},
        {"key": "inf", "value": {"doubleValue": "Infinity"}},
        {"key": "ninf", "value": {"doubleValue": "-Infinity"}},
        {"key": "y", "value": {"bytesValue": "AAH/"}},
        {"key": "a", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}},
        {"key": "none", "value": {}},
    ]);
    let k_v = json!([{"key": "k", "value": {"stringValue": "v"}}]);
    let events = json!([{
        "timeUnixNano": "7", "name": "exception", "droppedAttributesCount": 2,
        "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}],
    }]);
    let links = json!([{
        "traceId": "a0000000000000000000000000000002", "spanId": "efefefefefefefef",
        "traceState": "vendor=2", "attributes": k_v, "droppedAttributesCount": 4, "flags": 1,
    }]);
    let span = json!({
        "traceId": "a0000000000000000000000000000001", "spanId": "abababababababab",
        "traceState": "vendor=1", "parentSpanId": "cdcdcdcdcdcdcdcd", "flags": 257,
        "name": "send orders", "kind": 4,
        "startTimeUnixNano": "1", "endTimeUnixNano": "18446744073709551615",
        "attributes": attributes, "droppedAttributesCount": 1,
        "events": events, "droppedEventsCount": 3,
        "links": links, "droppedLinksCount": 5,
        "status": {"message": "gone", "code": 2},
    });
    let scope = json!({
        "name": "rdkafka-otel", "version": "0.1.0", "attributes": k_v, "droppedAttributesCount": 7,
    });
    let resource = json!({
        "attributes": [{"key": "service.name", "value": {"stringValue": "api"}}],
        "droppedAttributesCount": 6,
    });
    let expected = json!({"result": {"resourceSpans": [{
        "resource": resource,
        "scopeSpans": [{"scope": scope, "spans": [span], "schemaUrl": "https://scope.example"}],
        "schemaUrl": "https://resource.example",
    }]}});
    let path = format!("/api/v3/traces/{}", trace_hex(1));
    assert_eq!(viewer.get(&path).await, (StatusCode::OK, expected));
}

#[tokio::test]
async fn equal_resources_and_scopes_are_written_once() {
    let viewer = Running::start().await;
    let with_scope = |service: &str, scope: &str, id: u64| {
        let mut sent = request(service, vec![span(1, id, "x")]);
        scope.clone_into(
            &mut sent.resource_spans[0].scope_spans[0]
                .scope
                .as_mut()
                .unwrap()
                .name,
        );
        sent
    };
    for (service, scope, id) in [
        ("api", "http", 1),
        ("worker", "kafka", 2),
        ("api", "kafka", 3),
        ("worker", "kafka", 4),
        ("api", "http", 5),
    ] {
        viewer.send(&with_scope(service, scope, id)).await;
    }
    let (_, answer) = viewer
        .get(&format!("/api/v3/traces/{}", trace_hex(1)))
        .await;
    let mut shape = Vec::new();
    for resource in answer["result"]["resourceSpans"].as_array().unwrap() {
        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
        for scope in resource["scopeSpans"].as_array().unwrap() {
            let spans = scope["spans"].as_array().unwrap();
            let ids: Vec<_> = spans
                .iter()
                .map(|span| span["spanId"].as_str().unwrap())
                .collect();
            shape.push(format!(
                "{service} {} {}",
                scope["scope"]["name"],
                ids.join(" ")
            ));
        }
    }
    assert_eq!(
        shape,
        [
            r#""api" "http" 0000000000000001 0000000000000005"#,
            r#""api" "kafka" 0000000000000003"#,
            r#""worker" "kafka" 0000000000000002 0000000000000004"#,
        ]
    );
}

#[tokio::test]
async fn values_nested_without_end_do_not_make_a_trace_unreadable() {
    let viewer = Running::start().await;
    let mut value = text("core");
    for _ in 0..40 {
        value = Value::ArrayValue(ArrayValue {
            values: vec![AnyValue { value: Some(value) }],
        });
    }
    let mut deep = span(1, 1, "deep");
    deep.attributes = vec![pair("k", value)];
    viewer.send(&request("api", vec![deep])).await;
    let (status, answer) = viewer
        .get(&format!("/api/v3/traces/{}", trace_hex(1)))
        .await;
    assert_eq!(status, StatusCode::OK);
    let trace = trace_tree::Trace::from_otlp_json(&answer).unwrap();
    let mut value = &trace.spans[0].attributes["k"];
    let mut depth = 0;
    while let trace_tree::Value::Array(items) = value {
        value = &items[0];
        depth += 1;
    }
    assert_eq!(depth, 16);
    assert_eq!(value.as_str(), Some("(nested too deeply to show)"));
}

#[tokio::test]
async fn a_trace_of_ten_thousand_spans_is_kept_and_read_whole() {
    let viewer = Running::start().await;
    let all: Vec<Span> = (1..=10_000)
        .map(|id: u64| {
            let mut span = span(1, id, "step");
            if id > 1 {
                span.parent_span_id = (id / 2).to_be_bytes().to_vec();
            }
            span.attributes = vec![pair("messaging.kafka.offset", Value::IntValue(1))];
            span
        })
        .collect();
    for batch in all.chunks(512) {
        viewer.send(&request("api", batch.to_vec())).await;
    }
    let (status, answer) = viewer
        .get(&format!("/api/v3/traces/{}", trace_hex(1)))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["result"]["resourceSpans"].as_array().unwrap().len(),
        1
    );
    let trace = trace_tree::Trace::from_otlp_json(&answer).unwrap();
    assert_eq!((trace.spans.len(), trace.roots().len()), (10_000, 1));
    assert_eq!(viewer.store.counts().evicted_traces, 0);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let item = inner
            .clone()
            .prop_map(|value| AnyValue { value: Some(value) });
        prop_oneof![
            prop::collection::vec(item, 0..3)
                .prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            prop::collection::btree_map(any::<String>(), inner, 0..3).prop_map(|map| {
                let values = map
                    .into_iter()
                    .map(|(key, value)| pair(&key, value))
                    .collect();
                Value::KvlistValue(KeyValueList { values })
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::btree_map(any::<String>(), any_value(), 0..4).prop_map(|map| {
        map.into_iter()
            .map(|(key, value)| pair(&key, value))
            .collect()
    })
}

fn any_span() -> impl Strategy<Value = Span> {
    let id = || prop::array::uniform8(1_u8..);
    let link = (id(), attributes()).prop_map(|(id, attributes)| Link {
        trace_id: trace_id(2),
        span_id: id.to_vec(),
        attributes,
        ..Link::default()
    });
    let event = (any::<u64>(), any::<String>(), attributes()).prop_map(
        |(time_unix_nano, name, attributes)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count: 0,
        },
    );
    (
        (id(), prop::option::of(id()), any::<String>(), 0..=5),
        (any::<u64>(), any::<u64>(), attributes()),
        prop::collection::vec(event, 0..3),
        prop::collection::vec(link, 0..3),
        prop::option::of((0..=2, any::<String>())),
    )
        .prop_map(
            |((id, parent, name, kind), (start, end, attributes), events, links, status)| Span {
                trace_id: trace_id(1),
                span_id: id.to_vec(),
                parent_span_id: parent.map(Vec::from).unwrap_or_default(),
                name,
                kind,
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                attributes,
                events,
                links,
                status: status.map(|(code, message)| Status { code, message }),
                ..Span::default()
            },
        )
}

/// What a reader must see of a span, written without the code that is tested.
fn as_sent(span: &Span) -> trace_tree::Span {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    trace_tree::Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        name: span.name.clone(),
        service: "api".to_owned(),
        kind: trace_tree::Kind::ALL[usize::try_from(span.kind).unwrap()],
        start_unix_nano: span.start_time_unix_nano,
        end_unix_nano: span.end_time_unix_nano,
        attributes: map_as_sent(&span.attributes),
        resource: map_as_sent(&[pair("service.name", text("api"))]),
        scope: "tests".to_owned(),
        events: span
            .events
            .iter()
            .map(|event| trace_tree::Event {
                time_unix_nano: event.time_unix_nano,
                name: event.name.clone(),
                attributes: map_as_sent(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| trace_tree::Link {
                trace_id: hex(&link.trace_id),
                span_id: hex(&link.span_id),
                attributes: map_as_sent(&link.attributes),
            })
            .collect(),
        status: match &span.status {
            Some(Status { code: 1, .. }) => trace_tree::Status::Ok,
            Some(Status { code: 2, message }) => trace_tree::Status::Error(message.clone()),
            _ => trace_tree::Status::Unset,
        },
    }
}

fn map_as_sent(pairs: &[KeyValue]) -> BTreeMap<String, trace_tree::Value> {
    pairs
        .iter()
        .map(|pair| {
            (
                pair.key.clone(),
                value_as_sent(pair.value.as_ref().unwrap()),
            )
        })
        .collect()
}

fn value_as_sent(value: &AnyValue) -> trace_tree::Value {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => trace_tree::Value::String(text.clone()),
        Value::BoolValue(truth) => trace_tree::Value::Bool(*truth),
        Value::IntValue(number) => trace_tree::Value::Int(*number),
        Value::DoubleValue(number) => trace_tree::Value::Double(*number),
        Value::ArrayValue(array) => {
            trace_tree::Value::Array(array.values.iter().map(value_as_sent).collect())
        }
        Value::KvlistValue(list) => trace_tree::Value::Map(map_as_sent(&list.values)),
        other => panic!("{other:?} is not among those sent"),
    }
}

#[test]
fn any_span_is_read_as_it_was_sent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig::with_cases(128);
    proptest!(config, |(sent in any_span())| {
        let (text, read) = runtime.block_on(async {
            // Its own viewer: all the spans have one trace id.
            let viewer = Running::start().await;
            viewer.send(&request("api", vec![sent.clone()])).await;
            let (_, answer) = viewer.get(&format!("/api/v3/traces/{}", trace_hex(1))).await;
            viewer.stop().await;
            let read = trace_tree::Trace::from_otlp_json(&answer).unwrap();
            (trace_tree::render(&read), read)
        });
        let expected = trace_tree::Trace { spans: vec![as_sent(&sent)] };
        // Numbers that are none differ from themselves; their text does not.
        prop_assert_eq!(text, trace_tree::render(&expected));
        if !format!("{expected:?}").contains("NaN") {
            prop_assert_eq!(read, expected);
        }
    });
}
