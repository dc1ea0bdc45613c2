//! The HTTP server that the services share, over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests call these"
)]

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use service::health::Readiness;
use service::http::{Api, Limits, MAX_BODY_BYTES, json_body, listen, serve};
use service::problem::Problem;
use service::testing::{PATIENCE, loopback};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Server {
    url: String,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, readiness: Readiness) -> Self {
        Self::limited(router, readiness, Limits::default()).await
    }

    async fn limited(router: Router, readiness: Readiness, limits: Limits) -> Self {
        let listener = listen("tested", loopback()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let api = Api {
            router,
            readiness,
            trust_incoming_trace: true,
            limits,
        };
        let task = tokio::spawn(serve(listener, api, shutdown.clone()));
        Self {
            url,
            shutdown,
            task,
        }
    }

    /// Answers with the JSON it was sent.
    async fn echo() -> Self {
        Self::start(echo(), Readiness::default()).await
    }

    async fn connect(&self) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        TcpStream::connect(address).await.unwrap()
    }

    async fn stopped(self) {
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn echo() -> Router {
    let echo = async |request: Request| json_body(request).await.map(axum::Json);
    Router::new().route("/echo", post(echo))
}

/// Everything that the server still says on this connection, which it then closes.
async fn last_words(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A connection that is reset has been closed as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said))
        .await
        .expect("the connection is closed");
    String::from_utf8(said).unwrap()
}

async fn problem(response: Response) -> Value {
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_body_is_json_of_a_bounded_size() {
    let server = Server::echo().await;
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = Client::new()
            .post(format!("{}/echo", server.url))
            .body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request.send().await.unwrap()
    };
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON ;charset=utf-8",
    ] {
        let response = send(Some(content_type), b"[1]".to_vec()).await;
        assert_eq!(response.status(), 200, "{content_type}");
        assert_eq!(response.json::<Value>().await.unwrap(), json!([1]));
    }
    let largest = format!("\"{}\"", "a".repeat(MAX_BODY_BYTES - 2));
    let response = send(Some("application/json"), largest.into_bytes()).await;
    assert_eq!(response.status(), 200);

    let not_json = |line: u32, column: u32| {
        json!({
            "title": "Bad Request",
            "status": 400,
            "detail": format!("the body is not JSON at line {line} column {column}"),
        })
    };
    let not_declared = json!({
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "send the body with `Content-Type: application/json`",
    });
    let too_large = json!({
        "title": "Payload Too Large",
        "status": 413,
        "detail": "the body may hold at most 65536 bytes",
    });
    let json = Some("application/json");
    let cases: [(Option<&str>, Vec<u8>, Value); 11] = [
        (json, b"".to_vec(), not_json(1, 0)),
        (
            json,
            b"{\"name\": eve@example.org}".to_vec(),
            not_json(1, 10),
        ),
        (json, b"{\n\"a\": 1".to_vec(), not_json(2, 6)),
        (json, b"\"\xff\"".to_vec(), not_json(1, 2)),
        (json, b"1e999".to_vec(), not_json(1, 5)),
        // Nesting is bounded, or the stack would not be.
        (json, b"[".repeat(60_000), not_json(1, 128)),
        (json, vec![b' '; MAX_BODY_BYTES + 1], too_large.clone()),
        (json, vec![b' '; 8 << 20], too_large),
        (None, b"{}".to_vec(), not_declared.clone()),
        (Some("text/json"), b"{}".to_vec(), not_declared.clone()),
        (Some("application/jsonl"), b"{}".to_vec(), not_declared),
    ];
    for (content_type, body, expected) in cases {
        let shown = format!("{content_type:?} with {} bytes", body.len());
        let response = send(content_type, body).await;
        assert_eq!(
            response.status(),
            expected["status"].as_u64().unwrap() as u16,
            "{shown}"
        );
        assert_eq!(problem(response).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_answered() {
    let server = Server::echo().await;
    let mut stream = server.connect().await;
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                   content-length: 100\r\n\r\n{\"a\":";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = last_words(stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\"detail\":\"the body broke off\"}"),
        "{answer}"
    );
}

#[tokio::test]
async fn headers_that_do_not_come_in_time_close_the_connection() {
    let limits = Limits {
        header_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::limited(echo(), Readiness::default(), limits).await;
    let idle = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: ")
        .await
        .unwrap();
    let mut served = server.connect().await;
    served
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(last_words(idle).await, "");
    assert_eq!(last_words(slow).await, "");
    // One that was answered may ask again, and not stay for ever either.
    let answer = last_words(served).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let server = Server::echo().await;
    let asking_with = async |bytes: usize| {
        let mut stream = server.connect().await;
        let padding = "x".repeat(bytes);
        let request = format!(
            "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\npadding: {padding}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        last_words(stream).await
    };
    let answer = asking_with(15 * 1024).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = asking_with(17 * 1024).await;
    assert!(
        answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn in_a_full_house_the_one_that_keeps_us_waiting_longest_makes_way() {
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, go_on) = (started.clone(), go_on.clone());
        async move || {
            started.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let router = echo().route("/slow", get(handler));
    let server = Server::limited(router, Readiness::default(), limits).await;

    // The first is owed an answer and stays, the second has sent half a body, the third nothing.
    let owed = tokio::spawn(reqwest::get(format!("{}/slow", server.url)));
    started.notified().await;
    let mut half = server.connect().await;
    half.write_all(
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
          content-length: 9\r\nexpect: 100-continue\r\n\r\n",
    )
    .await
    .unwrap();
    let mut invitation = [0; 25];
    half.read_exact(&mut invitation).await.unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    let idle = server.connect().await;

    let ask = async || {
        reqwest::get(format!("{}/healthz", server.url))
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ask().await, 200);
    assert_eq!(last_words(half).await, "");
    // Whoever asks and goes needs nobody's place; whoever stays takes the next one.
    let mut stays = server.connect().await;
    stays
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    stays.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert_eq!(ask().await, 200);
    assert_eq!(last_words(idle).await, "");

    go_on.notify_one();
    assert_eq!(owed.await.unwrap().unwrap().text().await.unwrap(), "done");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::echo().await;
    let client = Client::new();
    let response = client
        .get(format!("{}/nothing", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(
        problem(response).await,
        json!({"title": "Not Found", "status": 404, "detail": "there is no such resource"})
    );
    for (path, allowed) in [("echo", "POST"), ("readyz", "GET,HEAD")] {
        let url = format!("{}/{path}", server.url);
        let response = client.delete(url).send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], allowed);
        assert_eq!(
            problem(response).await,
            json!({
                "title": "Method Not Allowed",
                "status": 405,
                "detail": "this resource has other methods; see the Allow header",
            })
        );
    }
}

#[tokio::test]
async fn a_problem_says_when_to_try_again_and_which_fields_are_at_fault() {
    let refuse =
        async || Problem::unavailable("not now").with_retry_after(Duration::from_millis(2999));
    let server = Server::start(Router::new().route("/", get(refuse)), Readiness::default()).await;
    let response = reqwest::get(&server.url).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(
        problem(response).await,
        json!({"title": "Service Unavailable", "status": 503, "detail": "not now"})
    );
}

#[tokio::test]
async fn readiness_names_everything_that_is_missing() {
    let readiness = Readiness::default()
        .check("kettle", || async { Ok(()) })
        .check("cup", || async { Err("broken".into()) })
        .check("tea", pending);
    let server = Server::start(Router::new(), readiness).await;
    let healthy = reqwest::get(format!("{}/healthz", server.url))
        .await
        .unwrap();
    assert_eq!(healthy.status(), 200);

    let started = Instant::now();
    let response = reqwest::get(format!("{}/readyz", server.url))
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        problem(response).await["detail"],
        "not ready: cup: broken; tea: no answer in time"
    );
}

#[tokio::test]
async fn a_shutdown_lets_the_request_in_flight_finish_and_takes_no_other() {
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, go_on) = (started.clone(), go_on.clone());
        async move || {
            started.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let server = Server::start(Router::new().route("/", get(handler)), Readiness::default()).await;
    let in_flight = tokio::spawn(reqwest::get(server.url.clone()));
    started.notified().await;
    server.shutdown.cancel();
    // The listener is gone as soon as the server has seen the token.
    service::testing::eventually("connections are refused", async || {
        let address = server.url.trim_start_matches("http://");
        TcpStream::connect(address).await.err()
    })
    .await;
    assert!(!server.task.is_finished());
    go_on.notify_one();
    let response = in_flight.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.text().await.unwrap(), "done");
    server.stopped().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_left_after_ten_seconds() {
    let started = Arc::new(Notify::new());
    let handler = {
        let started = started.clone();
        async move || {
            started.notify_one();
            pending::<&'static str>().await
        }
    };
    let server = Server::start(Router::new().route("/", get(handler)), Readiness::default()).await;
    let in_flight = tokio::spawn(reqwest::get(server.url.clone()));
    started.notified().await;
    tokio::time::pause();
    let asked = tokio::time::Instant::now();
    server.shutdown.cancel();
    server.stopped().await;
    assert!(
        asked.elapsed() >= Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    assert!(
        asked.elapsed() < Duration::from_secs(11),
        "{:?}",
        asked.elapsed()
    );
    in_flight.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let first = listen("first", loopback()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = listen("orders-api", address).await.unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.starts_with(&format!(
            "orders-api cannot listen on {address}; stop what is using that port, or choose \
             another (see --help): Address already in use"
        )),
        "{said}"
    );
}
