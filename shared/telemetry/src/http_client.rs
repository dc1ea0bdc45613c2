//! Calls to other services over HTTP: a CLIENT span, its duration, and the trace context sent along.
//!
//! Plain HTTP only. Redirects are not followed, since one span stands for one request, and proxy
//! variables of the environment are not read. Retrying is the caller's: see
//! [`RequestBuilder::resend_count`].

use std::sync::Arc;
use std::time::Duration;

pub use crate::client_error::ClientError;
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::HeaderInjector;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
pub use reqwest::{IntoUrl, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http_server::{DURATION_BOUNDARIES, known_method, protocol_version};
use crate::operation::{Instruments, Operation};
use crate::url_redaction;

/// How much of an answer is read, in bytes, unless the request says otherwise.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Shorter than the 10 s after which the services' own server closes a connection that is idle: a
/// request must not be sent into one that is about to go.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP client whose requests are traced. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    instruments: Instruments,
    propagate: bool,
}

impl Client {
    /// A client whose requests take `timeout` at most, from connecting to the end of the answer.
    ///
    /// With `propagate` the current trace context and baggage go along. Turn it off for third
    /// parties: they get neither, and the span is there all the same. Call [`crate::init`] before.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] when the resolver of the system cannot be set up.
    pub fn new(timeout: Duration, propagate: bool) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(ClientError::Request)?;
        let instruments = Instruments::new(
            "telemetry.http_client",
            "http.client.request.duration",
            "Duration of HTTP client requests.",
            &DURATION_BOUNDARIES,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                instruments,
                propagate,
            }),
        })
    }

    /// A request to `url`. `url_template` is its path with names in place of what varies, such as
    /// `/payments/verify/{order_id}`; it names the span.
    pub fn request(
        &self,
        method: Method,
        url: impl IntoUrl,
        url_template: &'static str,
    ) -> RequestBuilder {
        RequestBuilder {
            client: Arc::clone(&self.inner),
            request: Ok(self.inner.http.request(method, url)),
            url_template,
            attributes: Vec::new(),
            resend_count: 0,
            body_limit: BODY_LIMIT,
        }
    }
}

/// A request that is being put together.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Arc<Inner>,
    request: Result<reqwest::RequestBuilder, ClientError>,
    url_template: &'static str,
    attributes: Vec<KeyValue>,
    resend_count: u32,
    body_limit: usize,
}

impl RequestBuilder {
    /// Sends `body` as JSON. A value that JSON cannot hold makes [`RequestBuilder::send`] fail.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        self.request = self.request.map(|request| request.json(body));
        self
    }

    /// Adds a header. One that HTTP does not allow makes [`RequestBuilder::send`] fail.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.and_then(|request| {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .zip(HeaderValue::from_str(value).ok());
            match parsed {
                Some((name, value)) => Ok(request.header(name, value)),
                None => Err(ClientError::Header(name.to_owned())),
            }
        });
        self
    }

    /// Adds an attribute to the span.
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// How many times this request was sent before: `http.request.resend_count`.
    pub fn resend_count(mut self, count: u32) -> Self {
        self.resend_count = count;
        self
    }

    /// How much of the answer to read at most, in bytes, in place of [`BODY_LIMIT`].
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sends the request and reads the answer, all of it inside the span.
    ///
    /// An answer of any status is an `Ok`, though 4xx and 5xx mark the span as failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection and ends the span with the error type `cancelled`.
    /// The server may have done the work.
    ///
    /// # Errors
    ///
    /// When the request cannot be sent (there is no span then), when no answer came, or when it is
    /// larger than the limit.
    pub async fn send(self) -> Result<Response, ClientError> {
        let mut request = self.request?.build().map_err(ClientError::Request)?;
        let labels = labels(&request, self.url_template);
        let parent = Context::current();
        let mut operation = self.client.instruments.start(
            SpanBuilder::default().with_kind(SpanKind::Client),
            &parent,
            labels,
            |labels| {
                let mut attributes = Vec::with_capacity(labels.len() + 8);
                attributes.extend_from_slice(labels);
                let url = url_redaction::full(request.url());
                attributes.push(KeyValue::new("url.full", url));
                if self.resend_count > 0 {
                    let count = i64::from(self.resend_count);
                    attributes.push(KeyValue::new("http.request.resend_count", count));
                }
                attributes.extend(self.attributes);
                let name = format!("{} {}", request.method(), self.url_template);
                (name.into(), attributes)
            },
        );
        if self.client.propagate {
            inject(operation.context(), request.headers_mut());
        }
        let context = operation.context().clone();
        let exchange = exchange(&self.client.http, request, self.body_limit, &mut operation);
        let result = exchange.with_context(context).await;
        if let Err(error) = &result {
            operation.fail(error.error_type(), error.to_string());
            operation.exception("ClientError", error.to_string());
        }
        operation.complete();
        result
    }
}

async fn exchange(
    http: &reqwest::Client,
    request: reqwest::Request,
    body_limit: usize,
    operation: &mut Operation,
) -> Result<Response, ClientError> {
    // The URL may hold what telemetry must not show, and the span has it without that.
    let transport = |error: reqwest::Error| ClientError::Transport(error.without_url());
    let mut response = http.execute(request).await.map_err(transport)?;
    let status = response.status();
    operation.label(KeyValue::new(
        "http.response.status_code",
        i64::from(status.as_u16()),
    ));
    if let Some(version) = protocol_version(response.version()) {
        operation.label(KeyValue::new("network.protocol.version", version));
    }
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > body_limit {
            return Err(ClientError::BodyTooLarge(body_limit));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_client_error() || status.is_server_error() {
        operation.fail(status.as_str().to_owned(), "");
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}

/// What the metric says of a request, and its span too.
fn labels(request: &reqwest::Request, url_template: &'static str) -> Vec<KeyValue> {
    let url = request.url();
    // Room for what the answer adds.
    let mut labels = Vec::with_capacity(8);
    labels.push(match known_method(request.method()) {
        Some(method) => KeyValue::new("http.request.method", method),
        None => KeyValue::new("http.request.method", request.method().as_str().to_owned()),
    });
    if let Some(host) = url.host_str() {
        labels.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(port) = url.port_or_known_default() {
        labels.push(KeyValue::new("server.port", i64::from(port)));
    }
    labels.push(KeyValue::new("url.template", url_template));
    labels
}

/// The SDK's propagator sets an empty `tracestate`, which is not worth a header.
fn inject(context: &Context, headers: &mut HeaderMap) {
    struct NonEmpty<'a>(HeaderInjector<'a>);
    impl Injector for NonEmpty<'_> {
        fn set(&mut self, key: &str, value: String) {
            if !value.is_empty() {
                self.0.set(key, value);
            }
        }
    }
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(context, &mut NonEmpty(HeaderInjector(headers)));
    });
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`ClientError::Json`] when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
