//! A running service with a database of its own, and a gateway to write the answers of.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use payments::Payments;
use reqwest::Client;
use serde_json::{Value, json};
use service::testing::{ServiceProcess, TestDatabase, serve};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_payments");

pub(crate) struct World {
    // Before the database, so that the service is gone when that is dropped.
    pub(crate) service: ServiceProcess,
    pub(crate) database: TestDatabase,
}

/// An answer: status, `Retry-After`, body.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
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

/// Sends `request`; a body that is an error must be a problem in the form of RFC 9457.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status();
    let header = |name| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let content_type = if status.is_success() {
        "application/json"
    } else {
        "application/problem+json"
    };
    assert_eq!(header("content-type").as_deref(), Some(content_type));
    Answer {
        status: status.as_u16(),
        retry_after: header("retry-after"),
        body: response.json().await.unwrap(),
    }
}

/// The problem that a service answers with; 503 says when to try again.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Answer {
    Answer {
        status: status.as_u16(),
        retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then(|| "1".into()),
        body: json!({
            "title": status.canonical_reason().unwrap(),
            "status": status.as_u16(),
            "detail": detail,
        }),
    }
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
    Answer {
        status: 200,
        retry_after: None,
        body: json!({
            "payment_id": Uuid::new_v5(&key, b"payment"),
            "order_id": order_id,
            "outcome": outcome,
        }),
    }
}

/// A gateway that answers as it is told, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    state: Arc<Mutex<GatewayState>>,
}

struct GatewayState {
    answer: (StatusCode, Vec<u8>),
    asked: Vec<(String, HeaderMap)>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(GatewayState {
            answer: approval("a-1"),
            asked: Vec::new(),
        }));
        let router = Router::new().fallback(respond).with_state(state.clone());
        Self {
            url: serve(router).await,
            state,
        }
    }

    pub(crate) fn answers(&self, (status, body): (StatusCode, Vec<u8>)) {
        self.state.lock().unwrap().answer = (status, body);
    }

    /// What it was asked, as method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.asked.iter().map(|(asked, _)| asked.clone()).collect()
    }

    pub(crate) fn last_headers(&self) -> HeaderMap {
        let state = self.state.lock().unwrap();
        state.asked.last().unwrap().1.clone()
    }
}

pub(crate) fn approval(authorization_id: &str) -> (StatusCode, Vec<u8>) {
    let body = json!({
        "authorization_id": authorization_id,
        "outcome": "approved",
        "saved_methods": 2,
    });
    (StatusCode::OK, body.to_string().into_bytes())
}

async fn respond(State(state): State<Arc<Mutex<GatewayState>>>, request: Request) -> Response {
    let mut state = state.lock().unwrap();
    let asked = format!("{} {}", request.method(), request.uri().path());
    state.asked.push((asked, request.headers().clone()));
    state.answer.clone().into_response()
}
