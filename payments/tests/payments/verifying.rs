//! Whether a payment stands: what the store says, and what the gateway says about that.

use crate::world::{World, body, gateway, order};
use axum::http::StatusCode;
use serde_json::{Value, json};
use service::testing::{Answer, nowhere};
use uuid::Uuid;

fn verified(order: Uuid, outcome: Option<&str>, verified: bool) -> Answer {
    Answer::ok(json!({"order_id": order, "outcome": outcome, "verified": verified}))
}

async fn verify(world: &World, order: Uuid) -> Answer {
    world.get(&format!("/payments/verify/{order}")).await
}

#[tokio::test]
async fn what_was_approved_stands_and_what_was_declined_does_not() {
    let world = World::start(&[]).await;
    let (paid, declined) = (order(), order());
    world.charge(Uuid::new_v4(), &body(paid, "pm_ok")).await;
    world
        .charge(Uuid::new_v4(), &body(declined, "pm_declined"))
        .await;
    assert_eq!(
        verify(&world, paid).await,
        verified(paid, Some("approved"), true)
    );
    assert_eq!(
        verify(&world, declined).await,
        verified(declined, Some("declined"), false)
    );
    let unknown = order();
    assert_eq!(
        verify(&world, unknown).await,
        verified(unknown, None, false)
    );
}

#[tokio::test]
async fn the_gateway_has_the_last_word_on_an_approval_and_is_asked_about_nothing_else() {
    let gateway = gateway().await;
    let world = World::at(&gateway.url).await;
    let order = order();
    world.charge(Uuid::new_v4(), &body(order, "pm_ok")).await;
    let ok = |body: Value| (StatusCode::OK, body.to_string().into_bytes());
    let refused = Answer::problem(
        StatusCode::BAD_GATEWAY,
        "the payment gateway refused the request, or gave an answer we cannot read",
    );
    let cases = [
        (
            ok(json!({"authorized": true})),
            verified(order, Some("approved"), true),
        ),
        (
            ok(json!({"authorized": false})),
            verified(order, Some("approved"), false),
        ),
        (
            (StatusCode::NOT_FOUND, Vec::new()),
            verified(order, Some("approved"), false),
        ),
        (ok(json!({"authorized": "yes"})), refused),
    ];
    for (given, expected) in cases {
        gateway.answers([given]);
        assert_eq!(verify(&world, order).await, expected);
    }
    verify(&world, Uuid::new_v4()).await;
    let mut asked = vec!["POST /authorize"];
    asked.extend(["GET /authorizations/a-1"; 4]);
    assert_eq!(gateway.asked_what(), asked);
}

#[tokio::test]
async fn a_gateway_that_is_away_is_503() {
    let world = World::start(&[]).await;
    let order = order();
    world.charge(Uuid::new_v4(), &body(order, "pm_ok")).await;
    let away = format!("http://{}", nowhere());
    let world = world.restart(&[("PAYMENT_GATEWAY_URL", &away)]).await;
    assert_eq!(
        verify(&world, order).await,
        Answer::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the payment gateway cannot be reached, or is out of order",
        )
    );
}

#[tokio::test]
async fn an_order_id_is_a_uuid() {
    let world = World::start(&[]).await;
    let expected = Answer::problem(StatusCode::NOT_FOUND, "an order id is a UUID");
    for id in ["1", "%ff", "%00", "'%20OR%201=1"] {
        assert_eq!(
            world.get(&format!("/payments/verify/{id}")).await,
            expected,
            "{id}"
        );
    }
}
