//! Gateways that are away, answer rubbish, or would like to know more than they are told.

use crate::world::{World, approval, body, charged, gateway, order};
use axum::http::StatusCode;
use serde_json::json;
use service::testing::{Answer, answer, nowhere};
use uuid::Uuid;

const OUT_OF_ORDER: &str = "the payment gateway cannot be reached, or is out of order";
const REFUSED: &str = "the payment gateway refused the request, or gave an answer we cannot read";

#[tokio::test]
async fn a_gateway_that_is_away_is_503() {
    let world = World::at(&format!("http://{}", nowhere())).await;
    let answer = world.charge(Uuid::new_v4(), &body(order(), "pm_ok")).await;
    let away = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, OUT_OF_ORDER);
    assert_eq!(answer, away);
    assert!(world.stored().await.is_empty());
}

#[tokio::test]
async fn a_gateway_that_answers_rubbish_is_502_and_one_in_trouble_503() {
    let gateway = gateway().await;
    let world = World::at(&gateway.url).await;
    let ok = |body: serde_json::Value| (StatusCode::OK, body.to_string().into_bytes());
    let status = |status| (status, b"{}".to_vec());
    let mut huge = approval("a-1").1;
    huge.resize(1 << 20, b' ');
    let cases = [
        ((StatusCode::OK, b"<html>".to_vec()), 502),
        ((StatusCode::OK, b"\xff\x00".to_vec()), 502),
        ((StatusCode::OK, Vec::new()), 502),
        ((StatusCode::OK, huge.clone()), 502),
        ((StatusCode::SERVICE_UNAVAILABLE, huge), 502),
        (ok(json!({})), 502),
        (
            ok(json!({"authorization_id": "a", "outcome": "perhaps", "saved_methods": 2})),
            502,
        ),
        (
            ok(json!({"authorization_id": 1, "outcome": "approved", "saved_methods": 2})),
            502,
        ),
        (
            ok(json!({"authorization_id": "a", "outcome": "approved", "saved_methods": 1.5})),
            502,
        ),
        // Ids that could not be stored, or that would ask something else when they are verified.
        (approval(""), 502),
        (approval("a\0b"), 502),
        (approval("../authorize?x=1"), 502),
        (approval(&"a".repeat(129)), 502),
        (status(StatusCode::FOUND), 502),
        (status(StatusCode::BAD_REQUEST), 502),
        (status(StatusCode::UNAUTHORIZED), 502),
        (status(StatusCode::NOT_FOUND), 502),
        (status(StatusCode::TOO_MANY_REQUESTS), 503),
        (status(StatusCode::INTERNAL_SERVER_ERROR), 503),
        (status(StatusCode::SERVICE_UNAVAILABLE), 503),
    ];
    let (key, order) = (Uuid::new_v4(), order());
    for (given, expected) in cases {
        let shown = format!(
            "{} {:?}",
            given.0,
            String::from_utf8_lossy(&given.1[..given.1.len().min(80)])
        );
        gateway.answers([given]);
        let expected = if expected == 502 {
            Answer::problem(StatusCode::BAD_GATEWAY, REFUSED)
        } else {
            Answer::problem(StatusCode::SERVICE_UNAVAILABLE, OUT_OF_ORDER)
        };
        assert_eq!(
            world.charge(key, &body(order, "pm_ok")).await,
            expected,
            "{shown}"
        );
    }
    assert!(world.stored().await.is_empty());
    gateway.answers([approval(&"a".repeat(128))]);
    let answer = world.charge(key, &body(order, "pm_ok")).await;
    assert_eq!(answer, charged(key, order, "approved"));
}

#[tokio::test]
async fn the_gateway_is_told_nothing_of_the_trace() {
    let gateway = gateway().await;
    let world = World::start(&[
        ("PAYMENT_GATEWAY_URL", &gateway.url),
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ])
    .await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = reqwest::Client::new()
        .post(format!("{}/payments", world.service.url))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=1")
        .header("baggage", "tenant=acme")
        .json(&body(order(), "pm_ok"));
    // Without an idempotency key: the answer shows that the trace was taken over.
    let refused = answer(request.try_clone().unwrap()).await;
    assert_eq!(refused.body["trace_id"], trace_id);
    let charged = answer(request.header("idempotency-key", Uuid::new_v4().to_string())).await;
    assert_eq!(charged.status, 200);
    let asked = gateway.asked();
    let mut told: Vec<_> = asked[0].headers.keys().map(ToString::to_string).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "idempotency-key"
        ]
    );
}
