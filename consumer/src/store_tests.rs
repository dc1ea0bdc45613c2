//! The statements of the table `processed_orders`, on every kind of database there is.

use super::*;
use order_events::Item;
use service::testing::databases;
use uuid::Uuid;

const QUERY: &str = "SELECT event_id || ' ' || order_id || ' ' || status FROM processed_orders";

fn order(id: u128) -> OrderPlaced {
    let item = Item {
        sku: "book-1".into(),
        quantity: 2,
        unit_price: 1250,
    };
    let id = Uuid::from_u128(id);
    OrderPlaced::new(
        id,
        "c-7".into(),
        "EUR".into(),
        "pm_ok".into(),
        vec![item],
        1,
    )
}

#[tokio::test]
async fn the_first_word_on_an_event_counts_also_after_a_restart() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        let order = order(1);
        assert_eq!(store.status_of(order.event_id).await.unwrap(), None);
        store.insert(&order, OrderStatus::Declined).await.unwrap();
        store.insert(&order, OrderStatus::Paid).await.unwrap();
        store.close().await;

        let store = Store::connect(&database.url).await.unwrap();
        let status = store.status_of(order.event_id).await.unwrap();
        assert_eq!(status, Some(OrderStatus::Declined), "{database}");
        let row = format!("{} {} declined", order.event_id, order.order_id);
        assert_eq!(database.texts(QUERY).await, [row], "{database}");
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }
}

#[tokio::test]
async fn every_status_is_read_as_it_was_written() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        let statuses = [
            OrderStatus::Paid,
            OrderStatus::Declined,
            OrderStatus::PaymentFailed,
        ];
        for (id, status) in (1..).zip(statuses) {
            let order = order(id);
            store.insert(&order, status).await.unwrap();
            assert_eq!(store.status_of(order.event_id).await.unwrap(), Some(status));
        }
        let unknown = order(9);
        let event_id = unknown.event_id;
        let row = format!("INSERT INTO processed_orders VALUES ('{event_id}', 'a', 'sent')");
        database.execute(&row).await;
        let read = store.status_of(event_id).await;
        assert!(
            matches!(read, Err(sqlx::Error::Decode(_))),
            "{database}: {read:?}"
        );
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_meet_on_one_event_leave_one_row() {
    for database in databases().await {
        let members: Vec<_> = (0..8)
            .map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move {
                    let store = Store::connect(&url).await.unwrap();
                    store.insert(&order(1), OrderStatus::Paid).await.unwrap();
                    store.close().await;
                })
            })
            .collect();
        for member in members {
            member.await.unwrap();
        }
        assert_eq!(database.texts(QUERY).await.len(), 1, "{database}");
    }
}
