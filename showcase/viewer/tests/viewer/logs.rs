//! Logs and OTLP as JSON: what is taken, where it is shown, and what it takes in memory.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use viewer::Store;

use crate::running::Running;
use crate::spans::{NOW, pair, request, span, text, trace_hex, trace_id};

fn record(trace: Vec<u8>, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: NOW,
        severity_number: 13,
        severity_text: "WARN".to_owned(),
        trace_id: trace,
        span_id: 1_u64.to_be_bytes().to_vec(),
        body: Some(AnyValue {
            value: Some(text(body)),
        }),
        attributes: vec![pair("k", text("v"))],
        ..LogRecord::default()
    }
}

fn logs(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![pair("service.name", text("api"))],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                log_records: records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

async fn post(viewer: &Running, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let url = format!("http://{}{path}", viewer.otlp_http);
    let request = viewer.client.post(url).header("content-type", content_type);
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], content_type);
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

fn shown(body: &str) -> Json {
    json!({
        "timeUnixNano": NOW.to_string(),
        "spanId": "0000000000000001",
        "service": "api",
        "severityNumber": 13,
        "severityText": "WARN",
        "body": {"stringValue": body},
        "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
    })
}

#[tokio::test]
async fn logs_of_a_trace_come_in_each_way_and_are_shown_with_it() {
    let viewer = Running::start().await;
    let request_of = |body: &str| logs(vec![record(trace_id(1), body)]);
    let protobuf = request_of("protobuf").encode_to_vec();
    let (status, answer) = post(&viewer, "/v1/logs", "application/x-protobuf", protobuf).await;
    assert_eq!(status, 200);
    let answer = ExportLogsServiceResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(answer.partial_success, None);

    let as_json = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]},
        "scopeLogs": [{"logRecords": [{
            "timeUnixNano": NOW.to_string(), "severityNumber": 13, "severityText": "WARN",
            "traceId": trace_hex(1), "spanId": "0000000000000001", "body": {"stringValue": "json"},
            "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
        }]}],
    }]});
    let body = as_json.to_string().into_bytes();
    let (status, answer) = post(&viewer, "/v1/logs", "application/json", body).await;
    assert_eq!(status, 200);
    let answer: Json = serde_json::from_slice(&answer).unwrap();
    assert!(answer["partialSuccess"].is_null(), "{answer}");

    let mut client = LogsServiceClient::connect(format!("http://{}", viewer.otlp_grpc))
        .await
        .unwrap();
    client.export(request_of("grpc")).await.unwrap();

    // Logs alone make no trace that could be shown.
    let path = format!("/api/live/traces/{}", trace_hex(1));
    assert_eq!(viewer.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(viewer.get("/api/live/traces").await.1["traces"], json!([]));
    viewer
        .send(&request("api", vec![span(1, 1, "GET /")]))
        .await;
    let (_, trace) = viewer.get(&path).await;
    assert_eq!(
        trace["logs"],
        json!([shown("protobuf"), shown("json"), shown("grpc")])
    );
    assert_eq!(viewer.store.counts().logs, 3);
}

#[tokio::test]
async fn spans_come_in_as_json_and_partial_success_is_told_in_json() {
    let viewer = Running::start().await;
    let span = |id: &str| {
        json!({"traceId": trace_hex(1), "spanId": id, "name": "GET /", "kind": 2,
            "startTimeUnixNano": NOW.to_string(), "endTimeUnixNano": (NOW + 1).to_string(),
            "attributes": [{"key": "n", "value": {"intValue": 7}}], "unknown": {"field": []}})
    };
    let body = json!({"resourceSpans": [{"scopeSpans": [{
        "spans": [span("0000000000000001"), span("0000000000000000")],
    }]}]});
    let body = body.to_string().into_bytes();
    let (status, answer) = post(&viewer, "/v1/traces", "application/json", body).await;
    assert_eq!(status, 200);
    let answer: Json = serde_json::from_slice(&answer).unwrap();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    assert!(*rejected == 1 || *rejected == "1", "{answer}");
    assert_eq!(viewer.store.counts().spans, 1);
    let (_, found) = viewer.search(&[("query.attributes", r#"{"n":"7"}"#)]).await;
    let spans = &found["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans[0]["name"], "GET /");

    for broken in ["", "[]", "{\"resourceSpans\":1}", "{", "\u{0}"] {
        let body = broken.as_bytes().to_vec();
        let (status, answer) = post(&viewer, "/v1/traces", "application/json", body).await;
        let answer: Json = serde_json::from_slice(&answer).unwrap();
        if broken == "[]" && status == 200 {
            continue;
        }
        assert_eq!((status, &answer["code"]), (400, &json!(3)), "{broken}");
    }
}

#[test]
fn logs_take_room_within_the_same_bound_and_go_with_their_trace() {
    let store = Store::new(100_000);
    store.insert_logs(logs(vec![record(trace_id(1), &"x".repeat(40_000))]));
    store.insert(request("api", vec![span(1, 1, "first")]));
    assert!(store.counts().bytes > 40_000);
    store.insert(request("api", vec![span(2, 1, "second")]));
    store.insert_logs(logs(vec![record(trace_id(2), &"x".repeat(70_000))]));
    let counts = store.counts();
    assert_eq!(
        (counts.traces, counts.logs, counts.evicted_traces),
        (1, 1, 1)
    );
    assert!(store.trace(&trace_id(1).try_into().unwrap()).is_none());
    store.insert_logs(logs(vec![record(trace_id(3), &"x".repeat(110_000))]));
    let counts = store.counts();
    assert_eq!((counts.traces, counts.logs, counts.bytes), (0, 0, 0));
}

#[test]
fn logs_that_name_no_trace_are_counted_and_not_kept() {
    let store = Store::new(100_000);
    store.insert_logs(logs(vec![
        record(Vec::new(), "none"),
        record(vec![0; 16], "zeros"),
        record(vec![1; 15], "short"),
    ]));
    let counts = store.counts();
    assert_eq!((counts.logs, counts.unattached_logs), (0, 3));
    assert_eq!((counts.traces, counts.bytes), (0, 0));
}
