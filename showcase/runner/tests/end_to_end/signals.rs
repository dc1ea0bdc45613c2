//! Traces, metrics and logs belong together: one resource, and ids that lead from one to another.

use crate::collector::{Attributes, Collector};
use crate::world::{LIMIT, World, client, order};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use trace_tree::Kind;

const SERVICES: [&str; 3] = ["orders-api", "order-processor", "payments"];

#[tokio::test(flavor = "multi_thread")]
async fn the_resource_is_the_same_on_all_three_signals() {
    let (collector, url) = Collector::start().await;
    let traces = format!("{url}/v1/traces");
    let logs = format!("{url}/v1/logs");
    let world = World::start(&[
        ("*", "OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("*", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("*", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &logs),
        ("*", "OTEL_METRICS_EXPORTER", "otlp"),
        ("*", "OTEL_LOGS_EXPORTER", "otlp"),
        (
            "*",
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test,team=a",
        ),
    ])
    .await;
    let answer = world.post(&order("pm_ok"), &[]).await;
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "paid");
    // Leaving flushes all three.
    assert_eq!(world.stack.stop().await, Vec::<String>::new());

    let received = collector.received();
    let [traces, metrics, logs] = received.resources();
    for service in SERVICES {
        let name = format!("{service:?}");
        let of_service = |resources: &[Attributes]| -> BTreeSet<Attributes> {
            resources
                .iter()
                .filter(|resource| {
                    resource
                        .get("service.name")
                        .is_some_and(|value| value.contains(&name))
                })
                .cloned()
                .collect()
        };
        let resource = of_service(&traces);
        assert_eq!(resource.len(), 1, "one resource of {service}");
        assert_eq!(resource, of_service(&metrics), "metrics of {service}");
        assert_eq!(resource, of_service(&logs), "logs of {service}");
        let resource = resource.first().expect("it");
        for (key, value) in [
            ("deployment.environment.name", "\"test\""),
            ("team", "\"a\""),
            ("service.version", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(resource[key].contains(value), "{key} of {service}");
        }
        assert!(resource.contains_key("service.instance.id"));
    }

    let histograms: BTreeSet<&str> = received
        .metrics
        .iter()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .filter(|metric| matches!(metric.data, Some(Data::Histogram(_))))
        .map(|metric| metric.name.as_str())
        .collect();
    for name in [
        "app.order.duration",
        "db.client.operation.duration",
        "http.client.request.duration",
        "http.server.request.duration",
        "kafka.record.queue_time",
        "messaging.client.operation.duration",
        "messaging.process.duration",
    ] {
        assert!(histograms.contains(name), "{name} among {histograms:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_in_a_business_step_has_the_ids_of_that_step() {
    let world = World::start(&[("*", "LOG_FORMAT", "json")]).await;
    let (answer, trace) = world.trace_of(&order("pm_ok"), &[]).await;
    let step = trace
        .spans
        .iter()
        .find(|span| span.name == "settle payment")
        .expect("the step");
    let parent = step.parent_span_id.as_deref().and_then(|id| trace.span(id));
    let parent = parent.expect("its parent");
    assert_eq!(
        (parent.name.as_str(), parent.kind),
        ("process orders", Kind::Consumer)
    );

    let log = world.log("order-processor");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let line = lines
        .iter()
        .find(|line| line["message"] == "payment settled")
        .expect("the line of the step");
    assert_eq!(line["trace_id"], trace.spans[0].trace_id.as_str());
    assert_eq!(line["span_id"], step.span_id.as_str());
    assert_eq!(line["service"], "order-processor");

    // At an edge, where there is an API span and no `tracing` span, the ids are there too.
    let server = trace
        .spans
        .iter()
        .find(|span| span.name == "POST /orders")
        .expect("the server span");
    let log = world.log("orders-api");
    let accepted = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|line| line["message"] == "order accepted")
        .expect("the line of the edge");
    assert_eq!(accepted["trace_id"], answer.text("trace_id"));
    assert_eq!(accepted["span_id"], server.span_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_leave_no_trace() {
    let world = World::start(&[]).await;
    for _ in 0..5 {
        let answer = client()
            .get(format!("{}/readyz", world.stack.orders_api()))
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success());
    }
    // An order after them: what they had left would have been exported before its spans.
    world.trace_of(&order("pm_ok"), &[]).await;
    let operations = format!(
        "{}/api/v3/operations?service=orders-api&span_kind=server",
        world.stack.viewer()
    );
    let deadline = Instant::now() + LIMIT;
    let names = loop {
        let text = client()
            .get(&operations)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        if text.contains("POST /orders") {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert!(!names.contains("readyz"), "{names}");
}
