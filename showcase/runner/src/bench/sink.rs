//! The OTLP sink: a process that takes spans, counts them and keeps nothing.
//!
//! A process of its own, so that what it costs is not counted with what is measured.

use crate::bench::span_count;
use crate::child::{Child, Launch};
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const NAME: &str = "sink";
/// Between two looks at the counts.
const POLL: Duration = Duration::from_millis(20);
/// Spans that have not arrived after this long without any are lost. Longer than the time between
/// two exports.
const QUIET: Duration = Duration::from_secs(3);

/// What arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) spans: u64,
    pub(crate) requests: u64,
    /// Bytes of the requests' bodies.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SinkArguments {
    /// Answer every Nth request as if it had been taken, and forget it; 0 forgets none
    #[arg(long, default_value_t = 0)]
    forget: u64,
}

#[derive(Default)]
struct Sink {
    counts: Mutex<Counts>,
    forget: u64,
}

/// Runs the sink on a free port until `shutdown` is cancelled.
pub(crate) async fn serve(
    arguments: SinkArguments,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let sink = Arc::new(Sink {
        counts: Mutex::default(),
        forget: arguments.forget,
    });
    let router = Router::new()
        .route("/v1/traces", post(take))
        .route("/counts", get(tell))
        .layer(DefaultBodyLimit::disable())
        .with_state(sink);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("{NAME} listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}

async fn take(State(sink): State<Arc<Sink>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Some(spans) = span_count::spans(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut counts = sink.counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.requests += 1;
    if sink.forget == 0 || counts.requests % sink.forget != 0 {
        counts.spans += spans;
        counts.bytes += body.len() as u64;
    }
    StatusCode::OK
}

async fn tell(State(sink): State<Arc<Sink>>) -> Json<Counts> {
    Json(*sink.counts.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A sink in a child process.
pub(crate) struct SinkProcess {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl SinkProcess {
    /// Starts one that forgets every `forget`th request; its log goes to the folder `logs`.
    pub(crate) async fn start(program: &Path, logs: &Path, forget: u64) -> anyhow::Result<Self> {
        let child = Child::start(Launch {
            program: program.to_owned(),
            arguments: vec!["sink".into(), format!("--forget={forget}")],
            name: NAME.into(),
            environment: Vec::new(),
            announces: vec![NAME.into()],
            logs: logs.to_owned(),
        })
        .await?;
        let address = child.address(NAME).context("the sink has no address")?;
        Ok(Self {
            child,
            url: format!("http://{address}"),
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let url = format!("{}/counts", self.url);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Waits until `expected` spans are there, or none has come for three seconds.
    pub(crate) async fn settled(&self, expected: u64) -> anyhow::Result<Counts> {
        let mut counts = self.counts().await?;
        let mut grown = Instant::now();
        while counts.spans < expected && grown.elapsed() < QUIET {
            tokio::time::sleep(POLL).await;
            let now = self.counts().await?;
            if now != counts {
                counts = now;
                grown = Instant::now();
            }
        }
        Ok(counts)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.child.stop().await?;
        Ok(())
    }
}
