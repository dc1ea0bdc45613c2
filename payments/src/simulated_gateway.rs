//! A payment gateway to try things with: a real HTTP server whose behaviour the payment method of
//! an order chooses. It takes part in no trace, as third parties don't.
//!
//! | payment method | what it does |
//! | --- | --- |
//! | `pm_ok` | approves |
//! | `pm_declined`, and any it does not know | declines |
//! | `pm_fail_twice` | answers 503 twice for a charge, then approves |
//! | `pm_down` | always answers 503 |
//! | `pm_hang` | does not answer |
//! | `pm_slow` | approves after 0.7 s |
//! | `pm_many_methods` | a customer with hundreds of stored methods: approves after 2.5 s |

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SLOW: Duration = Duration::from_millis(700);
const MANY_METHODS: Duration = Duration::from_millis(2500);
/// Longer than any client of ours waits.
const HANG: Duration = Duration::from_secs(120);
/// Charges whose failures are remembered; the oldest is forgotten first.
const REMEMBERED_CHARGES: usize = 10_000;

/// Serves the gateway until `shutdown` is cancelled. Requests that hang are left.
pub(crate) async fn serve(
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/authorize", post(authorize))
        .route("/authorizations/{authorization_id}", get(authorization))
        .layer(DefaultBodyLimit::max(service::http::MAX_BODY_BYTES))
        .with_state(Failures::default());
    tokio::select! {
        served = axum::serve(listener, router) => Ok(served?),
        () = shutdown.cancelled() => Ok(()),
    }
}

#[derive(Deserialize)]
struct AuthorizeRequest {
    payment_method: String,
}

async fn authorize(
    State(failures): State<Failures>,
    headers: HeaderMap,
    Json(request): Json<AuthorizeRequest>,
) -> Result<Json<Value>, StatusCode> {
    let key: Uuid = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or(StatusCode::BAD_REQUEST)?;
    let (outcome, saved_methods) = match request.payment_method.as_str() {
        "pm_ok" => ("approved", 2),
        "pm_fail_twice" if failures.count(key) <= 2 => {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        "pm_fail_twice" => ("approved", 2),
        "pm_down" => return Err(StatusCode::SERVICE_UNAVAILABLE),
        "pm_hang" => {
            tokio::time::sleep(HANG).await;
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        "pm_slow" => {
            tokio::time::sleep(SLOW).await;
            ("approved", 2)
        }
        "pm_many_methods" => {
            tokio::time::sleep(MANY_METHODS).await;
            ("approved", 312)
        }
        _ => ("declined", 2),
    };
    Ok(Json(json!({
        "authorization_id": Uuid::new_v5(&key, b"authorization"),
        "outcome": outcome,
        "saved_methods": saved_methods,
    })))
}

/// An authorization id is derived from its charge, so any well-formed one stands.
async fn authorization(Path(authorization_id): Path<String>) -> Json<Value> {
    Json(json!({ "authorized": authorization_id.parse::<Uuid>().is_ok() }))
}

/// How often each charge was tried, for a bounded number of charges.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Tries>>);

#[derive(Default)]
struct Tries {
    counts: HashMap<Uuid, u32>,
    oldest_first: VecDeque<Uuid>,
}

impl Failures {
    /// Counts a try of `key`, and tells which it is, from 1.
    fn count(&self, key: Uuid) -> u32 {
        // A panic while the lock is held could only lose a count.
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !tries.counts.contains_key(&key) {
            tries.oldest_first.push_back(key);
            if tries.oldest_first.len() > REMEMBERED_CHARGES
                && let Some(oldest) = tries.oldest_first.pop_front()
            {
                tries.counts.remove(&oldest);
            }
        }
        let count = tries.counts.entry(key).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_by_charge_and_the_memory_is_bounded() {
        let failures = Failures::default();
        let first = Uuid::from_u128(1);
        assert_eq!([failures.count(first), failures.count(first)], [1, 2]);
        for key in 2..=10_001 {
            failures.count(Uuid::from_u128(key));
        }
        assert_eq!(failures.0.lock().unwrap().counts.len(), REMEMBERED_CHARGES);
        assert_eq!(failures.count(first), 1, "the oldest was forgotten");
    }
}
