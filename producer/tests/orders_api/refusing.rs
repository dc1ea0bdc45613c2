//! Orders that cannot be accepted, each refused in time with what is wrong, and with no effect.

use crate::world::{World, order};
use axum::http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use reqwest::Client;
use serde_json::{Value, json};
use service::testing::{Answer, answer};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A send or a statement that runs into its bound, the marking of the row after it, and some air.
const BOUND: Duration = Duration::from_secs(8);

fn not_published() -> Answer {
    Answer::problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the broker did not take the order in time; it was not accepted, try again",
    )
}

fn not_stored() -> Answer {
    Answer::problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the order could not be stored; it was not accepted, try again",
    )
}

#[tokio::test]
async fn a_body_that_is_no_order_is_refused() {
    let world = World::start(&[]).await;
    let json = Some("application/json");
    let cases: [(Option<&str>, Vec<u8>, StatusCode, &str); 5] = [
        (
            json,
            b"{\"customer\": zeb@mail.example}".to_vec(),
            StatusCode::BAD_REQUEST,
            "the body is not JSON at line 1 column 14",
        ),
        (
            json,
            Vec::new(),
            StatusCode::BAD_REQUEST,
            "the body is not JSON at line 1 column 0",
        ),
        (
            json,
            vec![b' '; 2_000_000],
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body may hold at most 65536 bytes",
        ),
        (
            Some("text/plain"),
            order().to_string().into_bytes(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body with `Content-Type: application/json`",
        ),
        (
            None,
            order().to_string().into_bytes(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body with `Content-Type: application/json`",
        ),
    ];
    for (content_type, body, status, detail) in cases {
        let mut request = Client::new().post(world.url("/orders")).body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(answer(request).await, Answer::problem(status, detail));
    }
    assert!(world.statuses().await.is_empty());
    assert!(world.broker.records("orders").is_empty());
}

#[tokio::test]
async fn every_field_at_fault_is_named_and_none_is_quoted() {
    let world = World::start(&[]).await;
    let refused = |errors: &[(&str, &str)]| {
        Answer::problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the order has fields that cannot be accepted; see errors",
        )
        .with_errors(errors)
    };
    let body = json!({
        "customer": {"id": "c 7", "name": "Zeb\0ulon", "email": "zeb"},
        "currency": "euro",
        "payment_method": "PM OK",
        "items": [
            {"sku": "", "quantity": 0, "unit_price": -1},
            {"sku": "a", "quantity": 1, "unit_price": 1},
            7
        ]
    });
    assert_eq!(
        world.post(&body).await,
        refused(&[
            ("/customer/id", "must be 1 to 64 letters, digits, -, _ or ."),
            (
                "/customer/name",
                "must be 1 to 200 characters, none of them a control character"
            ),
            (
                "/customer/email",
                "must be an e-mail address of at most 254 bytes"
            ),
            (
                "/currency",
                "must be three capital letters, an ISO 4217 code"
            ),
            ("/payment_method", "must be 1 to 64 of a-z, 0-9 and _"),
            ("/items/0/sku", "must be 1 to 64 letters, digits, -, _ or ."),
            ("/items/0/quantity", "must be an integer from 1 to 1000"),
            (
                "/items/0/unit_price",
                "must be an integer from 0 to 100000000"
            ),
            (
                "/items/2",
                "must be an object with sku, quantity and unit_price"
            ),
        ])
    );
    assert_eq!(
        world.post(&json!([])).await,
        refused(&[("", "must be an object")])
    );
    assert!(world.statuses().await.is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::start(&[]).await;
    let unknown = Answer::problem(StatusCode::NOT_FOUND, "there is no order with this id");
    for id in [
        Uuid::new_v4().to_string().as_str(),
        "1",
        "%ff",
        "%00",
        "a%2Fb",
    ] {
        assert_eq!(world.get(&format!("/orders/{id}")).await, unknown, "{id}");
    }
    let nothing = Answer::problem(StatusCode::NOT_FOUND, "there is no such resource");
    for path in ["/", "/order", "/orders/1/2", "/orders/"] {
        assert_eq!(world.get(path).await, nothing, "{path}");
    }
    for (method, path, allowed) in [
        ("GET", "/orders", "POST"),
        ("DELETE", "/orders/1", "GET,HEAD"),
    ] {
        let request = || Client::new().request(method.parse().unwrap(), world.url(path));
        let refused = Answer::problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "this resource has other methods; see the Allow header",
        );
        assert_eq!(answer(request()).await, refused);
        let response = request().send().await.unwrap();
        assert_eq!(response.headers()["allow"], allowed);
    }
}

#[tokio::test]
async fn a_broker_that_is_away_or_refuses_is_said_in_time() {
    let world = World::start(&[("KAFKA_SEND_TIMEOUT_MS", "500")]).await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    world
        .broker
        .mock
        .request_errors(RDKafkaApiKey::Produce, &[refusal]);
    assert_eq!(world.post(&order()).await, not_published());
    world
        .broker
        .mock
        .clear_request_errors(RDKafkaApiKey::Produce);

    world.broker.mock.broker_down(1).unwrap();
    let started = Instant::now();
    assert_eq!(world.post(&order()).await, not_published());
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    assert_eq!(world.statuses().await, ["not_accepted", "not_accepted"]);

    let id = world
        .database
        .texts("SELECT id FROM orders")
        .await
        .remove(0);
    let found = world.get(&format!("/orders/{id}")).await;
    assert_eq!(found.body["status"], "not_accepted");
}

#[tokio::test]
async fn a_database_that_is_away_is_said_in_time_and_nothing_is_published() {
    let world = World::start(&[]).await;
    let lock = world.database.lock("orders").await;
    let started = Instant::now();
    assert_eq!(world.post(&order()).await, not_stored());
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    lock.release().await;

    world
        .database
        .execute("ALTER TABLE orders RENAME TO elsewhere")
        .await;
    assert_eq!(world.post(&order()).await, not_stored());
    let found = world.get(&format!("/orders/{}", Uuid::new_v4())).await;
    let away = "the database does not answer; try again";
    assert_eq!(
        found,
        Answer::problem(StatusCode::SERVICE_UNAVAILABLE, away)
    );
    world
        .database
        .execute("ALTER TABLE elsewhere RENAME TO orders")
        .await;

    assert!(world.statuses().await.is_empty());
    assert!(world.broker.records("orders").is_empty());
    assert_eq!(world.post(&order()).await.status, 202);
}

/// JSON of any shape, and orders with one value replaced by any other.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let json = scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let pointers = [
        "",
        "/customer",
        "/customer/id",
        "/customer/name",
        "/customer/email",
        "/currency",
        "/payment_method",
        "/items",
        "/items/0",
        "/items/0/sku",
        "/items/0/quantity",
        "/items/0/unit_price",
    ];
    let altered = (prop::sample::select(pointers.to_vec()), json).prop_map(|(pointer, value)| {
        let mut order = order();
        *order.pointer_mut(pointer).unwrap() = value;
        order.to_string().into_bytes()
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..200), 9 => altered]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_accepted_whole_or_refused_with_a_reason() {
    let world = World::start(&[]).await;
    let runtime = tokio::runtime::Handle::current();
    let client = Client::new();
    let send = |body: Vec<u8>| {
        let request = client
            .post(world.url("/orders"))
            .header("content-type", "application/json")
            .body(body);
        tokio::task::block_in_place(|| runtime.block_on(answer(request)))
    };
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&bodies(), |body| {
        let answer = send(body);
        match answer.status {
            202 => prop_assert!(answer.location.is_some()),
            422 => prop_assert!(!answer.body["errors"].as_array().unwrap().is_empty()),
            status => prop_assert_eq!(status, 400),
        }
        Ok(())
    });
    outcome.unwrap();
    let accepted = world.broker.records("orders").len();
    assert_eq!(world.statuses().await, vec!["pending"; accepted]);
}
