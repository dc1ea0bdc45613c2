//! The table `orders`: every order that was asked for, and its status.

use crate::order::Order;
use order_events::{OrderPlaced, OrderStatusChanged};
use service::database::{ConnectError, Database};
use sqlx::Row;
use telemetry::database::Statement;
use uuid::Uuid;

const SCHEMA: &[&str] = &["CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    customer_name TEXT NOT NULL,
    customer_email TEXT NOT NULL,
    currency TEXT NOT NULL,
    total BIGINT NOT NULL,
    items TEXT NOT NULL,
    placed_at BIGINT NOT NULL
)"];

static INSERT: Statement = Statement::new(
    "INSERT",
    "orders",
    "INSERT INTO orders \
     (id, status, customer_id, customer_name, customer_email, currency, total, items, placed_at) \
     VALUES ($1, 'pending', $2, $3, $4, $5, $6, $7, $8)",
);

static SELECT: Statement = Statement::new(
    "SELECT",
    "orders",
    "SELECT status, customer_id, currency, total, items, placed_at FROM orders WHERE id = $1",
);

static NOT_ACCEPTED: Statement = Statement::new(
    "UPDATE",
    "orders",
    "UPDATE orders SET status = 'not_accepted' WHERE id = $1 AND status = 'pending'",
);

/// Also from `not_accepted`: a record whose acknowledgement was lost may have reached the broker
/// all the same, and the status event is the proof that it did.
static CHANGE_STATUS: Statement = Statement::new(
    "UPDATE",
    "orders",
    "UPDATE orders SET status = $1 WHERE id = $2 AND status IN ('pending', 'not_accepted')",
);

/// The orders of this service.
#[derive(Clone)]
pub(crate) struct Store {
    database: Database,
}

/// An order as the table has it, without what is personal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredOrder {
    pub status: String,
    pub customer_id: String,
    pub currency: String,
    pub total: i64,
    /// The items as JSON, the way they were stored.
    pub items: serde_json::Value,
    /// Milliseconds since the Unix epoch.
    pub placed_at: i64,
}

impl Store {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let database = Database::connect(url, SCHEMA).await?;
        Ok(Self { database })
    }

    /// Stores a new order as `pending`.
    pub(crate) async fn insert(
        &self,
        order: &Order,
        placed: &OrderPlaced,
    ) -> Result<(), sqlx::Error> {
        let items = serde_json::to_string(&placed.items)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.database
            .execute(&INSERT, |query| {
                query
                    .bind(placed.order_id.to_string())
                    .bind(order.customer.id.clone())
                    .bind(order.customer.name.clone())
                    .bind(order.customer.email.clone())
                    .bind(placed.currency.clone())
                    .bind(placed.total)
                    .bind(items)
                    .bind(placed.placed_at)
            })
            .await
            .map(|_| ())
    }

    /// The order with this id.
    pub(crate) async fn find(&self, id: Uuid) -> Result<Option<StoredOrder>, sqlx::Error> {
        let row = self
            .database
            .fetch_optional(&SELECT, |query| query.bind(id.to_string()))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let items: String = row.try_get("items")?;
        Ok(Some(StoredOrder {
            status: row.try_get("status")?,
            customer_id: row.try_get("customer_id")?,
            currency: row.try_get("currency")?,
            total: row.try_get("total")?,
            items: serde_json::from_str(&items)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            placed_at: row.try_get("placed_at")?,
        }))
    }

    /// Marks an order that could not be published.
    pub(crate) async fn mark_not_accepted(&self, id: Uuid) -> Result<(), sqlx::Error> {
        self.database
            .execute(&NOT_ACCEPTED, |query| query.bind(id.to_string()))
            .await
            .map(|_| ())
    }

    /// Takes over what became of an order; `false` if that was known already, as it is when the
    /// event comes twice, or if there is no such order.
    pub(crate) async fn change_status(
        &self,
        event: &OrderStatusChanged,
    ) -> Result<bool, sqlx::Error> {
        let changed = self
            .database
            .execute(&CHANGE_STATUS, |query| {
                query
                    .bind(event.status.as_str())
                    .bind(event.order_id.to_string())
            })
            .await?;
        Ok(changed == 1)
    }

    pub(crate) async fn ping(&self) -> Result<(), sqlx::Error> {
        self.database.ping().await
    }

    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
