//! Spans and metrics of an HTTP server: where a trace enters a service.
//!
//! Follows the stable HTTP conventions. The address of the client is left out, as it tells of a
//! person; bodies and other headers are never looked at.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri, header, uri::Authority};
use axum::middleware::{self, Next};
use axum::response::Response;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::HeaderExtractor;

use crate::operation::Instruments;
use crate::url_redaction;

/// The boundaries, in seconds, that the conventions advise for HTTP.
pub(crate) const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Probes come every second and say nothing about a request of anyone.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// How a server treats what its callers send.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Whether a caller's trace context and baggage are taken over. Turn it off where anyone may
    /// call: a stranger could otherwise choose trace ids and have every request sampled.
    pub trust_incoming_trace: bool,
}

struct Edge {
    instruments: Instruments,
    options: ServerOptions,
}

/// Gives every request but health probes a SERVER span and a point in
/// `http.server.request.duration`.
///
/// Call it last, after routes and layers, and after [`crate::init`]. The handler runs with the
/// span's context current. A request that nobody waits for any more ends as `cancelled`.
pub fn instrument(router: Router, options: ServerOptions) -> Router {
    let instruments = Instruments::new(
        "telemetry.http_server",
        "http.server.request.duration",
        "Duration of HTTP server requests.",
        &DURATION_BOUNDARIES,
    );
    let edge = Arc::new(Edge {
        instruments,
        options,
    });
    router.layer(middleware::from_fn_with_state(edge, serve))
}

async fn serve(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let parent = if edge.options.trust_incoming_trace {
        global::get_text_map_propagator(|propagator| {
            propagator.extract_with_context(&Context::new(), &HeaderExtractor(request.headers()))
        })
    } else {
        Context::new()
    };
    let (span, labels) = describe(&request);
    let mut operation = edge.instruments.start(span, &parent, labels);
    let response = next
        .run(request)
        .with_context(operation.context().clone())
        .await;
    let status = response.status();
    operation.label(KeyValue::new(
        "http.response.status_code",
        i64::from(status.as_u16()),
    ));
    if status.is_server_error() {
        operation.fail(status.as_str().to_owned(), "");
    }
    operation.complete();
    response
}

/// The span to start, and the labels that the metric shares with it.
fn describe(request: &Request) -> (SpanBuilder, Vec<KeyValue>) {
    let uri = request.uri();
    let route = request.extensions().get::<MatchedPath>();
    // The method is any token the caller likes, so only the known ones may name spans and series.
    let known = is_known(request.method());
    let method = request.method().as_str();
    let shown = if known { method } else { "HTTP" };
    let name = match route {
        Some(route) => format!("{shown} {}", route.as_str()),
        None => shown.to_owned(),
    };

    let mut labels = Vec::with_capacity(6);
    let reported = if known { method } else { "_OTHER" };
    labels.push(KeyValue::new("http.request.method", reported.to_owned()));
    labels.push(KeyValue::new("url.scheme", "http"));
    if let Some(route) = route {
        labels.push(KeyValue::new("http.route", route.as_str().to_owned()));
    }
    if let Some(version) = protocol_version(request.version()) {
        labels.push(KeyValue::new("network.protocol.version", version));
    }

    let mut attributes = Vec::with_capacity(labels.len() + 8);
    attributes.extend_from_slice(&labels);
    attributes.push(KeyValue::new("url.path", uri.path().to_owned()));
    if !known {
        attributes.push(KeyValue::new(
            "http.request.method_original",
            method.to_owned(),
        ));
    }
    if let Some(query) = uri.query() {
        let query = url_redaction::query(query).into_owned();
        attributes.push(KeyValue::new("url.query", query));
    }
    if let Some(authority) = authority(request, uri) {
        attributes.push(KeyValue::new("server.address", authority.host().to_owned()));
        if let Some(port) = authority.port_u16() {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
    }
    if let Some(agent) = header_text(request, header::USER_AGENT) {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    let span = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    (span, labels)
}

/// The host that the caller meant: from the request target in HTTP/2, from `Host` in HTTP/1.
fn authority(request: &Request, uri: &Uri) -> Option<Authority> {
    uri.authority()
        .cloned()
        .or_else(|| header_text(request, header::HOST)?.parse().ok())
}

fn header_text(request: &Request, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// The methods of RFC 9110 and PATCH, which the conventions take as known.
fn is_known(method: &Method) -> bool {
    [
        Method::CONNECT,
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
        Method::TRACE,
    ]
    .contains(method)
}

/// `network.protocol.version`, written as the conventions have it.
pub(crate) fn protocol_version(version: axum::http::Version) -> Option<&'static str> {
    use axum::http::Version;
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}
