//! Status events that come back, and what the service does with those it cannot use.

use crate::world::{GROUP, World, order};
use order_events::{OrderPlaced, OrderStatus, OrderStatusChanged};
use service::testing::{Record, eventually};

/// Has an order accepted, and gives its event.
async fn placed(world: &World) -> OrderPlaced {
    assert_eq!(world.post(&order()).await.status, 202);
    let record = world.broker.records("orders").pop().unwrap();
    OrderPlaced::from_json(record.payload.as_deref()).unwrap()
}

fn tell(world: &World, payload: Option<&[u8]>) {
    let record = Record {
        payload: payload.map(<[u8]>::to_vec),
        headers: vec![
            (b"\xff\xfe".to_vec(), None),
            (b"traceparent".to_vec(), Some(b"\xff".to_vec())),
        ],
        ..Record::default()
    };
    world.broker.send("order-status", &record);
}

fn tell_status(world: &World, order: &OrderPlaced, status: OrderStatus) {
    let event = OrderStatusChanged::caused_by(order, status);
    tell(world, Some(&event.to_json().unwrap()));
}

#[tokio::test]
async fn the_first_status_of_an_order_counts_and_what_is_no_event_is_passed_over() {
    let world = World::start(&[]).await;
    let (first, second) = (placed(&world).await, placed(&world).await);
    let third = OrderPlaced::new(
        uuid::Uuid::from_u128(1),
        "c-7".into(),
        "EUR".into(),
        "pm_ok".into(),
        Vec::new(),
        0,
    );
    tell(&world, None);
    tell(&world, Some(b""));
    tell(&world, Some(b"\xff\x00"));
    tell(&world, Some(b"{\"status\": \"paid\"}"));
    tell_status(&world, &third, OrderStatus::Paid);
    tell_status(&world, &first, OrderStatus::Declined);
    tell_status(&world, &first, OrderStatus::Paid);
    tell_status(&world, &second, OrderStatus::PaymentFailed);
    world.come_to(&["declined", "payment_failed"]).await;
    let World {
        service, broker, ..
    } = world;
    service.stop().await;
    assert_eq!(broker.committed(GROUP, "order-status"), Some(8));
}

#[tokio::test]
async fn an_event_waits_for_the_database_and_is_not_passed_over() {
    let world = World::start(&[]).await;
    let (first, second) = (placed(&world).await, placed(&world).await);
    world
        .database
        .execute("ALTER TABLE orders RENAME TO elsewhere")
        .await;
    tell_status(&world, &first, OrderStatus::Paid);
    tell_status(&world, &second, OrderStatus::Paid);
    eventually("the event is tried twice", async || {
        let tries = world
            .service
            .log()
            .matches("cannot settle this record yet")
            .count();
        (tries >= 2).then_some(())
    })
    .await;
    assert_eq!(world.broker.committed(GROUP, "order-status"), None);
    world
        .database
        .execute("ALTER TABLE elsewhere RENAME TO orders")
        .await;
    world.come_to(&["paid", "paid"]).await;
    eventually("both events are committed", async || {
        (world.broker.committed(GROUP, "order-status") == Some(2)).then_some(())
    })
    .await;
}
