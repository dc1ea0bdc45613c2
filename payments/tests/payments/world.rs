//! A running service with a database of its own, and a gateway to write the answers of.

use axum::http::StatusCode;
use payments::Payments;
use reqwest::Client;
use serde_json::{Value, json};
use service::testing::{Answer, CannedAnswer, ServiceProcess, StandIn, TestDatabase, answer};
use uuid::Uuid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_payments");

pub(crate) struct World {
    // Before the database, so that the service is gone when that is dropped.
    pub(crate) service: ServiceProcess,
    pub(crate) database: TestDatabase,
}

impl World {
    /// With the simulated gateway.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let database = TestDatabase::any().await;
        let service = run(&database, variables).await;
        Self { service, database }
    }

    /// With this gateway.
    pub(crate) async fn at(gateway: &str) -> Self {
        Self::start(&[("PAYMENT_GATEWAY_URL", gateway)]).await
    }

    /// Stops the service and starts it again on the same database.
    pub(crate) async fn restart(self, variables: &[(&str, &str)]) -> Self {
        let Self { service, database } = self;
        service.stop().await;
        let service = run(&database, variables).await;
        Self { service, database }
    }

    pub(crate) async fn charge(&self, key: Uuid, body: &Value) -> Answer {
        let request = Client::new()
            .post(format!("{}/payments", self.service.url))
            .header("idempotency-key", key.to_string())
            .json(body);
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(Client::new().get(format!("{}{path}", self.service.url))).await
    }

    /// What is stored: key, amount and outcome of each payment.
    pub(crate) async fn stored(&self) -> Vec<String> {
        let query = "SELECT idempotency_key || ' ' || CAST(amount AS TEXT) || ' ' || outcome \
                     FROM payments";
        self.database.texts(query).await
    }
}

async fn run(database: &TestDatabase, variables: &[(&str, &str)]) -> ServiceProcess {
    let mut all = vec![
        ("DATABASE_URL", database.url.as_str()),
        ("SIMULATED_GATEWAY_ADDR", "127.0.0.1:0"),
    ];
    all.extend_from_slice(variables);
    ServiceProcess::start::<Payments>(PROGRAM, &all).await
}

pub(crate) fn order() -> Uuid {
    Uuid::new_v4()
}

pub(crate) fn body(order_id: Uuid, payment_method: &str) -> Value {
    json!({
        "order_id": order_id,
        "amount": 2500,
        "currency": "EUR",
        "payment_method": payment_method,
    })
}

pub(crate) fn charged(key: Uuid, order_id: Uuid, outcome: &str) -> Answer {
    Answer::ok(json!({
        "payment_id": Uuid::new_v5(&key, b"payment"),
        "order_id": order_id,
        "outcome": outcome,
    }))
}

/// A gateway that approves, until it is told to answer something else.
pub(crate) async fn gateway() -> StandIn {
    let gateway = StandIn::start().await;
    gateway.answers([approval("a-1")]);
    gateway
}

pub(crate) fn approval(authorization_id: &str) -> CannedAnswer {
    let body = json!({
        "authorization_id": authorization_id,
        "outcome": "approved",
        "saved_methods": 2,
    });
    (StatusCode::OK, body.to_string().into_bytes())
}
