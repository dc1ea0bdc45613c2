//! The connections of a service's HTTP server: how many there are, how much each may say before it
//! is answered, and how long it may take over it.
//!
//! HTTP/1.1 without TLS: at a public edge a proxy ends that. What a request may ask for is not
//! decided here.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What a server's callers may take of it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. When all are taken, the one that has kept the server waiting longest
    /// makes way for the next: idle and slow callers cannot keep the others out.
    pub connections: usize,
    /// How long the headers of a request may take. A connection may stay idle as long.
    pub header_time: Duration,
    /// Bytes of a request's first line and headers together; 8192 at least. More is answered with
    /// 431.
    pub header_bytes: usize,
}

impl Default for Limits {
    /// 512 connections, well below the 1024 files that many systems allow a process; 10 s and
    /// 16 KiB for the headers.
    fn default() -> Self {
        Self {
            connections: 512,
            header_time: Duration::from_secs(10),
            header_bytes: 16 * 1024,
        }
    }
}

/// Serves `router` until `shutdown` is cancelled; then takes no new connections, and returns once
/// the requests in flight are answered.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let line = Line::default();
    let mut connections = JoinSet::new();
    let take = async {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await;
            while connections.try_join_next().is_some() {}
            if places.available_permits() == 0 {
                line.dismiss_longest();
            }
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let turn = Arc::new(Turn::join(&line));
            let converse = converse(stream, router.clone(), limits, turn, shutdown.clone());
            connections.spawn(async move {
                converse.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = take => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    // A panic in a handler ended its own connection and nothing else.
    while connections.join_next().await.is_some() {}
}

/// One connection, to its end. How it ended is the caller's affair: it hung up, was too slow or
/// spoke no HTTP, and was answered where an answer could be had.
async fn converse(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    turn: Arc<Turn>,
    shutdown: CancellationToken,
) {
    // Answers are small; none should wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let dismissed = turn.dismissed.clone();
    let asking = Arc::clone(&turn);
    let service = router
        .map_request(move |request: hyper::Request<Incoming>| -> Request {
            request.map(|body| Body::new(Watched::new(body, Arc::clone(&asking))))
        })
        .map_response(move |response: Response| {
            turn.wait();
            response
        });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = dismissed.cancelled() => return,
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// The connections that keep the server waiting, longest first.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    turns: BTreeMap<u64, CancellationToken>,
}

impl Line {
    fn dismiss_longest(&self) {
        if let Some((_, dismissed)) = self.waiting().turns.pop_first() {
            dismissed.cancel();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere leaves nothing half done in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the line. It has none while it is owed an answer.
struct Turn {
    line: Line,
    number: Mutex<Option<u64>>,
    dismissed: CancellationToken,
}

impl Turn {
    fn join(line: &Line) -> Self {
        let turn = Self {
            line: line.clone(),
            number: Mutex::new(None),
            dismissed: CancellationToken::new(),
        };
        turn.wait();
        turn
    }

    /// Goes to the end of the line: the next request is awaited.
    fn wait(&self) {
        self.leave();
        let mut waiting = self.line.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.turns.insert(number, self.dismissed.clone());
        *self.number() = Some(number);
    }

    /// Leaves the line: a request has come whole.
    fn leave(&self) {
        if let Some(number) = self.number().take() {
            self.line.waiting().turns.remove(&number);
        }
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A request's body that tells when it has come whole.
struct Watched {
    body: Incoming,
    turn: Arc<Turn>,
}

impl Watched {
    fn new(body: Incoming, turn: Arc<Turn>) -> Self {
        let watched = Self { body, turn };
        watched.notice_end();
        watched
    }

    fn notice_end(&self) {
        if self.body.is_end_stream() {
            self.turn.leave();
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.turn.leave();
        } else {
            self.notice_end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
