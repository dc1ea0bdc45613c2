//! Requests that cannot be served, each answered with what is wrong.

use crate::world::{World, body, order};
use axum::http::StatusCode;
use reqwest::Client;
use serde_json::{Value, json};
use service::testing::{Answer, answer};
use uuid::Uuid;

#[tokio::test]
async fn a_charge_needs_a_key_that_is_a_uuid() {
    let world = World::start(&[]).await;
    let expected = Answer::problem(
        StatusCode::BAD_REQUEST,
        "send an `Idempotency-Key` header that holds a UUID; the same key charges once",
    );
    for key in [None, Some(&b""[..]), Some(b"1"), Some(b"\xff")] {
        let mut request = Client::new()
            .post(format!("{}/payments", world.service.url))
            .json(&body(order(), "pm_ok"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        assert_eq!(answer(request).await, expected, "{key:?}");
    }
    assert!(world.stored().await.is_empty());
}

#[tokio::test]
async fn every_field_at_fault_is_named() {
    let world = World::start(&[]).await;
    let faults = [
        ("/order_id", "must be a UUID"),
        ("/amount", "must be an integer from 0, in minor units"),
        (
            "/currency",
            "must be three capital letters, an ISO 4217 code",
        ),
        (
            "/payment_method",
            "must be 1 to 64 visible ASCII characters",
        ),
    ];
    let refused = |errors: &[(&str, &str)]| {
        Answer::problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the charge has fields that cannot be accepted; see errors",
        )
        .with_errors(errors)
    };
    let charge = async |body: &Value| world.charge(Uuid::new_v4(), body).await;
    for nothing in [json!({}), json!([]), json!(null), json!("order_id")] {
        assert_eq!(charge(&nothing).await, refused(&faults), "{nothing}");
    }
    let cases = [
        ("order_id", json!(7), 0),
        ("order_id", json!("7"), 0),
        ("amount", json!(-1), 1),
        ("amount", json!(1.5), 1),
        ("amount", json!(u64::MAX), 1),
        ("amount", json!("2500"), 1),
        ("currency", json!("eur"), 2),
        ("currency", json!("EURO"), 2),
        ("currency", json!("E\0R"), 2),
        ("payment_method", json!(""), 3),
        ("payment_method", json!("pm\0"), 3),
        ("payment_method", json!("p".repeat(65)), 3),
        ("payment_method", json!(null), 3),
    ];
    for (field, value, fault) in cases {
        let mut body = body(order(), "pm_ok");
        body[field] = value;
        assert_eq!(
            charge(&body).await,
            refused(&faults[fault..=fault]),
            "{body}"
        );
    }
    assert!(world.stored().await.is_empty());
    let mut most = body(order(), "pm_ok");
    most["amount"] = json!(i64::MAX);
    assert_eq!(charge(&most).await.status, 200);
}

#[tokio::test]
async fn it_is_ready_while_its_database_answers() {
    let world = World::start(&[]).await;
    for path in ["healthz", "readyz"] {
        let response = reqwest::get(format!("{}/{path}", world.service.url))
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    let unknown = world.get("/payments").await;
    assert_eq!(unknown.status, 405);
    let unknown = world.get("/").await;
    assert_eq!(
        unknown,
        Answer::problem(StatusCode::NOT_FOUND, "there is no such resource")
    );
}
