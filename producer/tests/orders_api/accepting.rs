//! An order that is accepted is stored, published and found.

use crate::world::{World, order};
use axum::http::StatusCode;
use order_events::OrderPlaced;
use serde_json::json;
use service::testing::{Answer, answer, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

#[tokio::test]
async fn an_accepted_order_can_be_looked_up_at_once_and_is_on_the_topic() {
    let world = World::start(&[]).await;
    let accepted = world.post(&order()).await;
    let order_id: Uuid = accepted.body["order_id"].as_str().unwrap().parse().unwrap();
    let location = format!("/orders/{order_id}");
    assert_eq!(
        accepted,
        Answer {
            status: 202,
            location: Some(location.clone()),
            ..Answer::ok(json!({"order_id": order_id}))
        }
    );
    let found = world.get(&location).await;
    let placed_at = found.body["placed_at"].as_i64().unwrap();
    assert_eq!(
        found,
        Answer::ok(json!({
            "id": order_id,
            "status": "pending",
            "customer_id": "c-7",
            "currency": "EUR",
            "total": 2500,
            "items": order()["items"],
            "placed_at": placed_at,
            "payment": {"outcome": null, "verified": false},
        }))
    );

    let records = world.broker.records("orders");
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(record.key.as_deref(), Some(&b"c-7"[..]));
    assert_eq!(record.headers, []);
    let event = OrderPlaced::from_json(record.payload.as_deref()).unwrap();
    let items = serde_json::from_value(order()["items"].clone()).unwrap();
    let expected = OrderPlaced::new(
        order_id,
        "c-7".into(),
        "EUR".into(),
        "pm_ok".into(),
        items,
        placed_at,
    );
    assert_eq!(event, expected);
    assert_eq!(record.payload, Some(expected.to_json().unwrap()));
    let person = "SELECT customer_name || ' ' || customer_email FROM orders";
    let person = world.database.texts(person).await;
    assert_eq!(person, ["Zebulon Quixfeather zeb@mail.example"]);
    let log = world.service.stop().await;
    assert!(!log.contains("Zebulon") && !log.contains("zeb@"), "{log}");
}

#[tokio::test]
async fn the_answer_says_which_trace_it_is_and_where_to_look_at_it() {
    let world = World::start(&[
        (
            "TRACE_URL_TEMPLATE",
            "http://viewer/trace/{trace_id}?again={trace_id}",
        ),
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ])
    .await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = reqwest::Client::new()
        .post(world.url("/orders"))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .json(&order());
    let accepted = answer(request).await;
    assert_eq!(
        accepted.body,
        json!({
            "order_id": accepted.body["order_id"],
            "trace_id": trace_id,
            "trace_url": format!("http://viewer/trace/{trace_id}?again={trace_id}"),
        })
    );
    let record = world.broker.records("orders").remove(0);
    let traceparent = record.header("traceparent").unwrap();
    assert_eq!(&traceparent[3..35], trace_id);
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_no_order_half_accepted() {
    let world = World::start(&[("KAFKA_SEND_TIMEOUT_MS", "1500")]).await;
    world.broker.mock.broker_down(1).unwrap();
    let body = order().to_string();
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = world.service.url.trim_start_matches("http://");
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(request.as_bytes()).await.unwrap();
    eventually("the order is stored", async || {
        (world.statuses().await == ["pending"]).then_some(())
    })
    .await;
    drop(caller);
    world.come_to(&["not_accepted"]).await;
}

#[tokio::test]
async fn a_broker_that_comes_back_takes_orders_again_and_none_that_was_refused() {
    let world = World::start(&[("KAFKA_SEND_TIMEOUT_MS", "1000")]).await;
    assert_eq!(world.post(&order()).await.status, 202);
    world.broker.mock.broker_down(1).unwrap();
    assert_eq!(
        world.post(&order()).await,
        Answer::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker did not take the order in time; it was not accepted, try again",
        )
    );
    world.broker.mock.broker_up(1).unwrap();
    eventually("an order is accepted", async || {
        (world.post(&order()).await.status == 202).then_some(())
    })
    .await;
    let statuses = world.statuses().await;
    let accepted = statuses
        .iter()
        .filter(|status| *status == "pending")
        .count();
    assert_eq!(statuses[..2], ["pending", "not_accepted"]);
    assert_eq!(world.broker.records("orders").len(), accepted);
}
