//! What a service answers over HTTP, as far as tests compare it.

use axum::http::StatusCode;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// An answer in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// 200 with this body.
    pub fn ok(body: Value) -> Self {
        Self {
            status: 200,
            location: None,
            retry_after: None,
            body,
        }
    }

    /// A problem without fields at fault, as our services answer it: only 503 says when to try
    /// again.
    pub fn problem(status: StatusCode, detail: &str) -> Self {
        Self {
            status: status.as_u16(),
            location: None,
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then(|| "1".into()),
            body: json!({
                "title": status.canonical_reason(),
                "status": status.as_u16(),
                "detail": detail,
            }),
        }
    }

    /// The same with fields at fault: pointer and detail of each.
    #[must_use]
    pub fn with_errors(mut self, errors: &[(&str, &str)]) -> Self {
        self.body["errors"] = errors
            .iter()
            .map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}))
            .collect();
        self
    }
}

/// Sends `request`.
///
/// # Panics
/// If there is no answer, or if an error is not a problem in the form of RFC 9457.
pub async fn answer(request: RequestBuilder) -> Answer {
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
        location: header("location"),
        retry_after: header("retry-after"),
        body: response.json().await.unwrap(),
    }
}
