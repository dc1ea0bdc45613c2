//! Charging an order once, however often it is asked for, and verifying that charge.

use crate::gateway::{Gateway, GatewayError};
use crate::store::Store;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a caller asks for; parsed by `http`.
#[derive(Debug, Clone)]
pub(crate) struct ChargeRequest {
    /// Names this charge: asking again with the same key charges nothing.
    pub idempotency_key: Uuid,
    pub order_id: Uuid,
    /// In minor units of `currency`.
    pub amount: i64,
    pub currency: String,
    pub payment_method: String,
}

/// A payment that was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    pub payment_id: Uuid,
    pub order_id: Uuid,
    pub amount: i64,
    pub currency: String,
    pub outcome: Outcome,
    pub authorization_id: String,
    /// Payment methods the customer has stored at the gateway.
    pub saved_methods: i64,
}

/// How the gateway decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Approved,
    Declined,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Declined => "declined",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Approved, Self::Declined]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChargeError {
    #[error("this idempotency key was used for another charge")]
    KeyReused,
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// Charges, or tells how the charge with this key ended.
pub(crate) async fn charge(
    store: &Store,
    gateway: &Gateway,
    request: &ChargeRequest,
) -> Result<Payment, ChargeError> {
    if let Some(payment) = store.by_key(request.idempotency_key).await? {
        return same_charge(payment, request);
    }
    let authorization = gateway.authorize(request).await?;
    let payment = Payment {
        payment_id: Uuid::new_v5(&request.idempotency_key, b"payment"),
        order_id: request.order_id,
        amount: request.amount,
        currency: request.currency.clone(),
        outcome: authorization.outcome,
        authorization_id: authorization.authorization_id,
        saved_methods: authorization.saved_methods,
    };
    if store.insert(request, &payment).await? {
        return Ok(payment);
    }
    // Another request with this key was faster; the gateway has authorized the two as one.
    match store.by_key(request.idempotency_key).await? {
        Some(payment) => same_charge(payment, request),
        None => Err(ChargeError::Database(sqlx::Error::RowNotFound)),
    }
}

fn same_charge(payment: Payment, request: &ChargeRequest) -> Result<Payment, ChargeError> {
    let same = payment.order_id == request.order_id
        && payment.amount == request.amount
        && payment.currency == request.currency;
    if same {
        Ok(payment)
    } else {
        Err(ChargeError::KeyReused)
    }
}

/// How an order was paid, and whether the gateway still stands by it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verification {
    /// `None` if nothing was ever charged for the order.
    pub outcome: Option<Outcome>,
    /// Whether the gateway confirms an approved payment.
    pub verified: bool,
}

/// Asks the store, and the gateway about what the store says was approved.
pub(crate) async fn verify(
    store: &Store,
    gateway: &Gateway,
    order_id: Uuid,
) -> Result<Verification, ChargeError> {
    let Some(payment) = store.by_order(order_id).await? else {
        return Ok(Verification {
            outcome: None,
            verified: false,
        });
    };
    let verified = match payment.outcome {
        Outcome::Approved => gateway.is_authorized(&payment.authorization_id).await?,
        Outcome::Declined => false,
    };
    Ok(Verification {
        outcome: Some(payment.outcome),
        verified,
    })
}
