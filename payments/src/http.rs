//! The API: `POST /payments` charges, `GET /payments/verify/{order_id}` verifies.

use crate::charge::{self, ChargeError, ChargeRequest, Outcome, Payment};
use crate::gateway::{Gateway, GatewayError};
use crate::store::Store;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use serde::Serialize;
use serde_json::Value;
use service::http::json_body;
use service::problem::{FieldFault, Problem};
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
    order_id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<VerificationBody>, Problem> {
    let Path(order_id) =
        order_id.map_err(|_| Problem::new(StatusCode::NOT_FOUND, "an order id is a UUID"))?;
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
    let json = json_body(request).await?;
    read_charge(idempotency_key, &json).map_err(|faults| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the charge has fields that cannot be accepted; see errors",
        )
        .with_faults(faults)
    })
}

fn read_charge(idempotency_key: Uuid, json: &Value) -> Result<ChargeRequest, Vec<FieldFault>> {
    let text = |name| json.get(name).and_then(Value::as_str);
    let order_id = text("order_id").and_then(|value| value.parse().ok());
    let amount = json.get("amount").and_then(Value::as_i64);
    let amount = amount.filter(|amount| *amount >= 0);
    let currency = text("currency")
        .filter(|value| value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_uppercase()));
    let payment_method = text("payment_method").filter(|value| {
        (1..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match (order_id, amount, currency, payment_method) {
        (Some(order_id), Some(amount), Some(currency), Some(payment_method)) => Ok(ChargeRequest {
            idempotency_key,
            order_id,
            amount,
            currency: currency.to_owned(),
            payment_method: payment_method.to_owned(),
        }),
        _ => Err([
            (order_id.is_none(), "/order_id", "must be a UUID"),
            (
                amount.is_none(),
                "/amount",
                "must be an integer from 0, in minor units",
            ),
            (
                currency.is_none(),
                "/currency",
                "must be three capital letters, an ISO 4217 code",
            ),
            (
                payment_method.is_none(),
                "/payment_method",
                "must be 1 to 64 visible ASCII characters",
            ),
        ]
        .into_iter()
        .filter(|(is_at_fault, ..)| *is_at_fault)
        .map(|(_, pointer, detail)| FieldFault {
            pointer: pointer.into(),
            detail: detail.into(),
        })
        .collect()),
    }
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
