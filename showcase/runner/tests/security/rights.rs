//! What the broker refuses while everything runs: a clear error with the right `error.type`, and
//! nothing is lost.

use crate::admin;
use crate::pipeline::{Pipeline, failed};
use crate::servers::{LIMIT, POLL, kafka, login};
use reqwest::StatusCode;
use tokio::time::Instant;
use trace_tree::Trace;

async fn start() -> Pipeline {
    // Consumers look for topics that are made again every five minutes otherwise.
    let quick = ["orders-api", "order-processor"].map(|service| {
        let look = "topic.metadata.refresh.interval.ms=1000".to_owned();
        (service, "KAFKA_CONSUMER_PROPERTIES", look)
    });
    Pipeline::start_with(kafka("SASL_SSL"), &login(), &quick).await
}

/// What the broker says of a topic that is missing, and what the client says once it knows.
const MISSING: &[&str] = &[
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_TOPIC",
    "_UNKNOWN_PARTITION",
];
const FORBIDDEN: &[&str] = &["TOPIC_AUTHORIZATION_FAILED"];
const TOO_LARGE: &[&str] = &["MSG_SIZE_TOO_LARGE"];

fn has_failed(name: &str, errors: &[&str]) -> impl Fn(&Trace) -> Result<(), String> {
    move |trace| {
        let class = failed(trace, name)?;
        assert!(errors.contains(&&*class), "{name}: {class}");
        Ok(())
    }
}

/// The order is refused, its row says so, and its send span why.
async fn is_refused(pipeline: &Pipeline, items: usize, errors: &[&str]) {
    let (status, body) = pipeline.post("pm_ok", items).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let trace_id = body["trace_id"].as_str().expect("a trace id");
    let trace = pipeline
        .trace_when(trace_id, has_failed("send orders", errors))
        .await;
    let trace = match trace.roots().first() {
        Some(_) => trace,
        None => {
            pipeline
                .trace_when(trace_id, |trace| match trace.roots().len() {
                    1 => Ok(()),
                    _ => Err(trace_tree::render(trace)),
                })
                .await
        }
    };
    let order_id = trace
        .spans
        .iter()
        .find_map(|span| span.attributes.get("app.order.id")?.as_str())
        .expect("the send span has the order's id");
    assert_eq!(pipeline.status(order_id).await, "not_accepted");
}

/// The order is accepted, and stays in hand for as long as its outcome cannot be told: its record is
/// not committed. `mended` then lets it go on, and it ends well.
async fn waits_until(pipeline: &Pipeline, errors: &[&str], mended: impl Future<Output = ()>) {
    let orders = pipeline.topic("orders");
    let group = pipeline.topic("order-processor");
    let before = admin::committed(&group, &orders).await;
    let (order_id, trace_id) = pipeline.accepted("pm_ok").await;
    pipeline
        .trace_when(&trace_id, has_failed("send order-status", errors))
        .await;
    assert_eq!(pipeline.status(&order_id).await, "pending");
    assert_eq!(admin::committed(&group, &orders).await, before);

    mended.await;
    pipeline.has_status(&order_id, "paid").await;
    let charges = |trace: &Trace| {
        let of = |name: &str| trace.spans.iter().filter(|span| span.name == name).count();
        match (of("POST /authorize"), of("process order-status")) {
            (1, 1) => Ok(()),
            _ => Err(trace_tree::render(trace)),
        }
    };
    pipeline.trace_when(&trace_id, charges).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_refuses_orders_and_loses_none() {
    let pipeline = start().await;
    let (orders, statuses) = (pipeline.topic("orders"), pipeline.topic("order-status"));
    pipeline.accepted("pm_ok").await;
    admin::forbid_writing(&statuses).await;
    let mended = admin::allow_writing(&statuses);
    waits_until(&pipeline, FORBIDDEN, mended).await;

    admin::forbid_writing(&orders).await;
    is_refused(&pipeline, 1, FORBIDDEN).await;
    admin::allow_writing(&orders).await;
    // The client may take a moment to ask again.
    let deadline = Instant::now() + LIMIT;
    while pipeline.post("pm_ok", 1).await.0 != StatusCode::ACCEPTED {
        assert!(Instant::now() < deadline, "orders are still refused");
        tokio::time::sleep(POLL).await;
    }
    pipeline.ends_without_a_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_refused_and_none_is_lost() {
    let pipeline = start().await;
    let (orders, statuses) = (pipeline.topic("orders"), pipeline.topic("order-status"));
    admin::limit_records(&orders, 1_500).await;
    is_refused(&pipeline, 50, TOO_LARGE).await;
    // A smaller one goes through.
    let (order_id, _) = pipeline.accepted("pm_ok").await;
    pipeline.has_status(&order_id, "paid").await;

    admin::limit_records(&statuses, 100).await;
    let mended = admin::limit_records(&statuses, 100_000);
    waits_until(&pipeline, TOO_LARGE, mended).await;
    pipeline.ends_without_a_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_said_and_no_record_is_lost() {
    let pipeline = start().await;
    let (orders, statuses) = (pipeline.topic("orders"), pipeline.topic("order-status"));
    admin::delete_topic(&statuses).await;
    let mended = admin::create_topic(&statuses);
    waits_until(&pipeline, MISSING, mended).await;

    admin::delete_topic(&orders).await;
    is_refused(&pipeline, 1, MISSING).await;
    pipeline.ends_without_a_secret().await;
}
