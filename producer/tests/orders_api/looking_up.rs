//! An order is shown with its payment, or without one where payments cannot tell.

use crate::world::{World, order};
use axum::http::StatusCode;
use serde_json::{Value, json};
use service::testing::nowhere;
use std::time::{Duration, Instant};

async fn payment(world: &World, location: &str) -> Value {
    let found = world.get(location).await;
    assert_eq!(found.status, 200);
    assert_eq!(found.body["status"], "pending");
    found.body["payment"].clone()
}

#[tokio::test]
async fn the_payment_is_what_payments_says_of_this_order() {
    let world = World::start(&[("PAYMENTS_TIMEOUT_MS", "500")]).await;
    let location = world.post(&order()).await.location.unwrap();
    let ok = |body: &str| (StatusCode::OK, body.as_bytes().to_vec());
    let mut huge = ok(r#"{"outcome": "approved", "verified": true}"#);
    huge.1.resize(1 << 20, b' ');
    let cases = [
        (
            ok(r#"{"outcome": "approved", "verified": true, "more": 1}"#),
            json!({"outcome": "approved", "verified": true}),
        ),
        (
            ok(r#"{"outcome": "declined", "verified": false}"#),
            json!({"outcome": "declined", "verified": false}),
        ),
        (ok("{}"), json!(null)),
        (ok("<html>"), json!(null)),
        (huge, json!(null)),
        ((StatusCode::NOT_FOUND, Vec::new()), json!(null)),
        ((StatusCode::SERVICE_UNAVAILABLE, Vec::new()), json!(null)),
    ];
    for (given, expected) in cases {
        world.payments.answers([given]);
        assert_eq!(payment(&world, &location).await, expected);
    }
    let order_id = location.trim_start_matches("/orders/");
    let asked = format!("GET /payments/verify/{order_id}");
    assert_eq!(world.payments.asked_what(), vec![asked; 7]);

    world.payments.answers([]);
    let started = Instant::now();
    assert_eq!(payment(&world, &location).await, json!(null));
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn an_order_is_shown_while_payments_is_away() {
    let away = format!("http://{}/", nowhere());
    let world = World::start(&[("PAYMENTS_URL", &away)]).await;
    let location = world.post(&order()).await.location.unwrap();
    assert_eq!(payment(&world, &location).await, json!(null));
}
