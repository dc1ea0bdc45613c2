//! Client of the payment gateway, a third party: our calls are traced, but no trace context and no
//! baggage is sent to it.

use crate::charge::{ChargeRequest, Outcome};
use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use telemetry::http_client::{Client, ClientError};

/// The gateway at one URL.
#[derive(Clone)]
pub(crate) struct Gateway {
    client: Client,
    url: String,
}

/// The gateway's decision on a charge.
#[derive(Debug, Deserialize)]
pub(crate) struct Authorization {
    pub authorization_id: String,
    pub outcome: Outcome,
    pub saved_methods: i64,
}

/// Why the gateway gave no decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("the payment gateway did not answer in time")]
    Timeout,
    #[error("the payment gateway cannot be reached, or is out of order")]
    Unavailable,
    #[error("the payment gateway refused the request, or gave an answer we cannot read")]
    Refused,
}

impl Gateway {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(timeout, false)?,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    pub(crate) async fn authorize(
        &self,
        request: &ChargeRequest,
    ) -> Result<Authorization, GatewayError> {
        let response = self
            .client
            .request(
                Method::POST,
                format!("{}/authorize", self.url),
                "/authorize",
            )
            .header("idempotency-key", &request.idempotency_key.to_string())
            .json(&json!({
                "amount": request.amount,
                "currency": request.currency,
                "payment_method": request.payment_method,
            }))
            .send()
            .await
            .map_err(no_answer)?;
        answered(response.status)?;
        let authorization: Authorization = response.json().map_err(|_| GatewayError::Refused)?;
        if is_id(&authorization.authorization_id) {
            Ok(authorization)
        } else {
            Err(GatewayError::Refused)
        }
    }

    pub(crate) async fn is_authorized(&self, authorization_id: &str) -> Result<bool, GatewayError> {
        #[derive(Deserialize)]
        struct Answer {
            authorized: bool,
        }
        let response = self
            .client
            .request(
                Method::GET,
                format!("{}/authorizations/{authorization_id}", self.url),
                "/authorizations/{authorization_id}",
            )
            .send()
            .await
            .map_err(no_answer)?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answered(response.status)?;
        let answer: Answer = response.json().map_err(|_| GatewayError::Refused)?;
        Ok(answer.authorized)
    }
}

fn no_answer(error: ClientError) -> GatewayError {
    match error {
        ClientError::BodyTooLarge(_) => GatewayError::Refused,
        error if error.is_timeout() => GatewayError::Timeout,
        _ => GatewayError::Unavailable,
    }
}

/// Whether an id can be kept and put into a URL as it is.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn answered(status: StatusCode) -> Result<(), GatewayError> {
    match status {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(GatewayError::Unavailable)
        }
        _ => Err(GatewayError::Refused),
    }
}
