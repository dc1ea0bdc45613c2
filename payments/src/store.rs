//! The table `payments`: what was charged, under which idempotency key, and how it ended.

use crate::charge::{ChargeRequest, Outcome, Payment};
use service::database::{ConnectError, Database};
use sqlx::Row;
use sqlx::any::AnyRow;
use telemetry::database::Statement;
use uuid::Uuid;

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS payments (
    idempotency_key TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    outcome TEXT NOT NULL,
    authorization_id TEXT NOT NULL,
    saved_methods BIGINT NOT NULL
)",
    "CREATE INDEX IF NOT EXISTS payments_order_id ON payments (order_id)",
];

static SELECT_BY_KEY: Statement = Statement::new(
    "SELECT",
    "payments",
    "SELECT payment_id, order_id, amount, currency, outcome, authorization_id, saved_methods \
     FROM payments WHERE idempotency_key = $1",
);

static SELECT_BY_ORDER: Statement = Statement::new(
    "SELECT",
    "payments",
    "SELECT payment_id, order_id, amount, currency, outcome, authorization_id, saved_methods \
     FROM payments WHERE order_id = $1",
);

static INSERT: Statement = Statement::new(
    "INSERT",
    "payments",
    "INSERT INTO payments \
     (idempotency_key, payment_id, order_id, amount, currency, outcome, authorization_id, saved_methods) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (idempotency_key) DO NOTHING",
);

/// The payments made so far.
#[derive(Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let database = Database::connect(url, SCHEMA).await?;
        Ok(Self { database })
    }

    /// The payment made under `idempotency_key`.
    pub(crate) async fn by_key(
        &self,
        idempotency_key: Uuid,
    ) -> Result<Option<Payment>, sqlx::Error> {
        let row = self
            .database
            .fetch_optional(&SELECT_BY_KEY, |query| {
                query.bind(idempotency_key.to_string())
            })
            .await?;
        row.as_ref().map(payment).transpose()
    }

    /// The payment made for `order_id`.
    pub(crate) async fn by_order(&self, order_id: Uuid) -> Result<Option<Payment>, sqlx::Error> {
        let row = self
            .database
            .fetch_optional(&SELECT_BY_ORDER, |query| query.bind(order_id.to_string()))
            .await?;
        row.as_ref().map(payment).transpose()
    }

    /// Records `payment`; `false` if its key was taken in the meantime, and nothing changed.
    pub(crate) async fn insert(
        &self,
        request: &ChargeRequest,
        payment: &Payment,
    ) -> Result<bool, sqlx::Error> {
        let inserted = self
            .database
            .execute(&INSERT, |query| {
                query
                    .bind(request.idempotency_key.to_string())
                    .bind(payment.payment_id.to_string())
                    .bind(payment.order_id.to_string())
                    .bind(payment.amount)
                    .bind(payment.currency.clone())
                    .bind(payment.outcome.as_str())
                    .bind(payment.authorization_id.clone())
                    .bind(payment.saved_methods)
            })
            .await?;
        Ok(inserted == 1)
    }

    pub(crate) async fn ping(&self) -> Result<(), sqlx::Error> {
        self.database.ping().await
    }

    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}

fn payment(row: &AnyRow) -> Result<Payment, sqlx::Error> {
    let id = |column| {
        let text: String = row.try_get(column)?;
        text.parse::<Uuid>()
            .map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let outcome: String = row.try_get("outcome")?;
    Ok(Payment {
        payment_id: id("payment_id")?,
        order_id: id("order_id")?,
        amount: row.try_get("amount")?,
        currency: row.try_get("currency")?,
        outcome: Outcome::from_name(&outcome)
            .ok_or_else(|| sqlx::Error::Decode("unknown outcome".into()))?,
        authorization_id: row.try_get("authorization_id")?,
        saved_methods: row.try_get("saved_methods")?,
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
