//! What breaks, and what must hold all the same.

use crate::world::{LIMIT, World, assert_trace, order};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_refused_while_the_broker_is_down() {
    let mut world = World::with_own_broker(&[("orders-api", "KAFKA_SEND_TIMEOUT_MS", "300")]).await;
    let broker = world.stack.take("broker").expect("the broker");
    broker.kill().await;

    let caller = "00-3af7651916cd43dd8448eb211c80319c-e7ad6b7169203331-01";
    let answer = world
        .post(&order("pm_ok"), &[("traceparent", caller)])
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text("title"), "Service Unavailable");
    assert_eq!(answer.text("trace_id"), "3af7651916cd43dd8448eb211c80319c");
    let trace = world
        .trace_when("3af7651916cd43dd8448eb211c80319c", |trace| {
            trace.roots().len() == 1 && trace.roots()[0].name == "POST /orders"
        })
        .await;
    assert_trace("broker_down", &trace);

    // The order is on record as one that was never accepted.
    let id = trace.roots()[0].attributes["app.order.id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let found = world.get(&format!("/orders/{id}"), &[]).await;
    assert_eq!(found.text("status"), "not_accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_is_down_costs_no_order() {
    let nowhere = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let endpoint = format!("http://{nowhere}/v1/traces");
    let world = World::start(&[("*", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint)]).await;
    for _ in 0..3 {
        let answer = world.post(&order("pm_ok"), &[]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let location = answer.location.expect("a Location");
        assert_eq!(world.final_status(&location).await, "paid");
    }
    let log = world.data().join("orders-api.log");
    let kept = world.data().join("kept.log");
    std::fs::hard_link(&log, &kept).expect("a link");
    let stopped = tokio::time::timeout(LIMIT, world.stack.stop()).await;
    assert_eq!(stopped.expect("in time"), Vec::<String>::new());
    let log = std::fs::read_to_string(kept).expect("the log");
    assert!(log.contains("spans"), "says what was lost:\n{log}");
}

/// A payments service that holds each charge until the test lets it go.
#[derive(Clone)]
struct HeldPayments {
    charges: Arc<AtomicUsize>,
    asked: Arc<Notify>,
    released: Arc<Semaphore>,
}

impl HeldPayments {
    async fn start() -> (Self, String) {
        let payments = Self {
            charges: Arc::default(),
            asked: Arc::default(),
            released: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new()
            .route("/payments", post(charge))
            .with_state(payments.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (payments, url)
    }
}

async fn charge(State(payments): State<HeldPayments>) -> Json<Value> {
    payments.charges.fetch_add(1, Ordering::SeqCst);
    payments.asked.notify_one();
    let permit = payments.released.acquire().await.expect("open");
    permit.forget();
    Json(json!({"outcome": "approved"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_in_mid_processing_finishes_the_record_and_commits_it() {
    let (payments, url) = HeldPayments::start().await;
    let mut world = World::start(&[("order-processor", "PAYMENTS_URL", &url)]).await;
    let first = world.post(&order("pm_ok"), &[]).await;
    payments.asked.notified().await;

    let processor = world.stack.take("order-processor").expect("it runs");
    let stopping = tokio::spawn(processor.stop());
    payments.released.add_permits(1);
    assert!(stopping.await.expect("no panic").expect("exit code 0"));
    let trace = world.whole_trace(first.text("trace_id")).await;
    assert_trace("stopped_in_mid_processing", &trace);

    // A new member goes on behind it: same key, same partition.
    world
        .stack
        .start_service("order-processor")
        .await
        .expect("it starts again");
    payments.released.add_permits(1);
    let second = world.post(&order("pm_ok"), &[]).await;
    world.whole_trace(second.text("trace_id")).await;
    assert_eq!(payments.charges.load(Ordering::SeqCst), 2);
    let again = world.whole_trace(first.text("trace_id")).await;
    assert_trace("stopped_in_mid_processing", &again);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_mid_processing_charges_once_and_loses_nothing() {
    let (payments, url) = HeldPayments::start().await;
    let mut world = World::start(&[
        ("order-processor", "PAYMENTS_URL", &url),
        // The group must notice soon that a member is gone, on a real broker too.
        (
            "order-processor",
            "KAFKA_CONSUMER_PROPERTIES",
            "session.timeout.ms=6000,heartbeat.interval.ms=1000,fetch.wait.max.ms=10,\
             partition.assignment.strategy=range",
        ),
    ])
    .await;
    let answer = world.post(&order("pm_ok"), &[]).await;
    payments.asked.notified().await;
    // What has ended may be exported before the end or not, unless it is waited for.
    world
        .trace_when(answer.text("trace_id"), |trace| {
            trace
                .spans
                .iter()
                .any(|span| span.name == "SELECT processed_orders")
        })
        .await;
    let processor = world.stack.take("order-processor").expect("it runs");
    processor.kill().await;

    payments.released.add_permits(2);
    world
        .stack
        .start_service("order-processor")
        .await
        .expect("it starts again");
    let location = answer.location.as_deref().expect("a Location");
    assert_eq!(world.final_status(location).await, "paid");
    // The process span of the member that was killed died with it; the second try is whole.
    let trace = world
        .trace_when(answer.text("trace_id"), |trace| trace.spans.len() >= 13)
        .await;
    assert_trace("crashed_in_mid_processing", &trace);
    assert_eq!(payments.charges.load(Ordering::SeqCst), 2);
}
