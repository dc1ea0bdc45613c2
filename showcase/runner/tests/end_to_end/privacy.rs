//! The customer's name and e-mail address stay in the database of `orders-api`.

use crate::collector::Collector;
use crate::world::{ADDRESS, PERSON, World, order};
use prost::Message;
use rdkafka::message::OwnedHeaders;
use serde_json::json;

const SERVICES: [&str; 3] = ["orders-api", "order-processor", "payments"];

/// Each text that would give the customer away, also in part.
fn secrets() -> [&'static str; 4] {
    ["Zebulon", "Quixfeather", "quixfeather", "mail.example"]
}

fn assert_free(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets() {
        assert!(!text.contains(secret), "{what} holds {secret}:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_appears_in_no_span_log_metric_header_or_baggage() {
    assert!(secrets().iter().any(|secret| PERSON.contains(secret)));
    assert!(secrets().iter().any(|secret| ADDRESS.contains(secret)));
    let (collector, url) = Collector::start().await;
    let traces = format!("{url}/v1/traces");
    let logs = format!("{url}/v1/logs");
    let world = World::start(&[
        ("*", "OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("*", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("*", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &logs),
        ("*", "OTEL_METRICS_EXPORTER", "otlp"),
        ("*", "OTEL_LOGS_EXPORTER", "otlp"),
        ("*", "RUST_LOG", "debug"),
    ])
    .await;

    let paid = world.post(&order("pm_ok"), &[]).await;
    let failed = world.post(&order("pm_down"), &[]).await;
    for answer in [&paid, &failed] {
        let location = answer.location.as_deref().expect("a Location");
        world.final_status(location).await;
        let found = world.get(location, &[]).await;
        assert_free("GET /orders/{id}", found.body.to_string().as_bytes());
    }
    // What is refused, or cannot be read, may be personal too.
    let mut refused = order("pm_ok");
    refused["currency"] = json!(ADDRESS);
    refused["items"][0]["sku"] = json!(PERSON);
    let refused = world.post(&refused, &[]).await;
    assert_eq!(refused.status, 422);
    assert_free("422", refused.body.to_string().as_bytes());
    let poison = format!("{{\"order_id\": \"{ADDRESS}\", \"name\": \"{PERSON}\"}}");
    world
        .produce("orders", Some(poison.as_bytes()), OwnedHeaders::new())
        .await;
    let letters = world.records("orders.dlq", 2).await;
    let mut records = world.records("orders", 2).await;
    records.extend(world.records("order-status", 2).await);

    let logs: Vec<String> = SERVICES.iter().map(|service| world.log(service)).collect();
    assert_eq!(world.stack.stop().await, Vec::<String>::new());

    for record in letters.iter().chain(&records) {
        for (key, value) in &record.headers {
            assert_free("a header", key);
            assert_free("a header", value.as_deref().unwrap_or_default());
        }
        assert_free("a key", record.key.as_deref().unwrap_or_default());
    }
    for record in &records {
        let payload = record.payload.as_deref().unwrap_or_default();
        if payload != poison.as_bytes() {
            assert_free("an event", payload);
        }
    }
    for (service, log) in SERVICES.iter().zip(&logs) {
        assert!(!log.is_empty(), "{service} logs");
        assert_free(service, log.as_bytes());
    }
    let received = collector.received();
    assert!(!received.traces.is_empty() && !received.logs.is_empty());
    assert!(!received.metrics.is_empty());
    for request in &received.traces {
        assert_free("a span", &request.encode_to_vec());
    }
    for request in &received.logs {
        assert_free("a log record", &request.encode_to_vec());
    }
    for request in &received.metrics {
        assert_free("a metric", &request.encode_to_vec());
    }
}
