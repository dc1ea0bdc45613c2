//! Asks `payments` whether the payment of an order stands.

use opentelemetry::KeyValue;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use telemetry::http_client::{Client, ClientError};
use uuid::Uuid;

/// Client of `GET /payments/verify/{order_id}`.
#[derive(Clone)]
pub(crate) struct PaymentVerification {
    client: Client,
    url: String,
}

/// What `payments` says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// `approved`, `declined`, or `None` where nothing was charged.
    pub outcome: Option<String>,
    /// Whether the gateway confirms it.
    pub verified: bool,
}

impl PaymentVerification {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(timeout, true)?,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// `None` if `payments` gives no usable answer in time; the client span says why.
    pub(crate) async fn of_order(&self, order_id: Uuid) -> Option<Verification> {
        let response = self
            .client
            .request(
                axum::http::Method::GET,
                format!("{}/payments/verify/{order_id}", self.url),
                "/payments/verify/{order_id}",
            )
            .attribute(KeyValue::new("app.order.id", order_id.to_string()))
            .send()
            .await
            .ok()?;
        response.status.is_success().then(|| response.json().ok())?
    }
}
