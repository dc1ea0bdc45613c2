//! Each way an order can go, as the exact trace it leaves.

use crate::world::{World, assert_trace, order};
use order_events::OrderPlaced;
use rdkafka::message::{Header, OwnedHeaders};
use reqwest::StatusCode;
use trace_tree::Kind;

const POISON: &[u8] = b"{\"customer\": \"zebulon.quixfeather@mail.example\"";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_is_one_trace_through_both_topics() {
    let world = World::shared().await;
    let (answer, trace) = world.trace_of(&order("pm_ok"), &[]).await;
    assert_trace("joined", &trace);
    let location = answer.location.clone().expect("a Location");
    assert_eq!(location, format!("/orders/{}", answer.text("order_id")));
    assert!(answer.text("trace_url").ends_with(answer.text("trace_id")));
    assert_eq!(world.final_status(&location).await, "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attribute_is_the_wait_that_the_spans_show() {
    let world = World::shared().await;
    let (_, trace) = world.trace_of(&order("pm_ok"), &[]).await;
    let span = |kind, name: &str| {
        trace
            .spans
            .iter()
            .find(|span| span.kind == kind && span.name == name)
            .expect("the span")
    };
    let process = span(Kind::Consumer, "process orders");
    let send = span(Kind::Producer, "send orders");
    let wait = process.attributes["kafka.record.queue_time_ms"]
        .as_int()
        .expect("an integer");
    // The record's timestamp is taken by the client in the course of the send span.
    let starts = (process.start_unix_nano / 1_000_000) as i64;
    let least = starts - (send.end_unix_nano / 1_000_000) as i64;
    let most = starts - (send.start_unix_nano / 1_000_000) as i64;
    assert!(
        (least.max(0)..=most).contains(&wait),
        "{least} <= {wait} <= {most}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_is_a_result_and_no_error() {
    let world = World::shared().await;
    let (answer, trace) = world.trace_of(&order("pm_declined"), &[]).await;
    assert_trace("declined", &trace);
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "declined");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_fails_twice_shows_every_try() {
    let world = World::shared().await;
    let (answer, trace) = world.trace_of(&order("pm_fail_twice"), &[]).await;
    assert_trace("failing_twice", &trace);
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_paid_is_dead_lettered_and_says_so() {
    let world = World::shared().await;
    let (answer, trace) = world.trace_of(&order("pm_down"), &[]).await;
    assert_trace("down", &trace);
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "payment_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_hangs_is_given_up_on() {
    let world = World::start(&[
        ("payments", "PAYMENT_GATEWAY_TIMEOUT_MS", "150"),
        ("order-processor", "PAYMENT_ATTEMPTS", "2"),
    ])
    .await;
    let (answer, trace) = world.trace_of(&order("pm_hang"), &[]).await;
    assert_trace("hanging", &trace);
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "payment_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_continued() {
    let world = World::shared().await;
    let (answer, trace) = world
        .trace_of(&order("pm_ok"), &[("traceparent", CALLER)])
        .await;
    assert_eq!(answer.text("trace_id"), "0af7651916cd43dd8448eb211c80319c");
    assert_trace("callers_trace", &trace);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_an_order_up_goes_through_payments_to_the_gateway() {
    let world = World::shared().await;
    let (answer, _) = world.trace_of(&order("pm_ok"), &[]).await;
    let location = answer.location.expect("a Location");
    let caller = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01";
    let found = world.get(&location, &[("traceparent", caller)]).await;
    assert_eq!(found.status, StatusCode::OK);
    assert_eq!(found.text("status"), "paid");
    assert_eq!(found.body["payment"]["verified"], true);
    let trace = world
        .trace_when("1af7651916cd43dd8448eb211c80319c", |trace| {
            trace.roots().len() == 1 && trace.roots()[0].name == "GET /orders/{id}"
        })
        .await;
    let trace = world
        .trace_when(&trace.spans[0].trace_id, |trace| trace.spans.len() >= 6)
        .await;
    assert_trace("looked_up", &trace);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_is_dead_lettered_as_it_came_and_stops_nobody() {
    let world = World::start(&[]).await;
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "tenant",
            value: Some(&b"\xff\x00binary"[..]),
        })
        .insert(Header {
            key: "traceparent",
            value: Some(&b"00-2af7651916cd43dd8448eb211c80319c-d7ad6b7169203331-01"[..]),
        })
        .insert(Header {
            key: "nothing",
            value: None::<&[u8]>,
        })
        .insert(Header {
            key: "tenant",
            value: Some(&b"again"[..]),
        });
    world.produce("orders", Some(POISON), headers).await;

    let trace = world
        .trace_when("2af7651916cd43dd8448eb211c80319c", |trace| {
            trace.spans.len() >= 2 && trace.roots().len() == 1
        })
        .await;
    assert_trace("poison", &trace);

    let letter = world.records("orders.dlq", 1).await.remove(0);
    assert_eq!(letter.key.as_deref(), Some(&b"c-7"[..]));
    assert_eq!(letter.payload.as_deref(), Some(POISON));
    let kept: Vec<_> = letter
        .headers
        .iter()
        .take(3)
        .map(|(key, value)| (key.as_slice(), value.as_deref()))
        .collect();
    assert_eq!(
        kept,
        [
            (&b"tenant"[..], Some(&b"\xff\x00binary"[..])),
            (b"nothing", None),
            (b"tenant", Some(b"again")),
        ]
    );
    assert_eq!(
        letter.header("dead-letter.error-type").as_deref(),
        Some("invalid_event")
    );
    assert_eq!(
        letter.header("dead-letter.reason").as_deref(),
        Some("the record is not an order: not JSON at line 1 column 47")
    );
    let send = trace
        .spans
        .iter()
        .find(|span| span.kind == Kind::Producer)
        .expect("the send span");
    assert_eq!(
        letter.header("traceparent"),
        Some(format!("00-{}-{}-01", send.trace_id, send.span_id))
    );

    // Same key, same partition: it comes after the poison.
    let (_, behind) = world.trace_of(&order("pm_ok"), &[]).await;
    assert_trace("joined", &behind);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_malformed_context_begins_a_trace_that_says_so() {
    let world = World::start(&[]).await;
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&b"00-nonsense-01"[..]),
    });
    world.produce("orders", Some(POISON), headers).await;

    let letter = world.records("orders.dlq", 1).await.remove(0);
    let context = letter.header("traceparent").expect("a context");
    let trace_id = context.split('-').nth(1).expect("a trace id");
    let trace = world
        .trace_when(trace_id, |trace| trace.spans.len() >= 2)
        .await;
    assert_trace("malformed_context", &trace);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_twice_has_one_effect() {
    let world = World::start(&[]).await;
    let (answer, _) = world.trace_of(&order("pm_ok"), &[]).await;
    let first = world.records("orders", 1).await.remove(0);
    let event = OrderPlaced::from_json(first.payload.as_deref()).expect("an event");
    assert_eq!(event.order_id.to_string(), answer.text("order_id"));

    world
        .produce("orders", first.payload.as_deref(), first.owned_headers)
        .await;
    let trace = world
        .trace_when(answer.text("trace_id"), |trace| {
            let of = |name: &str| trace.spans.iter().filter(|span| span.name == name).count();
            of("process orders") == 2 && of("process order-status") == 2 && of("UPDATE orders") == 2
        })
        .await;
    assert_trace("delivered_twice", &trace);
    let statuses = world.records("order-status", 2).await;
    assert_eq!(
        statuses[0].payload, statuses[1].payload,
        "one event, told twice"
    );
}
