//! The OTLP exporter of spans over HTTP, with bodies from `span_encoding`.
//!
//! Endpoint, headers, retries and what a backend says about refused spans stay with the SDK's
//! exporter: it is handed an empty batch, and the HTTP client that it sends with puts the real body
//! in. Not for compressed bodies and for TLS, which the SDK's exporter has by itself.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::Mutex as AsyncMutex;

use crate::setup::TelemetryError;
use crate::span_encoding::{self, EncodedResource};

/// Exports spans over OTLP/HTTP.
#[derive(Debug)]
pub(crate) struct HttpSpans {
    inner: OtlpExporter,
    body: Arc<Body>,
    resource: EncodedResource,
    /// There is one body at a time.
    exporting: AsyncMutex<()>,
}

/// What is to be sent in place of the SDK's body.
#[derive(Debug, Default)]
struct Body(Mutex<Bytes>);

impl Body {
    fn set(&self, bytes: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    fn get(&self) -> Bytes {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl HttpSpans {
    /// An exporter by the environment's variables; a request takes `timeout` at most.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be made, or the SDK's exporter refuses its settings.
    pub(crate) fn new(timeout: Duration) -> Result<Self, TelemetryError> {
        let body = Arc::new(Body::default());
        let client = Substituting {
            client: blocking_client(timeout).map_err(TelemetryError::HttpClient)?,
            body: Arc::clone(&body),
        };
        let inner = OtlpExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .build()?;
        Ok(Self {
            inner,
            body,
            resource: EncodedResource::default(),
            exporting: AsyncMutex::new(()),
        })
    }
}

/// Made on a thread of its own: it starts a runtime, which a thread of a runtime must not.
fn blocking_client(timeout: Duration) -> io::Result<reqwest::blocking::Client> {
    thread::spawn(move || {
        reqwest::blocking::Client::builder()
            .timeout(timeout)
            .build()
    })
    .join()
    .map_err(|_| io::Error::other("the thread that makes it panicked"))?
    .map_err(io::Error::other)
}

impl SpanExporter for HttpSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _alone = self.exporting.lock().await;
        let body = span_encoding::request(&batch, &self.resource);
        drop(batch);
        self.body.set(body.into());
        let result = self.inner.export(Vec::new()).await;
        self.body.set(Bytes::new());
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    // The inner exporter implements this one and leaves the other to its default.
    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = EncodedResource::new(resource);
        self.inner.set_resource(resource);
    }
}

/// Sends requests with the body that was prepared, and all else as the SDK has it.
#[derive(Debug)]
struct Substituting {
    client: reqwest::blocking::Client,
    body: Arc<Body>,
}

#[async_trait]
impl HttpClient for Substituting {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *request.body_mut() = self.body.get();
        self.client.send_bytes(request).await
    }
}
