//! Client of `payments`: charges an order, with a few tries in place for what passes.

use crate::config::Config;
use axum::http::{Method, StatusCode};
use opentelemetry::KeyValue;
use order_events::{OrderPlaced, OrderStatus};
use serde::Deserialize;
use serde_json::json;
use std::num::NonZeroU32;
use std::time::Duration;
use telemetry::http_client::{Client, ClientError};

/// Longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

pub(crate) struct PaymentClient {
    client: Client,
    url: String,
    attempts: NonZeroU32,
    backoff: Duration,
}

/// Why an order was not paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PaymentError {
    #[error("payments or its gateway is out of order")]
    Unavailable,
    #[error("payments or its gateway did not answer in time")]
    Timeout,
    #[error("payments refused the request, or its answer cannot be read")]
    Refused,
}

impl PaymentError {
    /// The low-cardinality `error.type` of it.
    pub(crate) const fn error_type(self) -> &'static str {
        match self {
            Self::Unavailable => "payment_unavailable",
            Self::Timeout => "payment_timeout",
            Self::Refused => "payment_refused",
        }
    }

    fn may_pass(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout)
    }
}

#[derive(Deserialize)]
struct Charged {
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Approved,
    Declined,
}

impl PaymentClient {
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(config.payments_timeout, true)?,
            url: format!("{}/payments", config.payments_url.trim_end_matches('/')),
            attempts: config.payment_attempts,
            backoff: config.payment_backoff,
        })
    }

    /// Charges `order`, once however often this is called: the idempotency key is the event's id.
    pub(crate) async fn charge(&self, order: &OrderPlaced) -> Result<OrderStatus, PaymentError> {
        let mut backoff = self.backoff;
        let mut resent = 0;
        loop {
            match self.attempt(order, resent).await {
                Err(error) if error.may_pass() && resent + 1 < self.attempts.get() => {
                    tracing::warn!(order_id = %order.order_id, "{error}; next try in {backoff:?}");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    resent += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, order: &OrderPlaced, resent: u32) -> Result<OrderStatus, PaymentError> {
        let response = self
            .client
            .request(Method::POST, &self.url, "/payments")
            .attribute(KeyValue::new("app.order.id", order.order_id.to_string()))
            .resend_count(resent)
            .header("idempotency-key", &order.event_id.to_string())
            .json(&json!({
                "order_id": order.order_id,
                "amount": order.total,
                "currency": order.currency,
                "payment_method": order.payment_method,
            }))
            .send()
            .await
            .map_err(|error| match error {
                ClientError::BodyTooLarge(_) => PaymentError::Refused,
                error if error.is_timeout() => PaymentError::Timeout,
                _ => PaymentError::Unavailable,
            })?;
        match response.status {
            status if status.is_success() => {
                let charged: Charged = response.json().map_err(|_| PaymentError::Refused)?;
                Ok(match charged.outcome {
                    Outcome::Approved => OrderStatus::Paid,
                    Outcome::Declined => OrderStatus::Declined,
                })
            }
            StatusCode::GATEWAY_TIMEOUT => Err(PaymentError::Timeout),
            StatusCode::TOO_MANY_REQUESTS => Err(PaymentError::Unavailable),
            status if status.is_server_error() && status != StatusCode::BAD_GATEWAY => {
                Err(PaymentError::Unavailable)
            }
            _ => Err(PaymentError::Refused),
        }
    }
}
