//! Metrics have few series whatever callers and senders of records come up with, and no id is among
//! their labels.

use crate::collector::{Collector, Received};
use crate::world::{World, client, order};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, metric::Data, number_data_point::Value as Number,
};
use rdkafka::message::{Header, OwnedHeaders};
use reqwest::Method;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Every label of every metric of the three services, with all values that it may have. Ports are
/// those of the run, and topics and groups have no prefix.
const LABELS: &[(&str, &[&str])] = &[
    ("app.order.status", &["declined", "paid", "payment_failed"]),
    (
        "db.collection.name",
        &["orders", "payments", "processed_orders"],
    ),
    (
        "db.namespace",
        &["order-processor.db", "orders-api.db", "payments.db"],
    ),
    ("db.operation.name", &["INSERT", "SELECT", "UPDATE"]),
    (
        "db.query.summary",
        &[
            "INSERT orders",
            "INSERT payments",
            "INSERT processed_orders",
            "SELECT orders",
            "SELECT payments",
            "SELECT processed_orders",
            "UPDATE orders",
        ],
    ),
    ("db.system.name", &["sqlite"]),
    (
        "error.type",
        &[
            "503",
            "already_shutdown",
            "export_failed",
            "invalid_event",
            "payment_refused",
            "payment_timeout",
            "payment_unavailable",
            "queue_full",
        ],
    ),
    ("http.request.method", &["GET", "POST", "_OTHER"]),
    (
        "http.response.status_code",
        &["200", "202", "404", "405", "422", "503"],
    ),
    (
        "http.route",
        &[
            "/orders",
            "/orders/{id}",
            "/payments",
            "/payments/verify/{order_id}",
        ],
    ),
    ("kafka.record.missing_context.reason", &["malformed"]),
    ("kafka.record.timestamp_type", &["CreateTime"]),
    (
        "messaging.consumer.group.name",
        &["order-processor", "orders-api"],
    ),
    (
        "messaging.destination.name",
        &["order-status", "orders", "orders.dlq"],
    ),
    ("messaging.operation.name", &["poll", "process", "send"]),
    ("messaging.operation.type", &["receive", "send"]),
    ("messaging.system", &["kafka"]),
    ("network.protocol.version", &["1.1"]),
    (
        "otel.component.name",
        &["batching_log_processor/0", "batching_span_processor/0"],
    ),
    (
        "otel.component.type",
        &["batching_log_processor", "batching_span_processor"],
    ),
    ("server.address", &["127.0.0.1"]),
    ("url.scheme", &["http"]),
    (
        "url.template",
        &[
            "/authorizations/{authorization_id}",
            "/authorize",
            "/payments",
            "/payments/verify/{order_id}",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_adds_no_series_and_no_id_is_a_label() {
    const VARIANTS: usize = 40;
    let (collector, url) = Collector::start().await;
    let world = World::start(&[
        ("*", "OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("*", "OTEL_METRICS_EXPORTER", "otlp"),
    ])
    .await;
    let mut ids = BTreeSet::from(["c-7".to_owned()]);
    let mut posted = Vec::new();
    for method in ["pm_ok", "pm_declined", "pm_down"] {
        posted.push(world.post(&order(method), &[]).await);
    }
    for variant in 0..VARIANTS {
        let customer = format!("customer-{variant}");
        let method = format!("pm_variant_{variant}");
        let mut hostile = order(&method);
        hostile["customer"]["id"] = json!(customer);
        hostile["items"][0]["sku"] = json!(format!("sku-{variant}"));
        let agent = [("user-agent", &*format!("agent-{variant}"))];
        posted.push(world.post(&hostile, &agent).await);
        hostile["currency"] = json!(format!("C{variant}"));
        let refused = world.post(&hostile, &agent).await;
        assert_eq!(refused.status, 422, "{}", refused.body);

        let token = Method::from_bytes(format!("M{variant}").as_bytes()).expect("a token");
        for (method, path) in [
            (token.clone(), format!("/orders?page={variant}")),
            (token, format!("/{variant}")),
            (Method::GET, format!("/nowhere/{variant}")),
            (Method::GET, format!("/orders/id-{variant}")),
        ] {
            let url = format!("{}{path}", world.stack.orders_api());
            let answer = client().request(method, url).send().await;
            assert!(answer.expect("an answer").status().is_client_error());
        }
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: &format!("header-{variant}"),
                value: Some("any"),
            })
            .insert(Header {
                key: "traceparent",
                value: Some(&format!("00-{variant}")),
            });
        let payload = format!("{{\"order\": {variant}}}");
        world
            .produce("orders", Some(payload.as_bytes()), headers)
            .await;
        ids.extend([customer, method, format!("sku-{variant}")]);
    }
    for answer in &posted {
        assert_eq!(answer.status, 202, "{}", answer.body);
        let location = answer.location.as_deref().expect("a Location");
        world.final_status(location).await;
        ids.extend(["order_id", "trace_id"].map(|field| answer.text(field).to_owned()));
    }
    world.records("orders.dlq", VARIANTS + 1).await;
    let prefix = world.prefix().to_owned();
    // Leaving flushes what was counted.
    assert_eq!(world.stack.stop().await, Vec::<String>::new());

    let received = collector.received();
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for label in labels(&received) {
        let value = text(label).replace(&prefix, "");
        for id in &ids {
            assert!(!value.contains(id.as_str()), "{} is {value}", label.key);
        }
        if label.key != "server.port" {
            found.entry(&label.key).or_default().insert(value);
        }
    }
    let expected: BTreeMap<&str, BTreeSet<String>> = LABELS
        .iter()
        .map(|(key, values)| (*key, values.iter().map(|&value| value.to_owned()).collect()))
        .collect();
    assert_eq!(found, expected);

    let letters = [
        ("invalid_event", VARIANTS as i64),
        ("payment_refused", 0),
        ("payment_timeout", 0),
        ("payment_unavailable", 1),
    ];
    let letters = letters.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(dead_letters(&received), letters.into());
}

/// The counter of dead letters, by reason, as it stood in the end.
fn dead_letters(received: &Received) -> BTreeMap<String, i64> {
    let counters = metrics(received).filter(|metric| metric.name == "app.dead_letters");
    let points = counters.flat_map(|metric| match metric.data.as_ref() {
        Some(Data::Sum(sum)) => &*sum.data_points,
        other => panic!("{other:?}"),
    });
    let pairs = points.map(|point| match (&*point.attributes, &point.value) {
        ([reason], Some(Number::AsInt(count))) => (text(reason), *count),
        other => panic!("{other:?}"),
    });
    pairs.collect()
}

/// The labels of every point of every metric.
fn labels(received: &Received) -> impl Iterator<Item = &KeyValue> {
    metrics(received).flat_map(points).flatten()
}

fn metrics(received: &Received) -> impl Iterator<Item = &Metric> {
    received
        .metrics
        .iter()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
}

fn points(metric: &Metric) -> Vec<&[KeyValue]> {
    match metric.data.as_ref().expect("data") {
        Data::Gauge(it) => it.data_points.iter().map(|it| &*it.attributes).collect(),
        Data::Sum(it) => it.data_points.iter().map(|it| &*it.attributes).collect(),
        Data::Histogram(it) => it.data_points.iter().map(|it| &*it.attributes).collect(),
        other => panic!("{} is {other:?}", metric.name),
    }
}

fn text(label: &KeyValue) -> String {
    match label.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => panic!("{} is {other:?}", label.key),
    }
}
