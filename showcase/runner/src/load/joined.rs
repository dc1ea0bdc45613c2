//! Asks the query API whether the traces of orders have joined, for some of them while the load
//! goes on: at its end the first may have been dropped for newer ones.

use crate::query::{self, QueryApi};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two traces that are looked for.
const INTERVAL: Duration = Duration::from_millis(50);
/// Traces that wait to be looked for; what comes beyond is not asked for.
const WAITING: usize = 200;
/// How long the spans of an order may take: its processes export every few seconds.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);

/// How many were asked for, and how many of them had joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    pub(crate) asked: u64,
    pub(crate) joined: u64,
}

/// A check that goes on beside the load.
pub(crate) struct JoinedCheck {
    questions: mpsc::Sender<String>,
    over: CancellationToken,
    checking: JoinHandle<Asked>,
}

impl JoinedCheck {
    /// `None` if nobody answers at `viewer`.
    pub(crate) async fn start(viewer: &str) -> Option<Self> {
        let query = QueryApi::new(viewer).ok()?;
        if query.trace(&"1".repeat(32)).await.is_err() {
            eprintln!("no query API answers at {viewer}: whether traces join is not checked");
            return None;
        }
        let (questions, mut asked_for) = mpsc::channel::<String>(WAITING);
        let over = CancellationToken::new();
        let is_over = over.clone();
        let checking = tokio::spawn(async move {
            let mut looks = JoinSet::new();
            let mut result = Asked::default();
            loop {
                // Those that wait are asked for even when it is over.
                let next = is_over.run_until_cancelled(asked_for.recv()).await;
                let Some(trace_id) = next.flatten().or_else(|| asked_for.try_recv().ok()) else {
                    break;
                };
                let query = query.clone();
                looks.spawn(async move { joins(&query, &trace_id).await });
                while let Some(look) = looks.try_join_next() {
                    result.enter(look.unwrap_or(false));
                }
                tokio::time::sleep(INTERVAL).await;
            }
            while let Some(look) = looks.join_next().await {
                result.enter(look.unwrap_or(false));
            }
            result
        });
        Some(Self {
            questions,
            over,
            checking,
        })
    }

    /// Takes the ids of sampled traces.
    pub(crate) fn questions(&self) -> mpsc::Sender<String> {
        self.questions.clone()
    }

    /// Waits for the answers that are still out.
    pub(crate) async fn finish(self) -> Asked {
        self.over.cancel();
        self.checking.await.unwrap_or_default()
    }
}

impl Asked {
    fn enter(&mut self, joined: bool) {
        self.asked += 1;
        self.joined += u64::from(joined);
    }
}

async fn joins(query: &QueryApi, trace_id: &str) -> bool {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(Some(trace)) = query.trace(trace_id).await
            && query::is_joined(&trace)
        {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}
