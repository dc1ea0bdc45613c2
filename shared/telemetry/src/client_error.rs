//! Why a call over HTTP has no usable answer, in a few words and as a low-cardinality name.

use std::error::Error;
use std::{io, iter};

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL, a header or the body cannot be sent, or the client cannot be built.
    #[error("cannot build the request: {}", chain(.0))]
    Request(#[source] reqwest::Error),
    /// A header is not valid in HTTP.
    #[error("not a header that can be sent: {0}")]
    Header(String),
    /// The request did not reach the server, or its answer did not come.
    #[error("the request failed: {}", chain(.0))]
    Transport(#[source] reqwest::Error),
    /// The answer is larger than this many bytes.
    #[error("the answer is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The answer is not the JSON that was expected.
    #[error("the answer is not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
}

impl ClientError {
    /// The `error.type` of the span: a name of low cardinality.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Header(_) => "invalid_request",
            Self::Transport(error) => transport_error_type(error),
            Self::BodyTooLarge(_) => "body_too_large",
            Self::Json(_) => "invalid_json",
        }
    }

    /// Whether the server may have seen the request and not answered in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_timeout())
    }
}

fn transport_error_type(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return "timeout";
    }
    let kind = causes(error)
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => "connection_refused",
        Some(io::ErrorKind::ConnectionReset) => "connection_reset",
        _ if error.is_dns() => "dns",
        _ if error.is_connect() => "connect",
        _ if error.is_body() || error.is_decode() => "body",
        _ => "transport",
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}

/// reqwest's own text stops at "error sending request"; the reason is further down.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    causes.join(": ")
}
