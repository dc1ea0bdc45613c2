//! The table `processed_orders`: which events were processed, and how each ended.

use order_events::{EventId, OrderPlaced, OrderStatus};
use service::database::{ConnectError, Database};
use sqlx::Row;
use telemetry::database::Statement;

const SCHEMA: &[&str] = &["CREATE TABLE IF NOT EXISTS processed_orders (
    event_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    status TEXT NOT NULL
)"];

static SELECT: Statement = Statement::new(
    "SELECT",
    "processed_orders",
    "SELECT status FROM processed_orders WHERE event_id = $1",
);

/// Two members can meet on one event while a partition changes hands; the first one's word counts.
static INSERT: Statement = Statement::new(
    "INSERT",
    "processed_orders",
    "INSERT INTO processed_orders (event_id, order_id, status) VALUES ($1, $2, $3) \
     ON CONFLICT (event_id) DO NOTHING",
);

/// The events processed so far.
#[derive(Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let database = Database::connect(url, SCHEMA).await?;
        Ok(Self { database })
    }

    /// How the event ended, if it was processed.
    pub(crate) async fn status_of(
        &self,
        event_id: EventId,
    ) -> Result<Option<OrderStatus>, sqlx::Error> {
        let row = self
            .database
            .fetch_optional(&SELECT, |query| query.bind(event_id.to_string()))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let status: String = row.try_get("status")?;
        match OrderStatus::from_name(&status) {
            Some(status) => Ok(Some(status)),
            None => Err(sqlx::Error::Decode("unknown status".into())),
        }
    }

    /// Records how the event of `order` ended; without effect if that is recorded already.
    pub(crate) async fn insert(
        &self,
        order: &OrderPlaced,
        status: OrderStatus,
    ) -> Result<(), sqlx::Error> {
        self.database
            .execute(&INSERT, |query| {
                query
                    .bind(order.event_id.to_string())
                    .bind(order.order_id.to_string())
                    .bind(status.as_str())
            })
            .await
            .map(|_| ())
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
