//! A running service with a database, a broker and a stand-in for payments of its own.

use axum::http::StatusCode;
use order_events::{Item, OrderPlaced, OrderStatus, OrderStatusChanged};
use order_processor::OrderProcessor;
use serde_json::Value;
use service::testing::{
    Broker, CONSUMER_PROPERTIES, CannedAnswer, Record, ServiceProcess, StandIn, StoredRecord,
    TestDatabase, eventually,
};
use uuid::Uuid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_order-processor");
pub(crate) const GROUP: &str = "order-processor";

/// What the service works with. It stays when the service is gone.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) broker: Broker,
    pub(crate) payments: StandIn,
}

impl World {
    /// Payments approves until it is told otherwise.
    pub(crate) async fn new() -> Self {
        let payments = StandIn::start().await;
        payments.answers([outcome("approved")]);
        Self {
            database: TestDatabase::any().await,
            broker: Broker::with_topics(&["orders", "order-status", "orders.dlq"]),
            payments,
        }
    }

    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        vec![
            ("DATABASE_URL", &self.database.url),
            ("KAFKA_BROKERS", &self.broker.servers),
            ("KAFKA_CONSUMER_PROPERTIES", CONSUMER_PROPERTIES),
            ("PAYMENTS_URL", &self.payments.url),
            ("PAYMENT_BACKOFF_MS", "1"),
        ]
    }

    pub(crate) async fn start(&self, variables: &[(&str, &str)]) -> ServiceProcess {
        let mut all = self.variables();
        all.extend_from_slice(variables);
        ServiceProcess::start::<OrderProcessor>(PROGRAM, &all).await
    }

    /// Puts the event on the topic, as orders-api does, and gives its offset.
    pub(crate) fn place(&self, order: &OrderPlaced) -> i64 {
        let record = Record {
            key: Some(order.customer_id.clone().into_bytes()),
            payload: Some(order.to_json().unwrap()),
            ..Record::default()
        };
        self.broker.send("orders", &record)
    }

    /// Up to which offset the group has committed, once that is `offset`.
    pub(crate) async fn committed(&self, offset: i64) {
        eventually(&format!("offset {offset} is committed"), async || {
            (self.committed_so_far() == Some(offset)).then_some(())
        })
        .await;
    }

    pub(crate) fn committed_so_far(&self) -> Option<i64> {
        self.broker.committed(GROUP, "orders")
    }

    /// What is stored: order and status of each event.
    pub(crate) async fn stored(&self) -> Vec<String> {
        let query = "SELECT order_id || ' ' || status FROM processed_orders ORDER BY order_id";
        self.database.texts(query).await
    }

    /// The status events sent so far.
    pub(crate) fn told(&self) -> Vec<OrderStatusChanged> {
        let records = self.broker.records("order-status");
        let told = records.iter().map(|record| {
            let event = OrderStatusChanged::from_json(record.payload.as_deref()).unwrap();
            assert_eq!(record.key.as_deref(), Some(event.customer_id.as_bytes()));
            event
        });
        told.collect()
    }

    pub(crate) fn dead_letters(&self) -> Vec<StoredRecord> {
        self.broker.records("orders.dlq")
    }

    /// The idempotency key and the body of each charge that was asked for.
    pub(crate) fn charges(&self) -> Vec<(String, Value)> {
        let asked = self.payments.asked().into_iter().map(|asked| {
            assert_eq!(asked.what, "POST /payments");
            let key = asked.headers["idempotency-key"].to_str().unwrap();
            (key.to_owned(), serde_json::from_slice(&asked.body).unwrap())
        });
        asked.collect()
    }
}

/// The answer of payments to a charge.
pub(crate) fn outcome(outcome: &str) -> CannedAnswer {
    let body = format!("{{\"payment_id\": \"p-1\", \"outcome\": \"{outcome}\"}}");
    (StatusCode::OK, body.into_bytes())
}

pub(crate) fn failure(status: StatusCode) -> CannedAnswer {
    (status, b"{}".to_vec())
}

/// The order with this number; equal for equal numbers.
pub(crate) fn order(number: u128) -> OrderPlaced {
    let item = Item {
        sku: "book-1".into(),
        quantity: 2,
        unit_price: 1250,
    };
    OrderPlaced::new(
        Uuid::from_u128(number),
        "c-7".into(),
        "EUR".into(),
        "pm_ok".into(),
        vec![item],
        1_763_800_000_123,
    )
}

pub(crate) fn row(order: &OrderPlaced, status: OrderStatus) -> String {
    format!("{} {status}", order.order_id)
}
