//! HTTP client and server, over loopback: spans, attributes, metrics and headers as they come out.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know tests, and not what tests call"
)]

mod recorder;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanId, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SpanData;
use recorder::{recorder, shown, traced, tree};
use telemetry::http_client::{Client, ClientError, Method};
use telemetry::http_server::{ServerOptions, instrument};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc};

const TRUSTING: ServerOptions = ServerOptions {
    trust_incoming_trace: true,
};

/// Serves `router`; answers with its port.
async fn serve(router: Router) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

fn client(propagate: bool) -> Client {
    recorder();
    Client::new(Duration::from_secs(10), propagate).unwrap()
}

fn traced_routes(options: ServerOptions) -> Router {
    recorder();
    let router = Router::new()
        .route(
            "/orders/{id}",
            post(|Path(id): Path<String>| async move {
                // The span of the request is current, before and after an await.
                tokio::task::yield_now().await;
                let context = Context::current();
                context
                    .span()
                    .set_attribute(KeyValue::new("app.order.id", id));
                let tenant = context.baggage().get("tenant").map(ToString::to_string);
                (StatusCode::ACCEPTED, tenant.unwrap_or_default())
            }),
        )
        .route("/broken", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/healthz", get(|| async { "" }))
        .route("/readyz", get(|| async { "" }));
    instrument(router, options)
}

#[tokio::test]
async fn a_call_between_two_services_is_one_trace() {
    let port = serve(traced_routes(TRUSTING)).await;
    let (response, trace) = traced(async {
        client(true)
            .request(
                Method::POST,
                format!("http://ann:pw@127.0.0.1:{port}/orders/7?token=t0p&b=1"),
                "/orders/{id}",
            )
            .header("user-agent", "tests")
            .json(&serde_json::json!({"a": 1}))
            .attribute(KeyValue::new("app.order.id", "7"))
            .resend_count(2)
            .send()
            .await
            .unwrap()
    })
    .await;
    assert_eq!(response.status, 202);
    assert_eq!(response.body, b"acme");
    assert_eq!(
        tree(&recorder().trace(trace)),
        format!(
            "\
CLIENT POST /orders/{{id}}
  app.order.id=7 http.request.method=POST http.request.resend_count=2 http.response.status_code=202 network.protocol.version=1.1 server.address=127.0.0.1 server.port={port} url.full=http://127.0.0.1:{port}/orders/7?token=REDACTED&b=1 url.template=/orders/{{id}}
    SERVER POST /orders/{{id}}
      app.order.id=7 http.request.method=POST http.response.status_code=202 http.route=/orders/{{id}} network.protocol.version=1.1 server.address=127.0.0.1 server.port={port} url.path=/orders/7 url.query=token=REDACTED&b=1 url.scheme=http user_agent.original=tests
"
        )
    );
    let client_metric = recorder().durations(
        "http.client.request.duration",
        &KeyValue::new("server.port", i64::from(port)),
    );
    assert_eq!(
        client_metric,
        [format!(
            "http.request.method=POST http.response.status_code=202 network.protocol.version=1.1 server.address=127.0.0.1 server.port={port} url.template=/orders/{{id}} n=1 bounds=14"
        )]
    );
}

#[tokio::test]
async fn a_server_metric_has_the_route_and_nothing_that_varies() {
    recorder();
    let router = Router::new().route("/counted/{id}", get(|| async { StatusCode::BAD_GATEWAY }));
    let port = serve(instrument(router, TRUSTING)).await;
    for id in [1, 2] {
        let url = format!("http://127.0.0.1:{port}/counted/{id}?x={id}");
        let sent = client(true)
            .request(Method::GET, url, "/counted/{id}")
            .send();
        assert_eq!(sent.await.unwrap().status, 502);
    }
    let series = recorder().durations(
        "http.server.request.duration",
        &KeyValue::new("http.route", "/counted/{id}"),
    );
    assert_eq!(
        series,
        [
            "error.type=502 http.request.method=GET http.response.status_code=502 http.route=/counted/{id} network.protocol.version=1.1 url.scheme=http n=2 bounds=14"
        ]
    );
}

#[tokio::test]
async fn an_untrusting_server_starts_a_trace_of_its_own() {
    let port = serve(traced_routes(ServerOptions {
        trust_incoming_trace: false,
    }))
    .await;
    let (response, trace) = traced(async {
        let url = format!("http://127.0.0.1:{port}/orders/untrusted");
        let sent = client(true)
            .request(Method::POST, url, "/orders/{id}")
            .send();
        sent.await.unwrap()
    })
    .await;
    assert_eq!(response.body, b"", "baggage was taken over");
    assert_eq!(recorder().trace(trace).len(), 2);
    let servers = recorder().spans(|span| {
        span.span_kind == SpanKind::Server
            && span
                .attributes
                .contains(&KeyValue::new("url.path", "/orders/untrusted"))
    });
    assert_eq!(servers.len(), 1);
    assert_ne!(servers[0].span_context.trace_id(), trace);
    assert_eq!(servers[0].parent_span_id, SpanId::INVALID);
    let client = &recorder().trace(trace)[0].span_context;
    let links = &servers[0].links;
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].span_context.trace_id(), client.trace_id());
    assert_eq!(links[0].span_context.span_id(), client.span_id());
}

/// The SERVER span of a request with these headers and the baggage that its handler saw.
async fn called_with(path: &str, headers: &[(&str, &str)]) -> (SpanData, String) {
    let port = serve(traced_routes(TRUSTING)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!("POST {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, baggage) = answer.split_once("\r\n\r\n").unwrap();
    let spans = recorder()
        .await_spans(1, |span| {
            let id = path.split(['/', '?']).nth(2).unwrap().to_owned();
            span.span_kind == SpanKind::Server
                && span.attributes.contains(&KeyValue::new("app.order.id", id))
        })
        .await;
    (spans[0].clone(), baggage.to_owned())
}

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_tracestate_and_baggage_of_the_length_that_w3c_asks_for_are_taken_over() {
    let state = format!("a={},b={}", "x".repeat(252), "x".repeat(255));
    assert_eq!(state.len(), 512);
    let baggage = format!("tenant={}", "x".repeat(8192 - 7));
    let (span, seen) = called_with(
        "/orders/longest",
        &[
            ("traceparent", CALLER),
            ("tracestate", &state),
            ("baggage", &baggage),
        ],
    )
    .await;
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(span.span_context.trace_state().header(), state);
    assert_eq!(format!("tenant={seen}"), baggage);
}

#[tokio::test]
async fn a_longer_tracestate_or_baggage_is_not_carried_on_and_the_trace_is() {
    let state = format!("a={},b={}", "x".repeat(253), "x".repeat(255));
    let baggage = format!("tenant={}", "x".repeat(8193 - 7));
    let (span, seen) = called_with(
        "/orders/too-long",
        &[
            ("traceparent", CALLER),
            ("tracestate", &state),
            ("baggage", &baggage),
        ],
    )
    .await;
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(span.span_context.trace_state().header(), "");
    assert_eq!(seen, "");
}

#[tokio::test]
async fn a_traceparent_that_is_none_starts_a_trace() {
    let huge = "0".repeat(4000);
    let hostile = [
        "",
        "-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "<script>alert(1)</script>",
        &huge,
    ];
    for (number, traceparent) in hostile.into_iter().enumerate() {
        let path = format!("/orders/hostile-{number}");
        let (span, _) = called_with(&path, &[("traceparent", traceparent)]).await;
        assert_eq!(span.parent_span_id, SpanId::INVALID, "{traceparent}");
        assert_ne!(
            span.span_context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c",
            "{traceparent}"
        );
    }
}

#[tokio::test]
async fn what_a_caller_writes_fills_no_span() {
    let long = "é".repeat(3000);
    let query = "q".repeat(3000);
    let (span, _) = called_with(
        &format!("/orders/long?{query}"),
        &[
            ("user-agent", &"u".repeat(3000)),
            ("host", &format!("{}.example", "h".repeat(3000))),
        ],
    )
    .await;
    let longest = span
        .attributes
        .iter()
        .map(|attribute| attribute.value.as_str().len())
        .max();
    assert_eq!(longest, Some(1024));
    let (span, _) = called_with("/orders/agent", &[("user-agent", &long)]).await;
    // Not ASCII, so no header that can be shown.
    assert!(
        span.attributes
            .iter()
            .all(|attribute| attribute.key.as_str() != "user_agent.original")
    );
}

#[tokio::test]
async fn failures_and_unknown_paths_on_both_sides() {
    let port = serve(traced_routes(TRUSTING)).await;
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let ((), trace) = traced(async {
        let client = client(true);
        let cases = [
            (Method::GET, "/broken", 503),
            (Method::GET, "/nowhere/at/all", 404),
            (Method::PUT, "/orders/7", 405),
            (Method::from_bytes(b"BREW").unwrap(), "/orders/7", 405),
        ];
        for (method, path, status) in cases {
            let sent = client
                .request(method, at(path), "/t")
                .header("user-agent", "t")
                .send();
            assert_eq!(sent.await.unwrap().status, status);
        }
    })
    .await;
    let server = |name: &str, attributes: &str| {
        format!("    SERVER {name}\n      {attributes} url.scheme=http user_agent.original=t\n")
    };
    let called = |name: &str, method: &str, path: &str, status: u16| {
        format!(
            "CLIENT {name} /t Error()\n  error.type={status} http.request.method={method} http.response.status_code={status} network.protocol.version=1.1 server.address=127.0.0.1 server.port={port} url.full={} url.template=/t\n",
            at(path)
        )
    };
    let place = format!("network.protocol.version=1.1 server.address=127.0.0.1 server.port={port}");
    let expected = [
        called("GET", "GET", "/broken", 503),
        server(
            "GET /broken Error()",
            &format!(
                "error.type=503 http.request.method=GET http.response.status_code=503 http.route=/broken {place} url.path=/broken"
            ),
        ),
        called("GET", "GET", "/nowhere/at/all", 404),
        server(
            "GET",
            &format!(
                "http.request.method=GET http.response.status_code=404 {place} url.path=/nowhere/at/all"
            ),
        ),
        called("PUT", "PUT", "/orders/7", 405),
        server(
            "PUT /orders/{id}",
            &format!(
                "http.request.method=PUT http.response.status_code=405 http.route=/orders/{{id}} {place} url.path=/orders/7"
            ),
        ),
        called("BREW", "BREW", "/orders/7", 405),
        server(
            "HTTP /orders/{id}",
            &format!(
                "http.request.method=_OTHER http.request.method_original=BREW http.response.status_code=405 http.route=/orders/{{id}} {place} url.path=/orders/7"
            ),
        ),
    ];
    assert_eq!(tree(&recorder().trace(trace)), expected.concat());
}

#[tokio::test]
async fn probes_leave_no_span() {
    let port = serve(traced_routes(TRUSTING)).await;
    let ((), trace) = traced(async {
        for path in ["/healthz", "/readyz", "/broken"] {
            let url = format!("http://127.0.0.1:{port}{path}");
            client(true)
                .request(Method::GET, url, "/probe")
                .send()
                .await
                .unwrap();
        }
    })
    .await;
    let servers: Vec<String> = recorder()
        .trace(trace)
        .iter()
        .filter(|span| span.span_kind == SpanKind::Server)
        .map(|span| span.name.to_string())
        .collect();
    assert_eq!(servers, ["GET /broken"]);
    let probe = KeyValue::new("http.route", "/healthz");
    let series = recorder().durations("http.server.request.duration", &probe);
    assert_eq!(series, [""; 0]);
}

/// What a server without instrumentation receives.
async fn received_headers(propagate: bool) -> (Vec<String>, HeaderMap, String) {
    let received = Arc::new(Mutex::new(HeaderMap::new()));
    let kept = Arc::clone(&received);
    let router = Router::new().fallback(move |request: Request| async move {
        *kept.lock().await = request.headers().clone();
    });
    let port = serve(router).await;
    let ((), trace) = traced(async {
        let url = format!("http://127.0.0.1:{port}/");
        client(propagate)
            .request(Method::GET, url, "/")
            .send()
            .await
            .unwrap();
    })
    .await;
    let spans = recorder().trace(trace);
    assert_eq!(spans.len(), 2);
    let span = &spans[0].span_context;
    let expected = format!("00-{}-{}-01", span.trace_id(), span.span_id());
    let headers = received.lock().await.clone();
    let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
    names.sort();
    (names, headers, expected)
}

#[tokio::test]
async fn a_service_is_sent_the_context_of_the_client_span() {
    let (names, headers, expected) = received_headers(true).await;
    assert_eq!(names, ["accept", "baggage", "host", "traceparent"]);
    assert_eq!(headers["traceparent"], expected);
    assert_eq!(headers["baggage"], "tenant=acme");
}

#[tokio::test]
async fn a_third_party_is_sent_no_context() {
    let (names, _, _) = received_headers(false).await;
    assert_eq!(names, ["accept", "host"]);
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}/pay?token=t0p");
    let (result, trace) =
        traced(async { client(true).request(Method::POST, url, "/pay").send().await }).await;
    let error = result.unwrap_err();
    assert_eq!(error.error_type(), "connection_refused");
    assert!(!error.to_string().contains("t0p"), "{error}");
    assert_eq!(
        tree(&recorder().trace(trace)),
        format!(
            "\
CLIENT POST /pay Error({error})
  error.type=connection_refused http.request.method=POST server.address=127.0.0.1 server.port={port} url.full=http://127.0.0.1:{port}/pay?token=REDACTED url.template=/pay
  ! exception exception.message={error} exception.type=ClientError
"
        )
    );
    let series = recorder().durations(
        "http.client.request.duration",
        &KeyValue::new("server.port", i64::from(port)),
    );
    assert_eq!(
        series,
        [format!(
            "error.type=connection_refused http.request.method=POST server.address=127.0.0.1 server.port={port} url.template=/pay n=1 bounds=14"
        )]
    );
}

/// The one span of the call to `url`, as text.
async fn call(client: Client, url: String) -> (Result<u16, ClientError>, String) {
    let (result, trace) = traced(async {
        let response = client.request(Method::GET, url, "/x").body_limit(10).send();
        response.await.map(|response| response.status.as_u16())
    })
    .await;
    (result, tree(&recorder().trace(trace)))
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time() {
    let router = Router::new().fallback(std::future::pending::<()>);
    let port = serve(router).await;
    recorder();
    let client = Client::new(Duration::from_millis(50), true).unwrap();
    let (result, text) = call(client, format!("http://127.0.0.1:{port}/x")).await;
    let error = result.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(
        text,
        format!(
            "\
CLIENT GET /x Error({error})
  error.type=timeout http.request.method=GET server.address=127.0.0.1 server.port={port} url.full=http://127.0.0.1:{port}/x url.template=/x
  ! exception exception.message={error} exception.type=ClientError
"
        )
    );
}

#[tokio::test]
async fn an_answer_that_is_too_large() {
    let at_limit = serve(Router::new().fallback(|| async { "0123456789" })).await;
    let (result, _) = call(client(true), format!("http://127.0.0.1:{at_limit}/x")).await;
    assert_eq!(result.unwrap(), 200);
    let port = serve(Router::new().fallback(|| async { "0123456789a" })).await;
    let (result, text) = call(client(true), format!("http://127.0.0.1:{port}/x")).await;
    assert!(matches!(result, Err(ClientError::BodyTooLarge(10))));
    assert_eq!(
        text,
        format!(
            "\
CLIENT GET /x Error(the answer is larger than 10 bytes)
  error.type=body_too_large http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=127.0.0.1 server.port={port} url.full=http://127.0.0.1:{port}/x url.template=/x
  ! exception exception.message=the answer is larger than 10 bytes exception.type=ClientError
"
        )
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123";
        stream.write_all(answer).await.unwrap();
    });
    let (result, text) = call(client(true), format!("http://127.0.0.1:{port}/x")).await;
    assert_eq!(result.unwrap_err().error_type(), "body");
    assert!(text.contains("  error.type=body "), "{text}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let router = Router::new().route(
        "/from",
        get(|| async { (StatusCode::FOUND, [("location", "/to")]) }),
    );
    let port = serve(router).await;
    let (result, text) = call(client(true), format!("http://127.0.0.1:{port}/from")).await;
    assert_eq!(result.unwrap(), 302);
    assert!(text.starts_with("CLIENT GET /x\n"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_an_error_and_no_span() {
    let (errors, trace) = traced(async {
        let client = client(true);
        let url = "http://127.0.0.1:1/";
        let bad_json = std::collections::HashMap::from([((1, 2), 3)]);
        [
            client
                .request(Method::GET, "not a url", "/")
                .send()
                .await
                .unwrap_err(),
            client
                .request(Method::GET, url, "/")
                .json(&bad_json)
                .send()
                .await
                .unwrap_err(),
            client
                .request(Method::GET, url, "/")
                .header("a\nb", "c")
                .send()
                .await
                .unwrap_err(),
            client
                .request(Method::GET, url, "/")
                .header("a", "b\r\nc: d")
                .send()
                .await
                .unwrap_err(),
        ]
    })
    .await;
    for error in &errors {
        assert_eq!(error.error_type(), "invalid_request");
    }
    assert_eq!(tree(&recorder().trace(trace)), "");
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_as_cancelled() {
    let arrived = Arc::new(Notify::new());
    let seen = Arc::clone(&arrived);
    let router = Router::new().fallback(move || async move {
        seen.notify_one();
        std::future::pending::<()>().await;
    });
    let port = serve(router).await;
    let ((), trace) = traced(async {
        let url = format!("http://127.0.0.1:{port}/x");
        let call = client(true).request(Method::GET, url, "/x").send();
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = arrived.notified() => {}
        }
    })
    .await;
    assert_eq!(
        tree(&recorder().trace(trace)),
        format!(
            "\
CLIENT GET /x Error(cancelled)
  error.type=cancelled http.request.method=GET server.address=127.0.0.1 server.port={port} url.full=http://127.0.0.1:{port}/x url.template=/x
"
        )
    );
}

/// Sends a request by hand and gives up on it once the handler runs.
async fn abandoned(
    path: &'static str,
    handler: axum::routing::MethodRouter,
    mut started: mpsc::Receiver<()>,
) -> String {
    recorder();
    let port = serve(instrument(Router::new().route(path, handler), TRUSTING)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    started.recv().await.unwrap();
    drop(stream);
    let spans = recorder()
        .await_spans(1, |span| {
            span.attributes.contains(&KeyValue::new("http.route", path))
        })
        .await;
    assert_eq!(spans.len(), 1);
    shown(&spans[0])
}

#[tokio::test]
async fn a_request_whose_caller_went_away_ends_as_cancelled() {
    let (start, started) = mpsc::channel(1);
    let handler = get(move || async move {
        start.send(()).await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(
        abandoned("/abandoned", handler, started).await,
        "\
SERVER GET /abandoned Error(cancelled)
  error.type=cancelled http.request.method=GET http.route=/abandoned network.protocol.version=1.1 url.path=/abandoned url.scheme=http
"
    );
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_span() {
    let (start, started) = mpsc::channel(1);
    let handler = get(move || async move {
        start.send(()).await.unwrap();
        if true {
            panic!("on purpose");
        }
    });
    assert_eq!(
        abandoned("/panics", handler, started).await,
        "\
SERVER GET /panics Error(panic)
  error.type=panic http.request.method=GET http.route=/panics network.protocol.version=1.1 url.path=/panics url.scheme=http
"
    );
}

#[tokio::test]
async fn a_task_that_outlives_the_request_does_not_hold_its_span_open() {
    use opentelemetry::context::FutureExt;
    recorder();
    let router = Router::new().route(
        "/outlived",
        get(|| async {
            tokio::spawn(std::future::pending::<()>().with_current_context());
        }),
    );
    let port = serve(instrument(router, TRUSTING)).await;
    let url = format!("http://127.0.0.1:{port}/outlived");
    client(true)
        .request(Method::GET, url, "/outlived")
        .send()
        .await
        .unwrap();
    recorder()
        .await_spans(1, |span| {
            span.name == "GET /outlived" && span.span_kind == SpanKind::Server
        })
        .await;
}

#[tokio::test]
async fn hostile_headers_neither_break_a_request_nor_its_trace() {
    let port = serve(traced_routes(TRUSTING)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"POST /orders/hostile?%ff%zz=&sig=%0a HTTP/1.1\r\nhost: [::bad\xff\r\n\
        user-agent: \xff\xfe\r\ntraceparent: 00-zz-\xff-01\r\ntraceparent: \r\n\
        tracestate: ,,,=,\r\nbaggage: =,;;=%ff,\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 202 "));
    let spans = recorder()
        .await_spans(1, |span| {
            span.attributes
                .contains(&KeyValue::new("app.order.id", "hostile"))
        })
        .await;
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    assert_eq!(
        shown(&spans[0]),
        "\
SERVER POST /orders/{id}
  app.order.id=hostile http.request.method=POST http.response.status_code=202 http.route=/orders/{id} network.protocol.version=1.1 url.path=/orders/hostile url.query=%ff%zz=&sig=REDACTED url.scheme=http
"
    );
}

#[test]
fn an_answer_that_is_not_the_json_expected() {
    let response = telemetry::http_client::Response {
        status: telemetry::http_client::StatusCode::OK,
        headers: HeaderMap::new(),
        body: b"{\"a\": \"b\"".to_vec(),
    };
    let error = response.json::<serde_json::Value>().unwrap_err();
    assert_eq!(error.error_type(), "invalid_json");
}
