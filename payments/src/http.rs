//! The API: `POST /payments` charges, `GET /payments/verify/{order_id}` verifies.

use crate::charge::{self, ChargeError, ChargeRequest, Outcome, Payment};
use crate::gateway::{Gateway, GatewayError};
use crate::store::Store;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use serde::{Deserialize, Serialize};
use service::http::json_body;
use service::problem::Problem;
use uuid::Uuid;

#[derive(Clone)]
struct App {
    store: Store,
    gateway: Gateway,
}

pub(crate) fn routes(store: Store, gateway: Gateway) -> Router {
    Router::new()
        .route("/payments", post(charge))
        .route("/payments/verify/{order_id}", get(verify))
        .with_state(App { store, gateway })
}

#[derive(Deserialize)]
struct ChargeBody {
    order_id: Uuid,
    amount: i64,
    currency: String,
    payment_method: String,
}

#[derive(Serialize)]
struct PaymentBody {
    payment_id: Uuid,
    order_id: Uuid,
    outcome: Outcome,
}

#[derive(Serialize)]
struct VerificationBody {
    order_id: Uuid,
    /// `approved`, `declined`, or `null` where nothing was charged.
    outcome: Option<Outcome>,
    verified: bool,
}

async fn charge(State(app): State<App>, request: Request) -> Result<Json<PaymentBody>, Problem> {
    let request = charge_request(request).await?;
    let context = Context::current();
    let span = context.span();
    span.set_attribute(KeyValue::new("app.order.id", request.order_id.to_string()));
    let payment = charge::charge(&app.store, &app.gateway, &request)
        .await
        .map_err(problem)?;
    span.set_attribute(KeyValue::new(
        "app.payment.outcome",
        payment.outcome.as_str(),
    ));
    span.set_attribute(KeyValue::new(
        "app.payment.saved_methods",
        payment.saved_methods,
    ));
    tracing::info!(order_id = %payment.order_id, outcome = payment.outcome.as_str(), "charged");
    let Payment {
        payment_id,
        order_id,
        outcome,
        ..
    } = payment;
    Ok(Json(PaymentBody {
        payment_id,
        order_id,
        outcome,
    }))
}

async fn verify(
    State(app): State<App>,
    Path(order_id): Path<String>,
) -> Result<Json<VerificationBody>, Problem> {
    let order_id: Uuid = order_id
        .parse()
        .map_err(|_| Problem::new(StatusCode::NOT_FOUND, "an order id is a UUID"))?;
    let context = Context::current();
    let span = context.span();
    span.set_attribute(KeyValue::new("app.order.id", order_id.to_string()));
    let verification = charge::verify(&app.store, &app.gateway, order_id)
        .await
        .map_err(problem)?;
    if let Some(outcome) = verification.outcome {
        span.set_attribute(KeyValue::new("app.payment.outcome", outcome.as_str()));
    }
    Ok(Json(VerificationBody {
        order_id,
        outcome: verification.outcome,
        verified: verification.verified,
    }))
}

async fn charge_request(request: Request) -> Result<ChargeRequest, Problem> {
    let idempotency_key = idempotency_key(request.headers())?;
    let body: ChargeBody = serde_json::from_value(json_body(request).await?).map_err(|_| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "send order_id (UUID), amount (integer, minor units), currency and payment_method",
        )
    })?;
    if body.amount < 0 {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "amount must not be negative",
        ));
    }
    Ok(ChargeRequest {
        idempotency_key,
        order_id: body.order_id,
        amount: body.amount,
        currency: body.currency,
        payment_method: body.payment_method,
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Uuid, Problem> {
    headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "send an `Idempotency-Key` header that holds a UUID; the same key charges once",
            )
        })
}

fn problem(error: ChargeError) -> Problem {
    match error {
        ChargeError::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        ChargeError::Database(ref cause) => {
            tracing::error!(error = %cause, "{error}");
            Problem::unavailable(error.to_string())
        }
        ChargeError::Gateway(GatewayError::Unavailable) => Problem::unavailable(error.to_string()),
        ChargeError::Gateway(GatewayError::Timeout) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, error.to_string())
        }
        ChargeError::Gateway(GatewayError::Refused) => {
            Problem::new(StatusCode::BAD_GATEWAY, error.to_string())
        }
    }
}
