//! Spans and metrics of an HTTP server: where a trace enters a service.
//!
//! Follows the stable HTTP conventions. The address of the client is left out, as it tells of a
//! person; bodies and other headers are never looked at.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri, header, uri::Authority};
use axum::middleware::{self, Next};
use axum::response::Response;
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{Link, SpanBuilder, SpanKind, TraceContextExt};
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

/// Bytes of a `tracestate` that are taken over.
const MAX_TRACESTATE: usize = 512;
/// Bytes of `baggage` that are taken over.
const MAX_BAGGAGE: usize = 8192;
/// Bytes of an attribute whose value the caller chooses; the rest is cut off.
const MAX_ATTRIBUTE: usize = 1024;

/// How a server treats what its callers send.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Whether a caller's trace context and baggage are taken over. Turn it off where anyone may
    /// call: a stranger could otherwise choose trace ids and have every request sampled. The span
    /// is then the root of a trace of its own and links the caller's; its baggage is dropped.
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
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(
            &Context::new(),
            &BoundedHeaders(HeaderExtractor(request.headers())),
        )
    });
    let mut span = SpanBuilder::default().with_kind(SpanKind::Server);
    let parent = if edge.options.trust_incoming_trace {
        caller
    } else {
        let foreign = caller.span().span_context().clone();
        if foreign.is_valid() {
            span = span.with_links(vec![Link::with_context(foreign)]);
        }
        Context::new()
    };
    let labels = labels(&request);
    let mut operation = edge
        .instruments
        .start(span, &parent, labels, |labels| describe(&request, labels));
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

/// A caller's headers, less what every record and call of the trace would carry on: a `tracestate`
/// or `baggage` that is longer than W3C asks anyone to pass on counts as none.
struct BoundedHeaders<'a>(HeaderExtractor<'a>);

impl Extractor for BoundedHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| value.len() <= most(key))
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values = self.0.get_all(key)?;
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        (bytes <= most(key)).then_some(values)
    }
}

fn most(key: &str) -> usize {
    match key {
        "tracestate" => MAX_TRACESTATE,
        "baggage" => MAX_BAGGAGE,
        _ => usize::MAX,
    }
}

/// What a caller wrote, as the value of an attribute.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ATTRIBUTE)].to_owned()
}

/// What the metric says of a request, and its span too. The method is any token the caller likes, so
/// only the known ones may name spans and series.
fn labels(request: &Request) -> Vec<KeyValue> {
    // Room for what the answer adds.
    let mut labels = Vec::with_capacity(8);
    let method = known_method(request.method()).unwrap_or("_OTHER");
    labels.push(KeyValue::new("http.request.method", method));
    labels.push(KeyValue::new("url.scheme", "http"));
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        labels.push(KeyValue::new("http.route", route.as_str().to_owned()));
    }
    if let Some(version) = protocol_version(request.version()) {
        labels.push(KeyValue::new("network.protocol.version", version));
    }
    labels
}

/// The name of the span, and its attributes: the labels, and what only a span may say.
fn describe(request: &Request, labels: &[KeyValue]) -> (Cow<'static, str>, Vec<KeyValue>) {
    let uri = request.uri();
    let known = known_method(request.method());
    let shown = known.unwrap_or("HTTP");
    let name = match request.extensions().get::<MatchedPath>() {
        Some(route) => format!("{shown} {}", route.as_str()).into(),
        None => shown.into(),
    };

    let mut attributes = Vec::with_capacity(labels.len() + 8);
    attributes.extend_from_slice(labels);
    attributes.push(KeyValue::new("url.path", bounded(uri.path())));
    if known.is_none() {
        attributes.push(KeyValue::new(
            "http.request.method_original",
            bounded(request.method().as_str()),
        ));
    }
    if let Some(query) = uri.query() {
        let query = url_redaction::query(query);
        attributes.push(KeyValue::new("url.query", bounded(&query)));
    }
    if let Some(authority) = authority(request, uri) {
        attributes.push(KeyValue::new("server.address", bounded(authority.host())));
        if let Some(port) = authority.port_u16() {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
    }
    if let Some(agent) = header_text(request, header::USER_AGENT) {
        attributes.push(KeyValue::new("user_agent.original", bounded(agent)));
    }
    (name, attributes)
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

/// The method's name, if it is one of RFC 9110 or PATCH, which the conventions take as known.
pub(crate) fn known_method(method: &Method) -> Option<&'static str> {
    [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ]
    .into_iter()
    .find(|known| *known == method.as_str())
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
