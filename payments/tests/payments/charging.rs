//! An order is charged once, and every answer of the gateway becomes the right one of ours.

use crate::world::{World, approval, body, charged, gateway, order};
use axum::http::StatusCode;
use serde_json::json;
use service::testing::{Answer, StandIn, eventually};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test]
async fn asking_again_charges_nothing_also_after_a_restart() {
    let gateway = gateway().await;
    let world = World::at(&gateway.url).await;
    let (key, order) = (Uuid::new_v4(), order());
    for _ in 0..2 {
        let answer = world.charge(key, &body(order, "pm_ok")).await;
        assert_eq!(answer, charged(key, order, "approved"));
    }
    let world = world
        .restart(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    let answer = world.charge(key, &body(order, "pm_ok")).await;
    assert_eq!(answer, charged(key, order, "approved"));
    assert_eq!(gateway.asked_what(), ["POST /authorize"]);
    assert_eq!(
        gateway.asked()[0].headers["idempotency-key"],
        key.to_string().as_str()
    );
    assert_eq!(world.stored().await, [format!("{key} 2500 approved")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_at_the_same_time_charges_once() {
    let world = Arc::new(World::start(&[]).await);
    let (key, order) = (Uuid::new_v4(), order());
    let charging: Vec<_> = (0..16)
        .map(|_| {
            let world = world.clone();
            // Slow enough that every request has begun before the first is answered.
            tokio::spawn(async move { world.charge(key, &body(order, "pm_slow")).await })
        })
        .collect();
    for answer in charging {
        assert_eq!(answer.await.unwrap(), charged(key, order, "approved"));
    }
    assert_eq!(world.stored().await, [format!("{key} 2500 approved")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_second_is_told_what_the_first_was_told() {
    let gateway = StandIn::start().await;
    let world = World::at(&gateway.url).await;
    let (key, order) = (Uuid::new_v4(), order());
    let (first, mut other) = (body(order, "pm_ok"), body(order, "pm_ok"));
    other["amount"] = json!(9);
    let told = async {
        eventually("all three are at the gateway", async || {
            (gateway.asked().len() == 3).then_some(())
        })
        .await;
        // A gateway that heeds no key: it decides on each request anew.
        let mut declined = approval("a-2");
        declined.1 = String::from_utf8(declined.1)
            .unwrap()
            .replace("approved", "declined")
            .into_bytes();
        gateway.answers([declined, approval("a-1")]);
    };
    let (one, two, odd, ()) = tokio::join!(
        world.charge(key, &first),
        world.charge(key, &first),
        world.charge(key, &other),
        told
    );
    let stored = world.stored().await;
    let [payment] = stored.as_slice() else {
        panic!("{stored:?}");
    };
    let outcome = payment.rsplit(' ').next().unwrap();
    let paid = charged(key, order, outcome);
    let reused = Answer::problem(
        StatusCode::UNPROCESSABLE_ENTITY,
        "this idempotency key was used for another charge",
    );
    if payment.contains(" 2500 ") {
        assert_eq!([one, two, odd], [paid.clone(), paid, reused]);
    } else {
        assert_eq!([one, two, odd], [reused.clone(), reused, paid]);
    }
}

#[tokio::test]
async fn a_key_is_good_for_one_charge() {
    let gateway = gateway().await;
    let world = World::at(&gateway.url).await;
    let (key, order) = (Uuid::new_v4(), order());
    world.charge(key, &body(order, "pm_ok")).await;
    let reused = Answer::problem(
        StatusCode::UNPROCESSABLE_ENTITY,
        "this idempotency key was used for another charge",
    );
    for (field, value) in [
        ("order_id", json!(Uuid::new_v4())),
        ("amount", json!(2501)),
        ("currency", json!("USD")),
    ] {
        let mut other = body(order, "pm_ok");
        other[field] = value;
        assert_eq!(world.charge(key, &other).await, reused, "{field}");
    }
    assert_eq!(gateway.asked_what(), ["POST /authorize"]);
    assert_eq!(world.stored().await, [format!("{key} 2500 approved")]);
}

#[tokio::test]
async fn every_test_token_does_what_it_says() {
    let world = World::start(&[("PAYMENT_GATEWAY_TIMEOUT_MS", "3500")]).await;
    let failure = |answer| match answer {
        "down" => Answer::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the payment gateway cannot be reached, or is out of order",
        ),
        _ => Answer::problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the payment gateway did not answer in time",
        ),
    };
    // Token, the answers in order, and the least time in milliseconds that they take.
    let cases: [(&str, &[&str], u64); 8] = [
        ("pm_ok", &["approved", "approved"], 0),
        ("pm_declined", &["declined", "declined"], 0),
        ("pm_of_nobody", &["declined"], 0),
        (
            "pm_fail_twice",
            &["down", "down", "approved", "approved"],
            0,
        ),
        ("pm_down", &["down", "down", "down", "down"], 0),
        ("pm_slow", &["approved"], 700),
        ("pm_many_methods", &["approved"], 2500),
        ("pm_hang", &["late"], 3500),
    ];
    for (token, answers, least) in cases {
        let (key, order) = (Uuid::new_v4(), order());
        let started = Instant::now();
        for expected in answers {
            let answer = world.charge(key, &body(order, token)).await;
            let expected = match *expected {
                "approved" | "declined" => charged(key, order, expected),
                other => failure(other),
            };
            assert_eq!(answer, expected, "{token}");
        }
        let taken = started.elapsed();
        assert!(taken >= Duration::from_millis(least), "{token}: {taken:?}");
        assert!(
            taken < Duration::from_millis(least + 5000),
            "{token}: {taken:?}"
        );
    }
    let saved = "SELECT CAST(saved_methods AS TEXT) FROM payments ORDER BY saved_methods";
    let saved = world.database.texts(saved).await;
    assert_eq!(saved, ["2", "2", "2", "2", "2", "312"]);
}

#[tokio::test]
async fn a_database_that_is_away_is_said_in_time_and_nothing_is_charged() {
    let gateway = gateway().await;
    let world = World::at(&gateway.url).await;
    let away = Answer::problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the database does not answer",
    );
    world
        .database
        .execute("ALTER TABLE payments RENAME TO elsewhere")
        .await;
    let (key, order) = (Uuid::new_v4(), order());
    assert_eq!(world.charge(key, &body(order, "pm_ok")).await, away);
    assert_eq!(world.get(&format!("/payments/verify/{order}")).await, away);
    assert!(gateway.asked_what().is_empty());
    world
        .database
        .execute("ALTER TABLE elsewhere RENAME TO payments")
        .await;

    let lock = world.database.lock("payments").await;
    let started = Instant::now();
    assert_eq!(world.charge(key, &body(order, "pm_ok")).await, away);
    assert!(started.elapsed() < Duration::from_secs(8));
    lock.release().await;
    let answer = world.charge(key, &body(order, "pm_ok")).await;
    assert_eq!(answer, charged(key, order, "approved"));
    assert_eq!(world.stored().await, [format!("{key} 2500 approved")]);
}
