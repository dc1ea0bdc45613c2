//! Client of the query API that the viewer and Jaeger share (`/api/v3`).

use anyhow::{Context, bail};
use reqwest::StatusCode;
use std::time::Duration;
use tokio::time::Instant;
use trace_tree::{Kind, Span, Trace};

/// Between two looks at a trace that is still growing.
const POLL: Duration = Duration::from_millis(50);
/// A trace that did not grow for this long has all that its processes have ended: they export
/// every 200 ms.
const QUIET: Duration = Duration::from_millis(600);

/// The query API at one URL.
#[derive(Debug, Clone)]
pub struct QueryApi {
    url: String,
    http: reqwest::Client,
}

impl QueryApi {
    /// A client of the API at `url`.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()?,
        })
    }

    /// The trace with this id, as far as it has arrived.
    ///
    /// # Errors
    /// If the API cannot be reached, refuses, or answers with something that is not OTLP JSON.
    pub async fn trace(&self, trace_id: &str) -> anyhow::Result<Option<Trace>> {
        let response = self
            .http
            .get(format!("{}/api/v3/traces/{trace_id}", self.url))
            .send()
            .await
            .with_context(|| {
                format!(
                    "no viewer answers at {}; is the showcase running?",
                    self.url
                )
            })?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let json: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
                Ok(Some(Trace::from_otlp_json(&json)?))
            }
            status => bail!("{} answers {status}: {}", self.url, response.text().await?),
        }
    }

    /// Waits until the trace of an order is whole: its second asynchronous hop is there, every
    /// record that a service of ours reads was processed, and no more spans arrive. Gives what
    /// there is when `limit` is over.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    pub async fn whole_trace(
        &self,
        trace_id: &str,
        limit: Duration,
    ) -> anyhow::Result<Option<Trace>> {
        let deadline = Instant::now() + limit;
        let mut grown = Instant::now();
        let mut seen = 0;
        loop {
            let trace = self.trace(trace_id).await?;
            let spans = trace.as_ref().map_or(0, |trace| trace.spans.len());
            if spans != seen {
                seen = spans;
                grown = Instant::now();
            }
            let whole = trace.as_ref().is_some_and(is_joined) && grown.elapsed() >= QUIET;
            if whole || Instant::now() >= deadline {
                return Ok(trace);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether the trace hangs together, down to the end of the order.
pub(crate) fn is_joined(trace: &Trace) -> bool {
    let sends = || {
        trace
            .spans
            .iter()
            .filter(|span| span.kind == Kind::Producer)
    };
    let told = sends().any(|span| topic(span).is_some_and(|topic| topic.ends_with("order-status")));
    let undecodable = sends().any(|span| {
        topic(span).is_some_and(|topic| topic.ends_with(".dlq"))
            && !span.attributes.contains_key("app.order.id")
    });
    let all_processed = sends()
        // Nobody of ours reads the dead-letter topic.
        .filter(|span| topic(span).is_some_and(|topic| !topic.ends_with(".dlq")))
        .all(|send| {
            trace.spans.iter().any(|span| {
                span.kind == Kind::Consumer
                    && (span.parent_span_id.as_deref() == Some(&send.span_id)
                        || span.links.iter().any(|link| link.span_id == send.span_id))
            })
        });
    trace.roots().len() == 1 && (told || undecodable) && all_processed
}

fn topic(span: &Span) -> Option<&str> {
    span.attributes.get("messaging.destination.name")?.as_str()
}
