//! The API: `POST /orders` accepts, `GET /orders/{id}` looks up.

use crate::order::Order;
use crate::payment_verification::{PaymentVerification, Verification};
use crate::publisher::Publisher;
use crate::store::Store;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry::trace::{FutureExt, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use order_events::OrderPlaced;
use serde::Serialize;
use service::http::json_body;
use service::problem::Problem;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

#[derive(Clone)]
struct App {
    store: Store,
    publisher: Publisher,
    payments: PaymentVerification,
    trace_url_template: Option<Arc<str>>,
}

pub(crate) fn routes(
    store: Store,
    publisher: Publisher,
    payments: PaymentVerification,
    trace_url_template: Option<String>,
) -> Router {
    Router::new()
        .route("/orders", post(accept))
        .route("/orders/{id}", get(look_up))
        .with_state(App {
            store,
            publisher,
            payments,
            trace_url_template: trace_url_template.map(Arc::from),
        })
}

#[derive(Serialize)]
struct Accepted {
    order_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<String>,
}

#[derive(Serialize)]
struct OrderBody {
    id: Uuid,
    /// `pending`, `paid`, `declined`, `payment_failed`, or `not_accepted` where the broker did not
    /// take the order.
    status: String,
    customer_id: String,
    currency: String,
    total: i64,
    items: serde_json::Value,
    placed_at: i64,
    /// `null` if `payments` could not be asked.
    payment: Option<Verification>,
}

async fn accept(State(app): State<App>, request: Request) -> Result<impl IntoResponse, Problem> {
    let json = json_body(request).await?;
    let order = Order::parse(&json).map_err(|faults| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the order has fields that cannot be accepted; see errors",
        )
        .with_faults(faults)
    })?;
    // A task of its own: a caller who hangs up, or who has waited too long, must not leave an order
    // that is stored and never published.
    tokio::spawn(place(app, order).with_context(Context::current()))
        .await
        .map_err(|error| {
            tracing::error!(%error, "an order was given up");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the order could not be handled",
            )
        })?
}

/// Stores and publishes `order`, or marks it as not accepted.
async fn place(app: App, order: Order) -> Result<impl IntoResponse, Problem> {
    let placed = OrderPlaced::new(
        Uuid::now_v7(),
        order.customer.id.clone(),
        order.currency.clone(),
        order.payment_method.clone(),
        order.items.clone(),
        unix_millis(),
    );
    let order_id = placed.order_id;
    let context = Context::current();
    let span = context.span();
    span.set_attribute(KeyValue::new("app.order.id", order_id.to_string()));
    span.set_attribute(KeyValue::new("app.order.items", placed.items.len() as i64));

    app.store.insert(&order, &placed).await.map_err(|error| {
        tracing::error!(%order_id, %error, "order not stored");
        Problem::unavailable("the order could not be stored; it was not accepted, try again")
    })?;
    if let Err(error) = app.publisher.publish(&placed).await {
        tracing::error!(%order_id, error = &error as &dyn std::error::Error, "order not published");
        if let Err(error) = app.store.mark_not_accepted(order_id).await {
            tracing::error!(%order_id, %error, "order stays pending though it was not accepted");
        }
        return Err(Problem::unavailable(
            "the broker did not take the order in time; it was not accepted, try again",
        ));
    }
    tracing::info!(%order_id, "order accepted");

    let trace_id = span
        .span_context()
        .is_valid()
        .then(|| span.span_context().trace_id().to_string());
    let trace_url = trace_id.as_ref().and_then(|trace_id| {
        let template = app.trace_url_template.as_ref()?;
        Some(template.replace("{trace_id}", trace_id))
    });
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, format!("/orders/{order_id}"))],
        Json(Accepted {
            order_id,
            trace_id,
            trace_url,
        }),
    ))
}

async fn look_up(
    State(app): State<App>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<OrderBody>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "there is no order with this id");
    let Path(id) = id.map_err(|_| unknown())?;
    Context::current()
        .span()
        .set_attribute(KeyValue::new("app.order.id", id.to_string()));
    let order = app.store.find(id).await.map_err(|error| {
        tracing::error!(order_id = %id, %error, "order not read");
        Problem::unavailable("the database does not answer; try again")
    })?;
    let order = order.ok_or_else(unknown)?;
    let payment = app.payments.of_order(id).await;
    Ok(Json(OrderBody {
        id,
        status: order.status,
        customer_id: order.customer_id,
        currency: order.currency,
        total: order.total,
        items: order.items,
        placed_at: order.placed_at,
        payment,
    }))
}

fn unix_millis() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
