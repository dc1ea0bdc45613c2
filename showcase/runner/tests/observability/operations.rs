//! Operating it: each thing that can go wrong is made to go wrong, and its alert is raised; every query
//! of the dashboard has data then; exemplars lead to traces that Jaeger has.
//!
//! `.ci/full metrics` runs these. How long a cause must last before an alert fires is `promtool`'s to
//! test; here an alert counts as soon as its expression has a result.

use crate::pipeline::{
    LIMIT, PERSON, Pipeline, ViewerAddress, arrived, client, final_status, order, post, trace_id,
};
use crate::programs::{Collector, Jaeger};
use crate::prometheus::{Prometheus, read};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

const SERVICES: [&str; 3] = ["orders-api", "order-processor", "payments"];
const POLL: Duration = Duration::from_millis(250);

struct World {
    jaeger: Jaeger,
    collector: Collector,
    prometheus: Prometheus,
    pipeline: Pipeline,
}

impl World {
    async fn start() -> World {
        let jaeger = Jaeger::start(&[]).await;
        let viewer = ViewerAddress::choose();
        let settings = [
            ("TAIL_SAMPLING_WAIT", "1s"),
            ("SPAN_METRICS_INTERVAL", "2s"),
            ("METRIC_EXPIRATION", "5s"),
        ];
        let collector = Collector::start(&jaeger, &viewer.otlp(), &settings).await;
        let prometheus = Prometheus::start(&collector).await;
        let endpoint = |signal: &str| format!("{}/v1/{signal}", collector.otlp());
        let mut environment = Vec::new();
        for service in SERVICES {
            environment.extend([
                (service, "OTEL_METRICS_EXPORTER", "otlp".to_owned()),
                (
                    service,
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    endpoint("metrics"),
                ),
                (service, "OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
                (service, "OTEL_LOGS_EXPORTER", "otlp".to_owned()),
                (
                    service,
                    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                    endpoint("logs"),
                ),
            ]);
        }
        let pipeline = Pipeline::start(&collector, &viewer, &environment).await;
        World {
            jaeger,
            collector,
            prometheus,
            pipeline,
        }
    }

    /// Posts an order of each of `customers`, and waits until all have ended with `status`.
    async fn ordered(&self, customers: &[String], method: &str, status: &str) -> Vec<Json> {
        let api = self.pipeline.stack.orders_api();
        let mut answers = Vec::new();
        for customer in customers {
            answers.push(post(&api, &order(customer, method)).await);
        }
        for answer in &answers {
            let id = answer["order_id"].as_str().expect("an id");
            assert_eq!(final_status(&api, id).await, status);
        }
        answers
    }

    async fn poison(&self) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", self.pipeline.stack.brokers())
            .create()
            .expect("a producer");
        let topic = format!("{}orders", self.pipeline.prefix);
        let record = FutureRecord::to(&topic).key("c-7").payload("no order");
        let sent = producer.send(record, LIMIT).await;
        sent.map_err(|(error, _)| error).expect("it is taken");
    }
}

fn customers(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|one| format!("{prefix}-{one}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_is_raised_by_its_cause_and_every_query_of_the_dashboard_has_data() {
    let mut world = World::start().await;
    let mut unanswered = dashboard_queries();

    // All is well, and nothing is raised.
    let paid = world.ordered(&customers("well", 12), "pm_ok", "paid").await;
    world
        .ordered(&customers("poor", 2), "pm_declined", "declined")
        .await;
    has_data(
        &world,
        "kafka_consumer_group_lag{messaging_consumer_group_name=~\".*order-processor\"}",
    )
    .await;
    has_data(
        &world,
        "throughline:queue_wait_seconds_bucket:increase5m > 0",
    )
    .await;
    silent(&world).await;

    world.poison().await;
    let letters = [
        ("alertname", "DeadLetters"),
        ("error_type", "invalid_event"),
    ];
    world.prometheus.alerted(&letters).await;

    let failed = world
        .ordered(&customers("down", 3), "pm_down", "payment_failed")
        .await;
    let answers = [("alertname", "HttpErrors"), ("service_name", "payments")];
    world.prometheus.alerted(&answers).await;
    let topic = format!("{}orders", world.pipeline.prefix);
    let processing = [
        ("alertname", "ProcessingErrors"),
        ("messaging_destination_name", &topic),
    ];
    world.prometheus.alerted(&processing).await;
    let letters = [
        ("alertname", "DeadLetters"),
        ("error_type", "payment_unavailable"),
    ];
    world.prometheus.alerted(&letters).await;
    answered(&world, &mut unanswered, Duration::ZERO).await;

    // The processor goes, and orders wait for it.
    let stack = &mut world.pipeline.stack;
    stack
        .stop_service("order-processor")
        .await
        .expect("it leaves");
    let began = Instant::now();
    let api = world.pipeline.stack.orders_api();
    let mut waiting = Vec::new();
    for customer in customers("late", 10) {
        waiting.push(post(&api, &order(&customer, "pm_ok")).await);
    }
    world
        .prometheus
        .alerted(&[("alertname", "OrderProcessorDown")])
        .await;
    // The threshold is five seconds: that is what the records must wait, not this test.
    tokio::time::sleep_until(began + Duration::from_secs(7)).await;

    // It comes back, and its spans go to someone who takes them and never answers.
    let hole = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let nowhere = format!(
        "http://{}/v1/traces",
        hole.local_addr().expect("an address")
    );
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = hole.accept().await {
            held.push(stream);
        }
    });
    let stack = &mut world.pipeline.stack;
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", nowhere.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ] {
        stack.set("order-processor", name, Some(value));
    }
    let again = stack.start_service("order-processor").await;
    again.expect("it starts again");
    let waited = [
        ("alertname", "QueueWaitLong"),
        ("messaging_destination_name", &topic),
    ];
    world.prometheus.alerted(&waited).await;
    for reason in ["queue_full", "export_failed"] {
        let lost = [
            ("alertname", "SpansLost"),
            ("service_name", "order-processor"),
            ("error_type", reason),
        ];
        world.prometheus.alerted(&lost).await;
    }

    answered(&world, &mut unanswered, LIMIT).await;
    let posted: Vec<&Json> = paid.iter().chain(&failed).chain(&waiting).collect();
    no_id_is_a_label(&world, &posted).await;
    exemplars_lead_to_traces(&world).await;
    logs_are_beside_their_trace(&world, &trace_id(&failed[0])).await;

    // Nothing is known any more, and that is said.
    world.collector.terminate().await;
    world
        .prometheus
        .alerted(&[("alertname", "MetricsMissing"), ("job", "pipeline")])
        .await;

    let raised = BTreeSet::from([
        "DeadLetters",
        "HttpErrors",
        "MetricsMissing",
        "OrderProcessorDown",
        "ProcessingErrors",
        "QueueWaitLong",
        "SpansLost",
    ]);
    let rules = world.prometheus.alerting_rules().await;
    assert_eq!(
        rules.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        raised
    );
}

/// Every query of the dashboard, as Grafana sends it for all environments.
fn dashboard_queries() -> BTreeSet<String> {
    let dashboard: Json =
        serde_json::from_str(&read("grafana/dashboards/pipeline.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let mut queries = BTreeSet::new();
    for panel in panels.filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let query = query
                .replace("$__rate_interval", "1m")
                .replace("$environment", ".*");
            assert!(!query.contains('$'), "{query}");
            queries.insert(query);
        }
    }
    assert!(queries.len() > 25, "{}", queries.len());
    queries
}

/// Takes from `queries` those that have data, until none is left or the time is over.
async fn answered(world: &World, queries: &mut BTreeSet<String>, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        for query in queries.clone() {
            let result = world.prometheus.query(&query).await;
            if result.iter().any(|(_, value)| value.is_finite()) {
                queries.remove(&query);
            }
        }
        if queries.is_empty() || within.is_zero() {
            return;
        }
        assert!(Instant::now() < deadline, "without data: {queries:#?}");
        tokio::time::sleep(POLL).await;
    }
}

async fn has_data(world: &World, query: &str) {
    answered(world, &mut BTreeSet::from([query.to_owned()]), LIMIT).await;
}

/// While the processor's first lag was awaited, the processor counted as absent.
async fn silent(world: &World) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let alerts = world.prometheus.alerts().await;
        if alerts.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{alerts:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Over everything that Prometheus was given, of services, spans and the Collector. The one id is that
/// of the process, `instance`.
async fn no_id_is_a_label(world: &World, posted: &[&Json]) {
    let mut ids = BTreeSet::from([PERSON.to_owned(), "late-1".to_owned()]);
    for answer in posted {
        ids.extend(
            ["order_id", "trace_id"].map(|id| answer[id].as_str().expect("an id").to_owned()),
        );
    }
    let series = world.prometheus.series().await;
    assert!(series.len() > 100, "{}", series.len());
    for labels in &series {
        for value in labels.values() {
            assert!(
                !ids.iter().any(|id| value.contains(id.as_str())),
                "{labels:?}"
            );
        }
    }
    for service in SERVICES {
        let of_service = series.iter().filter(|labels| {
            labels.get("job").is_some_and(|job| job == service)
                && labels["__name__"] != "target_info"
        });
        let mut count = 0;
        for labels in of_service {
            count += 1;
            assert_eq!(labels["service_name"], service, "{labels:?}");
            assert_eq!(
                labels["deployment_environment_name"], "development",
                "{labels:?}"
            );
        }
        assert!(count > 20, "{service}: {count}");
    }
}

async fn exemplars_lead_to_traces(world: &World) {
    for kind in ["SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER"] {
        let query = format!("traces_span_metrics_duration_seconds_bucket{{span_kind=\"{kind}\"}}");
        let traces = world.prometheus.exemplars(&query).await;
        assert!(!traces.is_empty(), "{kind}");
        for id in traces.iter().take(10) {
            assert!(!arrived(&world.jaeger, id).await.spans.is_empty());
        }
    }
}

/// What the second link of an exemplar opens.
async fn logs_are_beside_their_trace(world: &World, trace_id: &str) {
    let viewer = world.pipeline.stack.viewer();
    let url = format!("{viewer}/api/live/traces/{trace_id}");
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = client().get(&url).send().await.expect("the viewer answers");
        let text = answer.text().await.expect("a text");
        if text.contains("payment not settled") {
            return;
        }
        assert!(Instant::now() < deadline, "no log in time: {text}");
        tokio::time::sleep(POLL).await;
    }
}
