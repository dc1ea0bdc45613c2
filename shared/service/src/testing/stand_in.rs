//! A server that stands in for another service: it answers as it is told, and remembers what it was
//! asked.

use super::serve;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub struct StandIn {
    /// Where it is, without a slash at the end.
    pub url: String,
    /// What to answer, in turn; the last for ever. Empty: nothing yet.
    answers: watch::Sender<VecDeque<CannedAnswer>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Status and body.
pub type CannedAnswer = (StatusCode, Vec<u8>);

/// What the server was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method and path: `GET /a`.
    pub what: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl StandIn {
    /// Starts a server that answers nothing yet: whoever asks waits.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let (answers, _) = watch::channel(VecDeque::new());
        let mut stand_in = Self {
            url: String::new(),
            answers,
            asked: Arc::default(),
        };
        let router = Router::new().fallback(respond).with_state(stand_in.clone());
        stand_in.url = serve(router).await;
        stand_in
    }

    /// From now on, and to whoever waits, it answers these in turn, and the last again and again.
    pub fn answers(&self, answers: impl IntoIterator<Item = CannedAnswer>) {
        self.answers.send_replace(answers.into_iter().collect());
    }

    /// All that it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    /// All that it was asked, as methods and paths.
    pub fn asked_what(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.what).collect()
    }
}

async fn respond(State(stand_in): State<StandIn>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let asked = Asked {
        what: format!("{} {}", head.method, head.uri.path()),
        headers: head.headers,
        body: to_bytes(body, usize::MAX).await.unwrap().into(),
    };
    stand_in
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    let mut told = stand_in.answers.subscribe();
    loop {
        let mut next = None;
        stand_in.answers.send_if_modified(|answers| {
            next = match answers.len() {
                0 | 1 => answers.front().cloned(),
                _ => answers.pop_front(),
            };
            false
        });
        if let Some(next) = next {
            return next.into_response();
        }
        if told.changed().await.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
}
