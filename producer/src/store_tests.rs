//! The statements of the table `orders`, on every kind of database there is.

use super::*;
use order_events::OrderStatus;
use serde_json::{Value, json};
use service::testing::{TestDatabase, databases};

/// An order whose text is as unusual as `Order::parse` lets through.
fn order() -> Order {
    let json = json!({
        "customer": {"id": "c-7", "name": "Zoë'; DROP TABLE orders; --", "email": "\u{1F4E7}@\"x\""},
        "currency": "EUR",
        "payment_method": "pm_ok",
        "items": [{"sku": "book-1", "quantity": 1000, "unit_price": 100_000_000}],
    });
    Order::parse(&json).unwrap()
}

fn placed(id: u128) -> OrderPlaced {
    let Order {
        customer,
        currency,
        payment_method,
        items,
    } = order();
    OrderPlaced::new(
        Uuid::from_u128(id),
        customer.id,
        currency,
        payment_method,
        items,
        1_763_800_000_123,
    )
}

async fn with_order(database: &TestDatabase, id: u128) -> (Store, OrderPlaced) {
    let store = Store::connect(&database.url).await.unwrap();
    let placed = placed(id);
    store.insert(&order(), &placed).await.unwrap();
    (store, placed)
}

async fn status(store: &Store, id: Uuid) -> String {
    store.find(id).await.unwrap().unwrap().status
}

async fn change(store: &Store, placed: &OrderPlaced, status: OrderStatus) -> bool {
    let event = OrderStatusChanged::caused_by(placed, status);
    store.change_status(&event).await.unwrap()
}

#[tokio::test]
async fn an_order_is_read_as_it_was_written_also_after_a_restart() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        store.close().await;
        let store = Store::connect(&database.url).await.unwrap();
        assert_eq!(
            store.find(placed.order_id).await.unwrap(),
            Some(StoredOrder {
                status: "pending".into(),
                customer_id: "c-7".into(),
                currency: "EUR".into(),
                total: 100_000_000_000,
                items: json!([{"sku": "book-1", "quantity": 1000, "unit_price": 100_000_000}]),
                placed_at: 1_763_800_000_123,
            }),
            "{database}"
        );
        assert_eq!(store.find(Uuid::from_u128(2)).await.unwrap(), None);
        assert_eq!(
            database
                .texts("SELECT customer_name || customer_email FROM orders")
                .await,
            ["Zoë'; DROP TABLE orders; --\u{1F4E7}@\"x\""]
        );
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }
}

#[tokio::test]
async fn an_order_id_is_taken_once() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        let again = store.insert(&order(), &placed).await.unwrap_err();
        assert!(
            again.as_database_error().unwrap().is_unique_violation(),
            "{database}"
        );
        assert_eq!(database.texts("SELECT id FROM orders").await.len(), 1);
        store.close().await;
    }
}

#[tokio::test]
async fn the_first_status_stays() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        let other = self::placed(2);
        store.insert(&order(), &other).await.unwrap();
        assert!(change(&store, &placed, OrderStatus::Declined).await);
        for later in [
            OrderStatus::Declined,
            OrderStatus::Paid,
            OrderStatus::PaymentFailed,
        ] {
            assert!(!change(&store, &placed, later).await, "{database}: {later}");
        }
        store.mark_not_accepted(placed.order_id).await.unwrap();
        assert_eq!(status(&store, placed.order_id).await, "declined");
        assert_eq!(status(&store, other.order_id).await, "pending");
        assert!(!change(&store, &self::placed(3), OrderStatus::Paid).await);
        store.close().await;
    }
}

#[tokio::test]
async fn an_order_that_was_not_accepted_and_is_paid_all_the_same_is_paid() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        store.mark_not_accepted(placed.order_id).await.unwrap();
        assert_eq!(status(&store, placed.order_id).await, "not_accepted");
        store.mark_not_accepted(Uuid::from_u128(2)).await.unwrap();
        assert!(
            change(&store, &placed, OrderStatus::Paid).await,
            "{database}"
        );
        assert_eq!(status(&store, placed.order_id).await, "paid");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_events_one_has_an_effect() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        let changing: Vec<_> = (0..16)
            .map(|_| {
                let (store, placed) = (store.clone(), placed.clone());
                tokio::spawn(async move { change(&store, &placed, OrderStatus::Paid).await })
            })
            .collect();
        let mut effects = 0;
        for changed in changing {
            effects += u32::from(changed.await.unwrap());
        }
        assert_eq!(effects, 1, "{database}");
        store.close().await;
    }
}

#[tokio::test]
async fn items_that_nobody_here_wrote_are_an_error_and_no_panic() {
    for database in databases().await {
        let (store, placed) = with_order(&database, 1).await;
        database.execute("UPDATE orders SET items = '[{'").await;
        let read = store.find(placed.order_id).await;
        assert!(
            matches!(read, Err(sqlx::Error::Decode(_))),
            "{database}: {read:?}"
        );
        database.execute("UPDATE orders SET items = 'null'").await;
        let read = store.find(placed.order_id).await.unwrap().unwrap();
        assert_eq!(read.items, Value::Null);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_together_share_the_table() {
    for database in databases().await {
        let starting: Vec<_> = (1..=4)
            .map(|id| {
                let url = database.url.clone();
                tokio::spawn(async move {
                    let store = Store::connect(&url).await.unwrap();
                    store.insert(&order(), &placed(id)).await.unwrap();
                    store.close().await;
                })
            })
            .collect();
        for started in starting {
            started.await.unwrap();
        }
        assert_eq!(
            database.texts("SELECT id FROM orders").await.len(),
            4,
            "{database}"
        );
    }
}
