//! A running service with a database, a broker and a stand-in for payments of its own.

use axum::http::StatusCode;
use orders_api::OrdersApi;
use reqwest::Client;
use serde_json::{Value, json};
use service::testing::{
    Answer, Broker, CONSUMER_PROPERTIES, ServiceProcess, StandIn, TestDatabase, answer, eventually,
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_orders-api");
pub(crate) const TOPICS: [&str; 2] = ["orders", "order-status"];
pub(crate) const GROUP: &str = "orders-api";

pub(crate) struct World {
    // Before what it uses, so that it is gone when that goes.
    pub(crate) service: ServiceProcess,
    pub(crate) database: TestDatabase,
    pub(crate) broker: Broker,
    pub(crate) payments: StandIn,
}

impl World {
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        Self::on(Broker::with_topics(&TOPICS), variables).await
    }

    pub(crate) async fn on(broker: Broker, variables: &[(&str, &str)]) -> Self {
        let database = TestDatabase::any().await;
        let payments = StandIn::start().await;
        payments.answers([(
            StatusCode::OK,
            br#"{"outcome": null, "verified": false}"#.into(),
        )]);
        let mut all = vec![
            ("DATABASE_URL", database.url.as_str()),
            ("KAFKA_BROKERS", &broker.servers),
            ("KAFKA_CONSUMER_PROPERTIES", CONSUMER_PROPERTIES),
            ("PAYMENTS_URL", &payments.url),
        ];
        all.extend_from_slice(variables);
        let service = ServiceProcess::start::<OrdersApi>(PROGRAM, &all).await;
        Self {
            service,
            database,
            broker,
            payments,
        }
    }

    pub(crate) async fn post(&self, order: &Value) -> Answer {
        answer(Client::new().post(self.url("/orders")).json(order)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(Client::new().get(self.url(path))).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url)
    }

    /// The status of every order, in the order of their acceptance.
    pub(crate) async fn statuses(&self) -> Vec<String> {
        self.database
            .texts("SELECT status FROM orders ORDER BY id")
            .await
    }

    /// Waits until the orders have come to these statuses.
    pub(crate) async fn come_to(&self, statuses: &[&str]) {
        let what = format!("orders that are {statuses:?}");
        eventually(&what, async || {
            (self.statuses().await == statuses).then_some(())
        })
        .await;
    }
}

pub(crate) fn order() -> Value {
    json!({
        "customer": {"id": "c-7", "name": "Zebulon Quixfeather", "email": "zeb@mail.example"},
        "currency": "EUR",
        "payment_method": "pm_ok",
        "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
    })
}
