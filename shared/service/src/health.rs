//! `/healthz` and `/readyz`: alive, and able to do its work.

use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// How long one check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a service needs in order to work, by name.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// Adds a check; its error text is shown to whoever asks, so it holds no secrets.
    #[must_use]
    pub fn check<F>(
        mut self,
        name: &'static str,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks
            .push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    async fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, check) in &self.checks {
            match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => faults.push(format!("{name}: {reason}")),
                Err(_) => faults.push(format!("{name}: no answer in time")),
            }
        }
        faults
    }
}

/// The two routes. `/healthz` answers 200 as long as the process serves; `/readyz` answers 200 if
/// every check passes, else 503 with the failing ones named.
pub fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> Result<&'static str, Problem> {
    let faults = readiness.faults().await;
    if faults.is_empty() {
        Ok("ready\n")
    } else {
        Err(Problem::unavailable(format!(
            "not ready: {}",
            faults.join("; ")
        )))
    }
}
