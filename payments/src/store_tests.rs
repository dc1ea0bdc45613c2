//! The statements of the table `payments`, on every kind of database there is.

use super::*;
use service::testing::{TestDatabase, databases};

const ORDER: Uuid = Uuid::from_u128(1);

fn request(key: u128) -> ChargeRequest {
    ChargeRequest {
        idempotency_key: Uuid::from_u128(key),
        order_id: ORDER,
        amount: i64::MAX,
        currency: "EUR".into(),
        payment_method: "pm_ok".into(),
    }
}

fn payment(request: &ChargeRequest, outcome: Outcome) -> Payment {
    Payment {
        payment_id: Uuid::from_u128(7),
        order_id: request.order_id,
        amount: request.amount,
        currency: request.currency.clone(),
        outcome,
        authorization_id: "it's \"authorized\"; \u{1F4B6}".into(),
        saved_methods: 312,
    }
}

async fn stored(database: &TestDatabase) -> Vec<String> {
    database
        .texts("SELECT idempotency_key || ' ' || outcome FROM payments ORDER BY idempotency_key")
        .await
}

#[tokio::test]
async fn a_payment_is_read_as_it_was_written_also_after_a_restart() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        let request = request(2);
        assert_eq!(store.by_key(request.idempotency_key).await.unwrap(), None);
        assert_eq!(store.by_order(ORDER).await.unwrap(), None);
        let payment = payment(&request, Outcome::Approved);
        assert!(store.insert(&request, &payment).await.unwrap());
        store.close().await;

        let store = Store::connect(&database.url).await.unwrap();
        let by_key = store.by_key(request.idempotency_key).await.unwrap();
        assert_eq!(by_key.as_ref(), Some(&payment), "{database}");
        assert_eq!(store.by_order(ORDER).await.unwrap(), Some(payment));
        assert_eq!(store.by_key(ORDER).await.unwrap(), None);
        assert_eq!(store.by_order(request.idempotency_key).await.unwrap(), None);
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }
}

#[tokio::test]
async fn a_key_is_taken_once() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        let (first, other) = (request(2), request(3));
        let declined = payment(&first, Outcome::Declined);
        assert!(store.insert(&first, &declined).await.unwrap());
        let approved = payment(&first, Outcome::Approved);
        assert!(!store.insert(&first, &approved).await.unwrap());
        assert!(store.insert(&other, &approved).await.unwrap());
        assert_eq!(
            stored(&database).await,
            [
                "00000000-0000-0000-0000-000000000002 declined",
                "00000000-0000-0000-0000-000000000003 approved",
            ],
            "{database}"
        );
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_inserts_with_one_key_one_wins() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        let inserting: Vec<_> = (0..16)
            .map(|_| {
                let (store, request) = (store.clone(), request(2));
                let payment = payment(&request, Outcome::Approved);
                tokio::spawn(async move { store.insert(&request, &payment).await.unwrap() })
            })
            .collect();
        let mut won = 0;
        for inserted in inserting {
            won += u32::from(inserted.await.unwrap());
        }
        assert_eq!(won, 1, "{database}");
        assert_eq!(stored(&database).await.len(), 1);
        store.close().await;
    }
}

#[tokio::test]
async fn a_row_that_nobody_here_wrote_is_an_error_and_no_panic() {
    for database in databases().await {
        let store = Store::connect(&database.url).await.unwrap();
        for (key, payment_id, outcome) in [(2, "no uuid", "approved"), (3, "", "refunded")] {
            let payment_id = if payment_id.is_empty() {
                ORDER.to_string()
            } else {
                payment_id.into()
            };
            database
                .execute(&format!(
                    "INSERT INTO payments VALUES ('{}', '{payment_id}', '{ORDER}', 1, 'EUR', \
                     '{outcome}', 'a', 2)",
                    Uuid::from_u128(key)
                ))
                .await;
            let read = store.by_key(Uuid::from_u128(key)).await;
            assert!(
                matches!(read, Err(sqlx::Error::Decode(_))),
                "{database}: {read:?}"
            );
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_together_share_the_table() {
    for database in databases().await {
        let starting: Vec<_> = (0..4)
            .map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move { Store::connect(&url).await })
            })
            .collect();
        for store in starting {
            let store = store.await.unwrap().unwrap();
            assert_eq!(store.by_order(ORDER).await.unwrap(), None);
            store.close().await;
        }
    }
}
