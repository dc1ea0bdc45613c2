//! Spans of our own making, sent as OTLP JSON: leaks on purpose, and marks in the stream.

use crate::pipeline::client;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

/// A random trace id.
pub(crate) fn new_trace_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A span of one millisecond that went well, of service `probe`.
pub(crate) fn span(trace_id: &str, name: &str) -> Json {
    let start = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_nanos();
    json!({
        "traceId": trace_id,
        "spanId": &trace_id[..16],
        "name": name,
        "kind": 4,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 1_000_000).to_string(),
    })
}

/// A request with this one span.
pub(crate) fn request(span: Json) -> Json {
    json!({"resourceSpans": [{
        "resource": {"attributes": [attribute("service.name", "probe")]},
        "scopeSpans": [{"scope": {"name": "probe"}, "spans": [span]}],
    }]})
}

pub(crate) fn attribute(key: &str, value: &str) -> Json {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Whether the receiver at `otlp` accepts the request.
pub(crate) async fn is_accepted(otlp: &str, request: &Json) -> bool {
    let answer = client()
        .post(format!("{otlp}/v1/traces"))
        .json(request)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let is_accepted = answer.status() == StatusCode::OK;
            // An answer that breaks off is none.
            is_accepted && answer.bytes().await.is_ok()
        }
        Err(_) => false,
    }
}

/// Sends a span that the receiver must accept.
pub(crate) async fn send(otlp: &str, span: Json) {
    assert!(is_accepted(otlp, &request(span)).await, "{otlp} refuses");
}

/// A trace that sampling keeps whatever its share: the letter of a dead-lettered record. It has no
/// error and is quick.
pub(crate) fn dead_letter(trace_id: &str) -> Json {
    let mut span = span(trace_id, "send orders.dlq");
    span["attributes"] = json!([attribute("messaging.destination.name", "orders.dlq")]);
    span
}
