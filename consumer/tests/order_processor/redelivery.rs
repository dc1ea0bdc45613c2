//! A record that comes again has no second effect, whatever happened the first time; and one whose
//! effect is not complete does come again.

use crate::world::{World, order, outcome, row};
use order_events::{OrderStatus, OrderStatusChanged};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use service::testing::{ServiceProcess, eventually};

async fn unsettled(service: &ServiceProcess, times: usize) {
    eventually("the record is tried in vain", async || {
        let tries = service
            .log()
            .matches("cannot settle this record yet")
            .count();
        (tries >= times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_that_comes_twice_is_charged_once_and_told_with_one_id() {
    let world = World::new().await;
    let order = order(1);
    for _ in 0..3 {
        world.place(&order);
    }
    let service = world.start(&[]).await;
    world.committed(3).await;
    service.stop().await;
    assert_eq!(world.charges().len(), 1);
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    let told = OrderStatusChanged::caused_by(&order, OrderStatus::Paid);
    assert_eq!(world.told(), vec![told; 3]);
}

#[tokio::test]
async fn a_crash_before_the_answer_of_payments_asks_again_with_the_same_key() {
    let world = World::new().await;
    let order = order(1);
    world.place(&order);
    world.payments.answers([]);
    let service = world.start(&[]).await;
    eventually("payments is asked", async || {
        (!world.charges().is_empty()).then_some(())
    })
    .await;
    service.kill().await;
    assert!(world.stored().await.is_empty());
    assert_eq!(world.committed_so_far(), None);

    world.payments.answers([outcome("approved")]);
    let service = world.start(&[]).await;
    world.committed(1).await;
    service.stop().await;
    let charges = world.charges();
    assert_eq!(charges.len(), 2);
    assert_eq!(charges[0], charges[1]);
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    assert_eq!(world.told().len(), 1);
}

#[tokio::test]
async fn a_crash_between_the_effect_and_the_commit_has_no_second_effect() {
    let world = World::new().await;
    let order = order(1);
    world.place(&order);
    // The outcome is stored and cannot be told.
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    world
        .broker
        .mock
        .request_errors(RDKafkaApiKey::Produce, &[refusal; 100]);
    let service = world.start(&[]).await;
    unsettled(&service, 1).await;
    service.kill().await;
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    assert_eq!(world.committed_so_far(), None);
    assert!(world.told().is_empty());

    world
        .broker
        .mock
        .clear_request_errors(RDKafkaApiKey::Produce);
    world.payments.answers([outcome("declined")]);
    let service = world.start(&[]).await;
    world.committed(1).await;
    service.stop().await;
    assert_eq!(world.charges().len(), 1);
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    assert_eq!(
        world.told(),
        [OrderStatusChanged::caused_by(&order, OrderStatus::Paid)]
    );
}

#[tokio::test]
async fn a_record_waits_for_the_database_and_is_neither_skipped_nor_committed() {
    let world = World::new().await;
    let orders = [order(1), order(2)];
    let service = world.start(&[]).await;
    world
        .database
        .execute("ALTER TABLE processed_orders RENAME TO elsewhere")
        .await;
    for order in &orders {
        world.place(order);
    }
    unsettled(&service, 2).await;
    assert_eq!(world.committed_so_far(), None);
    assert!(world.charges().is_empty());
    assert!(world.told().is_empty());
    world
        .database
        .execute("ALTER TABLE elsewhere RENAME TO processed_orders")
        .await;
    world.committed(2).await;
    service.stop().await;
    let paid = |order| OrderStatusChanged::caused_by(order, OrderStatus::Paid);
    assert_eq!(world.told(), [paid(&orders[0]), paid(&orders[1])]);
    assert_eq!(world.charges().len(), 2);
    assert!(world.dead_letters().is_empty());
}

#[tokio::test]
async fn a_database_that_goes_after_the_charge_does_not_charge_again() {
    let world = World::new().await;
    let order = order(1);
    world.payments.answers([]);
    world.place(&order);
    let service = world.start(&[]).await;
    eventually("payments is asked", async || {
        (!world.charges().is_empty()).then_some(())
    })
    .await;
    let lock = world.database.lock("processed_orders").await;
    world.payments.answers([outcome("approved")]);
    unsettled(&service, 1).await;
    assert_eq!(world.committed_so_far(), None);
    lock.release().await;
    world.committed(1).await;
    service.stop().await;
    // Asked again, with the key that makes it one charge.
    let charges = world.charges();
    assert!(charges.iter().all(|charge| charge == &charges[0]));
    assert_eq!(world.stored().await, [row(&order, OrderStatus::Paid)]);
    assert_eq!(world.told().len(), 1);
}

#[tokio::test]
async fn a_shutdown_in_mid_processing_finishes_the_record_and_commits_it() {
    let world = World::new().await;
    let orders = [order(1), order(2)];
    for order in &orders {
        world.place(order);
    }
    world.payments.answers([]);
    let mut service = world.start(&[]).await;
    eventually("payments is asked", async || {
        (!world.charges().is_empty()).then_some(())
    })
    .await;
    service.terminate().await;
    // The listener closes with the request to stop; the record is still in hand.
    eventually("the service is stopping", async || {
        reqwest::get(format!("{}/healthz", service.url)).await.err()
    })
    .await;
    world.payments.answers([outcome("approved")]);
    let (status, log) = service.ended().await;
    assert!(status.success(), "{log}");
    assert_eq!(world.stored().await, [row(&orders[0], OrderStatus::Paid)]);
    assert_eq!(world.told().len(), 1);
    assert_eq!(world.committed_so_far(), Some(1));

    let service = world.start(&[]).await;
    world.committed(2).await;
    service.stop().await;
    let keys: Vec<_> = world.charges().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, orders.map(|order| order.event_id.to_string()));
    assert_eq!(world.told().len(), 2);
}
