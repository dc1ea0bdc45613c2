//! OTLP over TLS: what the exporters' own clients lack. They read their headers, timeouts and
//! compression themselves.
//!
//! One kind of TLS for HTTP and gRPC: OpenSSL, which librdkafka brings along. Which files there are
//! is read in `settings`.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{Request, Response};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use native_tls::{Certificate, Identity, TlsConnector};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithHttpConfig, WithTonicConfig};
use tonic::transport::{Channel, Endpoint};

use crate::settings::{PemFile, Tls};
use crate::{client_error, losses};

/// Why there is no exporter over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates or of a key cannot be used.
    #[error("{variable}: {file}: {reason}")]
    File {
        /// The variable that names it.
        variable: String,
        /// The file.
        file: String,
        /// What is wrong with it; nothing of its content.
        reason: String,
    },
    /// The client cannot be built of these settings.
    #[error("no client for OTLP over TLS: {0}")]
    Client(String),
}

impl TlsError {
    fn file(pem: &PemFile, reason: impl ToString) -> Self {
        Self::File {
            variable: pem.variable.clone(),
            file: pem.file.clone(),
            reason: reason.to_string(),
        }
    }
}

/// `builder` with a client for `tls`.
pub(crate) fn http<B: WithHttpConfig>(builder: B, tls: &Tls) -> Result<B, TlsError> {
    let connector = connector(tls, &[])?;
    let timeout = tls.timeout;
    // The blocking client has a runtime of its own, which must not start within another.
    let client = thread::spawn(move || {
        reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(connector)
            .timeout(timeout)
            .build()
    })
    .join()
    .map_err(|_| TlsError::Client("its thread panicked".to_owned()))?
    .map_err(|error| TlsError::Client(error.to_string()))?;
    Ok(builder.with_http_client(Https {
        client,
        said: Mutex::new(None),
    }))
}

/// Says why a request failed: the exporter makes `network error` of a certificate that has expired.
#[derive(Debug)]
struct Https {
    client: reqwest::blocking::Client,
    said: Mutex<Option<Instant>>,
}

#[tonic::async_trait]
impl HttpClient for Https {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.client.send_bytes(request).await;
        sent.map_err(|error| match error.downcast::<reqwest::Error>() {
            Ok(error) => {
                // The URL may hold a password.
                let error = error.without_url();
                self.say(&client_error::chain(&error));
                error.into()
            }
            Err(error) => error,
        })
    }
}

impl Https {
    fn say(&self, reason: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|last| last.elapsed() >= losses::REMINDER) {
            *said = Some(Instant::now());
            drop(said);
            tracing::warn!(target: losses::TARGET, "no export over HTTPS: {reason}");
        }
    }
}

/// `builder` with a channel for `tls`, which connects when it is first used.
pub(crate) fn grpc<B: WithTonicConfig>(builder: B, tls: &Tls) -> Result<B, TlsError> {
    Ok(builder.with_channel(channel(tls)?))
}

fn channel(tls: &Tls) -> Result<Channel, TlsError> {
    let connector = tokio_native_tls::TlsConnector::from(connector(tls, &["h2"])?);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut https = HttpsConnector::from((tcp, connector));
    https.https_only(true);
    // The endpoint is not quoted: it may hold a password.
    let endpoint = Endpoint::from_shared(tls.endpoint.clone())
        .map_err(|_| TlsError::Client("the endpoint is not a URI".to_owned()))?;
    Ok(endpoint
        .timeout(tls.timeout)
        .connect_timeout(tls.timeout)
        .connect_with_connector_lazy(https))
}

/// The system's authorities are trusted unless a file names others; the host's name is checked.
fn connector(tls: &Tls, protocols: &[&str]) -> Result<TlsConnector, TlsError> {
    let mut builder = TlsConnector::builder();
    builder.request_alpns(protocols);
    if let Some(pem) = &tls.authorities {
        let authorities =
            Certificate::stack_from_pem(&read(pem)?).map_err(|error| TlsError::file(pem, error))?;
        if authorities.is_empty() {
            return Err(TlsError::file(pem, "it holds no certificate in PEM"));
        }
        builder.disable_built_in_roots(true);
        for authority in authorities {
            builder.add_root_certificate(authority);
        }
    }
    if let Some((certificate, key)) = &tls.client {
        let identity = Identity::from_pkcs8(&read(certificate)?, &read(key)?);
        builder.identity(identity.map_err(|error| {
            TlsError::file(key, format!("not a key of that certificate: {error}"))
        })?);
    }
    builder
        .build()
        .map_err(|error| TlsError::Client(error.to_string()))
}

fn read(pem: &PemFile) -> Result<Vec<u8>, TlsError> {
    fs::read(&pem.file).map_err(|error| TlsError::file(pem, error))
}
