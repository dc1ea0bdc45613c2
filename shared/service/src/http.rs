//! The HTTP server of a service: a bounded body, a bounded time, errors as problem+json, health
//! routes, and a shutdown that lets requests in flight finish.
//!
//! Spans and metrics of requests come from `telemetry::http_server`, which is put around it here;
//! who may keep a connection is decided in `connections`.

use crate::connections;
pub use crate::connections::Limits;
use crate::health::{self, Readiness};
use crate::problem::Problem;
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::time::Duration;
use telemetry::http_server::ServerOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Largest request body that is read.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest time a request may take before it is answered with 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may go on once the service shuts down.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds `address` and announces it on standard output, as `NAME listening on http://HOST:PORT`,
/// which whoever started the service with port 0 reads.
///
/// # Errors
/// A message that names the address and says what to do.
pub async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{name} cannot listen on {address}; stop what is using that port, or choose another (see --help)")
    })?;
    println!("{name} listening on http://{}", listener.local_addr()?);
    Ok(listener)
}

/// What a service serves.
pub struct Api {
    /// Its own routes.
    pub router: Router,
    /// What `/readyz` checks.
    pub readiness: Readiness,
    /// Whether a caller's `traceparent` is continued; off at a public edge, where it is linked.
    pub trust_incoming_trace: bool,
    /// What callers may take of the server.
    pub limits: Limits,
}

impl Api {
    /// The routes with everything around them.
    pub fn into_router(self) -> Router {
        let router = self
            .router
            .merge(health::routes(self.readiness))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such resource"))
            .method_not_allowed_fallback(async || {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this resource has other methods; see the Allow header",
                )
            })
            .layer(middleware::from_fn(bound_time));
        telemetry::http_server::instrument(
            router,
            ServerOptions {
                trust_incoming_trace: self.trust_incoming_trace,
            },
        )
    }
}

/// Serves `api` until `shutdown` is cancelled; then takes no new connections and gives requests in
/// flight up to 10 s. A connection that cannot be accepted is left to its caller; the server goes on.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) {
    let limits = api.limits;
    let drained = shutdown.clone();
    tokio::select! {
        () = connections::serve(listener, api.into_router(), limits, shutdown) => {}
        () = async {
            drained.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        } => tracing::warn!("requests still in flight after {DRAIN_TIMEOUT:?}; leaving them"),
    }
}

async fn bound_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    }
}

/// The JSON of a request's body.
///
/// # Errors
/// 415 for another content type, 413 for more than [`MAX_BODY_BYTES`], 400 for a body that breaks
/// off or is not JSON. The problem names line and column and quotes nothing.
pub async fn json_body(request: Request<Body>) -> Result<serde_json::Value, Problem> {
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body with `Content-Type: application/json`",
        ));
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|error| {
            if error.into_inner().is::<http_body_util::LengthLimitError>() {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body may hold at most {MAX_BODY_BYTES} bytes"),
                )
            } else {
                Problem::new(StatusCode::BAD_REQUEST, "the body broke off")
            }
        })?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "the body is not JSON at line {} column {}",
                error.line(),
                error.column()
            ),
        )
    })
}
