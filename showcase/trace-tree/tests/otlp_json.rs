//! OTLP JSON as Jaeger, exporters and the protobuf rules write it, and what is refused.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use trace_tree::{Event, Kind, Link, OtlpJsonError, Span, Status, Trace, Value, render};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn with_span(span: Json) -> Json {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
}

fn minimal() -> Json {
    json!({"traceId": TRACE, "spanId": "b7ad6b7169203331"})
}

#[test]
fn everything_that_otlp_has_is_read() {
    let json: Json = serde_json::from_str(r#"{"result": {"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "orders-api"}},
            {"key": "process.pid", "value": {"intValue": "12"}}
        ]},
        "schemaUrl": "https://opentelemetry.io/schemas/1.44.0",
        "scopeSpans": [{"scope": {"name": "rdkafka-otel", "version": "0.1.0"}, "spans": [{
            "traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "B7AD6B7169203331",
            "parentSpanId": "00f067aa0ba902b7", "flags": 257,
            "name": "send orders", "kind": 4,
            "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": 1700000000000000002,
            "attributes": [
                {"key": "s", "value": {"stringValue": "x"}},
                {"key": "b", "value": {"boolValue": false}},
                {"key": "i", "value": {"intValue": "-5"}},
                {"key": "j", "value": {"intValue": 5}},
                {"key": "d", "value": {"doubleValue": 5.0}},
                {"key": "e", "value": {"doubleValue": 5}},
                {"key": "f", "value": {"doubleValue": "Infinity"}},
                {"key": "y", "value": {"bytesValue": "AAE="}},
                {"key": "a", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}},
                {"key": "l", "value": {"arrayValue": {}}},
                {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": true}}]}}},
                {"key": "n", "value": {}},
                {"key": "o"},
                {"key": "t", "value": {"intValue": "1"}},
                {"key": "t", "value": {"intValue": "2"}},
                {"key": "t", "value": {"intValue": "3"}}
            ],
            "events": [{"timeUnixNano": "7", "name": "exception", "attributes": [
                {"key": "exception.type", "value": {"stringValue": "Timeout"}}]}],
            "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "flags": 1, "attributes": [
                {"key": "k", "value": {"intValue": "1"}}]}],
            "status": {"code": 2, "message": "gone"}
        }]}]
    }]}}"#).unwrap();
    let owned = |pairs: Vec<(&str, Value)>| -> BTreeMap<String, Value> {
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let text = |text: &str| Value::String(text.to_owned());
    let span = Span {
        trace_id: TRACE.to_owned(),
        span_id: "b7ad6b7169203331".to_owned(),
        parent_span_id: Some("00f067aa0ba902b7".to_owned()),
        name: "send orders".to_owned(),
        service: "orders-api".to_owned(),
        kind: Kind::Producer,
        start_unix_nano: 1_700_000_000_000_000_001,
        end_unix_nano: 1_700_000_000_000_000_002,
        attributes: owned(vec![
            ("s", text("x")),
            ("b", Value::Bool(false)),
            ("i", Value::Int(-5)),
            ("j", Value::Int(5)),
            ("d", Value::Double(5.0)),
            ("e", Value::Double(5.0)),
            ("f", Value::Double(f64::INFINITY)),
            ("y", Value::Bytes("AAE=".to_owned())),
            ("a", Value::Array(vec![Value::Int(1), Value::Empty])),
            ("l", Value::Array(vec![])),
            ("m", Value::Map(owned(vec![("k", Value::Bool(true))]))),
            ("n", Value::Empty),
            ("o", Value::Empty),
            (
                "t",
                Value::Repeated(vec![Value::Int(1), Value::Int(2), Value::Int(3)]),
            ),
        ]),
        resource: owned(vec![
            ("service.name", text("orders-api")),
            ("process.pid", Value::Int(12)),
        ]),
        scope: "rdkafka-otel".to_owned(),
        events: vec![Event {
            time_unix_nano: 7,
            name: "exception".to_owned(),
            attributes: owned(vec![("exception.type", text("Timeout"))]),
        }],
        links: vec![Link {
            trace_id: TRACE.to_owned(),
            span_id: "00f067aa0ba902b7".to_owned(),
            attributes: owned(vec![("k", Value::Int(1))]),
        }],
        status: Status::Error("gone".to_owned()),
    };
    assert_eq!(
        Trace::from_otlp_json(&json),
        Ok(Trace { spans: vec![span] })
    );
    let unwrapped = &json["result"];
    assert_eq!(
        Trace::from_otlp_json(unwrapped),
        Trace::from_otlp_json(&json)
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let trace = Trace::from_otlp_json(&with_span(minimal())).unwrap();
    assert_eq!(render(&trace), "unknown_service: \"\" UNSPECIFIED\n");
    let span = &trace.spans[0];
    assert_eq!((span.start_unix_nano, span.end_unix_nano), (0, 0));
    assert_eq!(
        (&span.status, span.kind),
        (&Status::Unset, Kind::Unspecified)
    );
}

#[test]
fn kinds_and_status_codes_are_numbers_or_names() {
    let names = [
        "UNSPECIFIED",
        "INTERNAL",
        "SERVER",
        "CLIENT",
        "PRODUCER",
        "CONSUMER",
    ];
    for (number, name) in names.into_iter().enumerate() {
        for kind in [json!(number), json!(format!("SPAN_KIND_{name}"))] {
            let mut span = minimal();
            span["kind"] = kind;
            let trace = Trace::from_otlp_json(&with_span(span)).unwrap();
            assert_eq!(trace.spans[0].kind.as_str(), name);
        }
    }
    let statuses = [
        (json!(0), Status::Unset),
        (json!("STATUS_CODE_UNSET"), Status::Unset),
        (json!(1), Status::Ok),
        (json!("STATUS_CODE_OK"), Status::Ok),
        (json!(2), Status::Error(String::new())),
        (json!("STATUS_CODE_ERROR"), Status::Error(String::new())),
    ];
    for (code, status) in statuses {
        let mut span = minimal();
        span["status"] = json!({"code": code});
        assert_eq!(
            Trace::from_otlp_json(&with_span(span)).unwrap().spans[0].status,
            status
        );
    }
}

#[test]
fn a_root_has_no_parent_however_that_is_written() {
    for parent in [Json::Null, json!(""), json!("0000000000000000")] {
        let mut span = minimal();
        span["parentSpanId"] = parent;
        assert_eq!(
            Trace::from_otlp_json(&with_span(span)).unwrap().spans[0].parent_span_id,
            None
        );
    }
}

#[test]
fn of_spans_with_the_same_ids_the_first_is_kept() {
    let named = |name: &str, trace: &str| json!({"traceId": trace, "spanId": "b7ad6b7169203331", "name": name});
    let other = "f".repeat(32);
    let json = json!({"resourceSpans": [
        {"scopeSpans": [{"spans": [named("first", TRACE), named("second", TRACE)]}]},
        {"scopeSpans": [{"spans": [named("third", TRACE), named("other trace", &other)]}]},
    ]});
    let trace = Trace::from_otlp_json(&json).unwrap();
    let names: Vec<_> = trace.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["first", "other trace"]);
}

#[test]
fn an_answer_without_traces_is_empty_but_an_error_is_not() {
    for empty in [
        json!({"result": {}}),
        json!({"result": {"resourceSpans": []}}),
        json!({"resourceSpans": []}),
    ] {
        assert_eq!(Trace::from_otlp_json(&empty), Ok(Trace::default()));
    }
    let error = json!({"error": {"httpCode": 404, "message": "No traces found"}});
    assert_eq!(
        Trace::from_otlp_json(&error).unwrap_err().to_string(),
        r#"neither `resourceSpans` nor `result` in {"error":{"httpCode":404,"message":"No traces found"}}"#
    );
    for other in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(matches!(
            Trace::from_otlp_json(&other),
            Err(OtlpJsonError::NotTraces { .. })
        ));
    }
}

#[test]
fn a_wrong_field_is_refused_with_its_path() {
    let with = |name: &str, value: Json| {
        let mut span = minimal();
        span[name] = value;
        with_span(span)
    };
    let attribute = |value: Json| with("attributes", json!([{"key": "k", "value": value}]));
    let span = "resourceSpans[0].scopeSpans[0].spans[0]";
    let cases = [
        (
            json!({"result": "x"}),
            "result: expected an object, found \"x\"".to_owned(),
        ),
        (
            json!({"resourceSpans": 1}),
            "resourceSpans: expected a list, found 1".to_owned(),
        ),
        (
            json!({"resourceSpans": [1]}),
            "resourceSpans[0]: expected an object, found 1".to_owned(),
        ),
        (
            with("traceId", json!(null)),
            format!("{span}.traceId: expected 32 hex digits, not all zero, found null"),
        ),
        (
            with("traceId", json!("0".repeat(32))),
            format!("{span}.traceId: expected 32 hex digits, not all zero"),
        ),
        (
            with("traceId", json!("abc")),
            format!("{span}.traceId: expected 32 hex digits"),
        ),
        (
            with("traceId", json!("g".repeat(32))),
            format!("{span}.traceId: expected 32 hex digits"),
        ),
        (
            with("spanId", json!("")),
            format!("{span}.spanId: expected 16 hex digits"),
        ),
        (
            with("spanId", json!(5)),
            format!("{span}.spanId: expected a text, found 5"),
        ),
        (
            with("parentSpanId", json!("00")),
            format!("{span}.parentSpanId: expected 16 hex digits, or nothing"),
        ),
        (
            with("kind", json!(6)),
            format!("{span}.kind: expected a span kind"),
        ),
        (
            with("kind", json!("SERVER")),
            format!("{span}.kind: expected a span kind"),
        ),
        (
            with("name", json!({})),
            format!("{span}.name: expected a text, found {{}}"),
        ),
        (
            with("startTimeUnixNano", json!("1e9")),
            format!("{span}.startTimeUnixNano: expected nanoseconds"),
        ),
        (
            with("endTimeUnixNano", json!(-1)),
            format!("{span}.endTimeUnixNano: expected nanoseconds"),
        ),
        (
            with("status", json!({"code": 3})),
            format!("{span}.status.code: expected a status code"),
        ),
        (
            with("links", json!([{"traceId": TRACE}])),
            format!("{span}.links[0].spanId: expected 16 hex digits"),
        ),
        (
            with("events", json!([{"name": 1}])),
            format!("{span}.events[0].name: expected a text"),
        ),
        (
            attribute(json!("bare")),
            format!("{span}.attributes[0].value: expected an object such as"),
        ),
        (
            attribute(json!({"intValue": "5.0"})),
            format!("{span}.attributes[0].value.intValue: expected a value of"),
        ),
        (
            attribute(json!({"intValue": 5.5})),
            format!("{span}.attributes[0].value.intValue: expected a value of"),
        ),
        (
            attribute(json!({"boolValue": "true"})),
            format!("{span}.attributes[0].value.boolValue: expected a value of"),
        ),
        (
            attribute(json!({"arrayValue": {"values": [{"stringValue": 1}]}})),
            format!("{span}.attributes[0].value.arrayValue.values[0].stringValue: expected"),
        ),
    ];
    for (json, start) in cases {
        let message = Trace::from_otlp_json(&json).unwrap_err().to_string();
        assert!(message.starts_with(&start), "{json} gave {message}");
    }
    let long = Trace::from_otlp_json(&with("traceId", json!("é".repeat(100_000)))).unwrap_err();
    assert!(long.to_string().len() < 400);
}
