//! What payments answers, and what becomes of the order.

use crate::world::{World, failure, order, outcome, row};
use axum::http::StatusCode;
use order_events::{OrderStatus, OrderStatusChanged};
use serde_json::json;
use service::testing::{CannedAnswer, nowhere};
use std::iter;

#[tokio::test]
async fn an_order_is_charged_recorded_told_and_committed() {
    let world = World::new().await;
    let order = order(1);
    world.place(&order);
    let service = world.start(&[]).await;
    world.committed(1).await;
    service.stop().await;
    let charge = json!({
        "order_id": order.order_id,
        "amount": 2500,
        "currency": "EUR",
        "payment_method": "pm_ok",
    });
    assert_eq!(world.charges(), [(order.event_id.to_string(), charge)]);
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    assert_eq!(
        world.told(),
        [OrderStatusChanged::caused_by(&order, OrderStatus::Paid)]
    );
    assert!(world.dead_letters().is_empty());
}

#[tokio::test]
async fn every_answer_of_payments_has_its_outcome() {
    let world = World::new().await;
    let mut huge = outcome("approved");
    huge.1.resize(1 << 20, b' ');
    let ok = |body: &str| (StatusCode::OK, body.as_bytes().to_vec());
    let (unavailable, timeout, refused) =
        ("payment_unavailable", "payment_timeout", "payment_refused");
    // The answers in turn, the tries they take, and the outcome or the reason of the failure.
    type Case = (Vec<CannedAnswer>, usize, Result<OrderStatus, &'static str>);
    let cases: [Case; 14] = [
        (vec![outcome("approved")], 1, Ok(OrderStatus::Paid)),
        (vec![outcome("declined")], 1, Ok(OrderStatus::Declined)),
        (
            vec![
                failure(StatusCode::SERVICE_UNAVAILABLE),
                failure(StatusCode::GATEWAY_TIMEOUT),
                outcome("approved"),
            ],
            3,
            Ok(OrderStatus::Paid),
        ),
        (
            vec![failure(StatusCode::TOO_MANY_REQUESTS), outcome("declined")],
            2,
            Ok(OrderStatus::Declined),
        ),
        (
            vec![failure(StatusCode::SERVICE_UNAVAILABLE)],
            3,
            Err(unavailable),
        ),
        (
            vec![failure(StatusCode::INTERNAL_SERVER_ERROR)],
            3,
            Err(unavailable),
        ),
        (vec![failure(StatusCode::GATEWAY_TIMEOUT)], 3, Err(timeout)),
        (vec![failure(StatusCode::BAD_GATEWAY)], 1, Err(refused)),
        (
            vec![failure(StatusCode::UNPROCESSABLE_ENTITY)],
            1,
            Err(refused),
        ),
        (vec![failure(StatusCode::FOUND)], 1, Err(refused)),
        (vec![ok("<html>")], 1, Err(refused)),
        (vec![ok("{\"outcome\": \"perhaps\"}")], 1, Err(refused)),
        (vec![huge], 1, Err(refused)),
        // No answer at all, three times.
        (vec![], 3, Err(timeout)),
    ];
    let service = world.start(&[("PAYMENTS_TIMEOUT_MS", "400")]).await;
    for (number, (answers, tries, expected)) in iter::zip(1.., cases) {
        let order = order(number as u128);
        let (asked, letters) = (world.charges().len(), world.dead_letters().len());
        world.payments.answers(answers);
        world.place(&order);
        world.committed(number).await;

        let charges = world.charges().split_off(asked);
        assert_eq!(charges.len(), tries, "case {number}");
        assert!(
            charges
                .iter()
                .all(|(key, _)| *key == order.event_id.to_string())
        );
        let status = expected.unwrap_or(OrderStatus::PaymentFailed);
        assert!(
            world.stored().await.contains(&row(&order, status)),
            "case {number}"
        );
        let told = world.told().pop();
        assert_eq!(
            told,
            Some(OrderStatusChanged::caused_by(&order, status)),
            "case {number}"
        );
        let letters: Vec<_> = world.dead_letters().split_off(letters);
        let reasons: Vec<_> = letters
            .iter()
            .map(|letter| letter.header("dead-letter.error-type").unwrap())
            .collect();
        let reason: Vec<_> = expected.err().into_iter().collect();
        assert_eq!(reasons, reason, "case {number}");
    }
    service.stop().await;
    assert_eq!(world.stored().await.len(), 14);
    assert_eq!(world.told().len(), 14);
}

#[tokio::test]
async fn payments_that_is_away_is_tried_as_often_as_configured() {
    let world = World::new().await;
    let order = order(1);
    world.place(&order);
    let away = format!("http://{}", nowhere());
    let variables = [("PAYMENTS_URL", away.as_str()), ("PAYMENT_ATTEMPTS", "5")];
    let service = world.start(&variables).await;
    world.committed(1).await;
    let log = service.stop().await;
    assert_eq!(log.matches("; next try in ").count(), 4, "{log}");
    assert_eq!(
        world.stored().await,
        [row(&order, OrderStatus::PaymentFailed)]
    );
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload, Some(order.to_json().unwrap()));
    assert_eq!(
        letters[0].header("dead-letter.error-type"),
        Some("payment_unavailable")
    );
    assert_eq!(
        letters[0].header("dead-letter.reason"),
        Some("the order could not be paid: payments or its gateway is out of order")
    );
}
