//! The controls of the live page: orders to post, and settings to change, over HTTP on loopback.
//!
//! In the runner's process, since it owns the services. Only the viewer's page may use it: a request
//! must name that page as its `Origin`, and this server by a loopback name, so that neither another
//! site nor a name pointed at this machine can post orders.

use crate::order;
use crate::settings::{Change, Settings};
use anyhow::Context;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const MAX_BODY_BYTES: usize = 4096;
/// Orders of one request.
const MAX_ORDERS: u32 = 100;
/// What the simulated gateway knows.
const PAYMENT_METHODS: [&str; 7] = [
    "pm_ok",
    "pm_many_methods",
    "pm_declined",
    "pm_fail_twice",
    "pm_down",
    "pm_hang",
    "pm_slow",
];

/// A change that the page asks for; `None` asks how things are. Answered with the settings that
/// hold then, or with why it failed.
pub(crate) struct Wish {
    pub(crate) change: Option<Change>,
    pub(crate) answer: oneshot::Sender<Result<Settings, String>>,
}

/// An address for the controls that nothing is served on yet.
pub(crate) struct Control {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Shared {
    orders_api: Arc<str>,
    wishes: mpsc::Sender<Wish>,
}

impl Control {
    /// Takes a loopback port; 0 takes a free one.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(crate) async fn bind(port: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "the page's controls cannot listen on {address}; stop what is using that port, or \
                 choose another with --control-port"
            )
        })?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where the page reaches it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves the page at `viewer` from now on; orders go to `orders_api`. Gives what it asks for.
    pub(crate) fn serve(self, viewer: &str, orders_api: &str) -> mpsc::Receiver<Wish> {
        let (wishes, received) = mpsc::channel(8);
        let shared = Shared {
            orders_api: orders_api.into(),
            wishes,
        };
        let router = router(shared, viewer);
        tokio::spawn(async move {
            // It has an error in its type and none in its documentation.
            _ = axum::serve(self.listener, router).await;
        });
        received
    }
}

fn router(shared: Shared, viewer: &str) -> Router {
    let port = viewer.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.unwrap_or_default();
    Router::new()
        .route("/control", get(state))
        .route("/control/settings", post(settings))
        .route("/control/orders", post(orders))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is no such control"))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(
            move |request: Request, next: Next| async move { guard(port, request, next).await },
        ))
        .with_state(shared)
}

/// In the form in which the page reads all failures.
fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message}}))).into_response()
}

async fn guard(viewer_port: u16, request: Request, next: Next) -> Response {
    let Some(origin) = allowed_origin(request.headers(), viewer_port) else {
        return failure(
            StatusCode::FORBIDDEN,
            "only the viewer's page may use these controls",
        );
    };
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::VARY, "Origin"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("access-control-allow-private-network"),
            "true",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The request's `Origin`, if it is the page's and `Host` is a loopback name.
fn allowed_origin(headers: &HeaderMap, viewer_port: u16) -> Option<HeaderValue> {
    let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    let origin = headers.get(header::ORIGIN)?;
    let page: Authority = origin
        .to_str()
        .ok()?
        .strip_prefix("http://")?
        .parse()
        .ok()?;
    let is_page = is_loopback(page.host()) && page.port_u16() == Some(viewer_port);
    (is_loopback(host.host()) && is_page).then(|| origin.clone())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

async fn state(State(shared): State<Shared>) -> Response {
    match wish(&shared, None).await {
        Ok(settings) => Json(json!({
            "settings": settings,
            "paymentMethods": PAYMENT_METHODS,
        }))
        .into_response(),
        Err(message) => failure(StatusCode::SERVICE_UNAVAILABLE, &message),
    }
}

async fn settings(
    State(shared): State<Shared>,
    change: Result<Json<Change>, JsonRejection>,
) -> Response {
    let change = match change {
        Ok(Json(change)) => change,
        Err(error) => return failure(error.status(), &error.body_text()),
    };
    if let Err(error) = change.check() {
        return failure(StatusCode::BAD_REQUEST, &error.to_string());
    }
    match wish(&shared, Some(change)).await {
        Ok(settings) => Json(json!({"settings": settings})).into_response(),
        Err(message) => failure(StatusCode::INTERNAL_SERVER_ERROR, &message),
    }
}

async fn wish(shared: &Shared, change: Option<Change>) -> Result<Settings, String> {
    let (answer, answered) = oneshot::channel();
    let gone = || "the showcase is stopping".to_owned();
    let wish = Wish { change, answer };
    shared.wishes.send(wish).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Orders {
    payment_method: String,
    count: u32,
}

async fn orders(
    State(shared): State<Shared>,
    wanted: Result<Json<Orders>, JsonRejection>,
) -> Response {
    let wanted = match wanted {
        Ok(Json(wanted)) => wanted,
        Err(error) => return failure(error.status(), &error.body_text()),
    };
    if !PAYMENT_METHODS.contains(&wanted.payment_method.as_str()) {
        return failure(StatusCode::BAD_REQUEST, "there is no such payment method");
    }
    if !(1..=MAX_ORDERS).contains(&wanted.count) {
        let message = format!("count is a number from 1 to {MAX_ORDERS}");
        return failure(StatusCode::BAD_REQUEST, &message);
    }
    let mut order = order::sample();
    order["payment_method"] = json!(wanted.payment_method);
    let mut posted = Vec::new();
    for _ in 0..wanted.count {
        match order::post(&shared.orders_api, &order).await {
            Ok(order) => posted.push(json!({
                "orderId": order.order_id,
                "traceId": order.trace_id,
            })),
            Err(error) => return failure(StatusCode::BAD_GATEWAY, &format!("{error:#}")),
        }
    }
    Json(json!({"orders": posted})).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        allowed_origin(&headers, 8010).is_some()
    }

    #[test]
    fn only_the_page_is_answered_and_only_under_a_loopback_name() {
        let host = Some("127.0.0.1:8012");
        for origin in [
            "http://127.0.0.1:8010",
            "http://localhost:8010",
            "http://[::1]:8010",
        ] {
            assert!(is_allowed(host, Some(origin)), "{origin}");
            assert!(is_allowed(Some("localhost:8012"), Some(origin)), "{origin}");
        }
        for origin in [
            None,
            Some("null"),
            Some("http://127.0.0.1"),
            Some("http://127.0.0.1:8011"),
            Some("https://127.0.0.1:8010"),
            Some("http://example.com:8010"),
            Some("http://127.0.0.1.example.com:8010"),
            Some("http://localhost:8010@example.com"),
        ] {
            assert!(!is_allowed(host, origin), "{origin:?}");
        }
        let page = Some("http://127.0.0.1:8010");
        for host in [
            None,
            Some("example.com:8012"),
            Some("10.0.0.1:8012"),
            Some(""),
        ] {
            assert!(!is_allowed(host, page), "{host:?}");
        }
    }
}
