//! Jaeger's query API v3: what it finds, in which order, and how it says no.

use reqwest::StatusCode;
use serde_json::{Value as Json, json};

use crate::running::Running;
use crate::spans::{NOW, SECOND, pair, request, span, text, trace_hex};
use opentelemetry_proto::tonic::common::v1::any_value::Value;

fn error(code: u16, message: &str) -> (StatusCode, Json) {
    (
        StatusCode::from_u16(code).unwrap(),
        json!({"error": {"httpCode": code, "message": message}}),
    )
}

/// The traces of an answer, by their number, in the order of the answer.
fn found((status, answer): (StatusCode, Json)) -> Vec<u8> {
    if status == StatusCode::NOT_FOUND {
        assert_eq!(answer, error(404, "No traces found").1);
        return Vec::new();
    }
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut numbers = Vec::new();
    for resource in answer["result"]["resourceSpans"].as_array().unwrap() {
        let id = resource["scopeSpans"][0]["spans"][0]["traceId"]
            .as_str()
            .unwrap();
        let number = u8::from_str_radix(&id[30..], 16).unwrap();
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// Four traces, one second apart:
/// 1: api `POST /orders` 1 s, and worker `process orders` 5 s;
/// 2: api `GET /orders/{id}` 1 s; 3: api `POST /orders` 0.2 s; 4: worker `commit orders` 1 s.
async fn filled() -> Running {
    let viewer = Running::start().await;
    let at = |number: u8, id: u64, name: &str, kind: i32, milliseconds: u64| {
        let mut span = span(number, id, name);
        span.kind = kind;
        span.start_time_unix_nano = NOW + u64::from(number) * SECOND;
        span.end_time_unix_nano = span.start_time_unix_nano + milliseconds * 1_000_000;
        span
    };
    let mut order = at(1, 1, "POST /orders", 2, 1000);
    order.attributes = vec![
        pair("app.order.id", text("o-1")),
        pair("http.response.status_code", Value::IntValue(202)),
        pair("ratio", Value::DoubleValue(0.5)),
        pair("retried", Value::BoolValue(true)),
    ];
    let lookup = at(2, 1, "GET /orders/{id}", 2, 1000);
    viewer
        .send(&request(
            "api",
            vec![order, lookup, at(3, 1, "POST /orders", 2, 200)],
        ))
        .await;
    viewer
        .send(&request(
            "worker",
            vec![
                at(1, 2, "process orders", 5, 5000),
                at(4, 1, "commit orders", 3, 1000),
            ],
        ))
        .await;
    viewer
}

#[tokio::test]
async fn services_and_operations_are_listed_once_and_sorted() {
    let viewer = filled().await;
    assert_eq!(
        viewer.get("/api/v3/services").await,
        (StatusCode::OK, json!({"services": ["api", "worker"]}))
    );
    assert_eq!(
        viewer.get("/api/v3/operations?service=api").await,
        (
            StatusCode::OK,
            json!({"operations": [
                {"name": "GET /orders/{id}", "spanKind": "server"},
                {"name": "POST /orders", "spanKind": "server"},
            ]})
        )
    );
    for kind in ["consumer", "CONSUMER"] {
        assert_eq!(
            viewer
                .get(&format!(
                    "/api/v3/operations?service=worker&span_kind={kind}"
                ))
                .await,
            (
                StatusCode::OK,
                json!({"operations": [{"name": "process orders", "spanKind": "consumer"}]})
            )
        );
    }
    for nothing in ["service=nobody", "service=api&span_kind=producer"] {
        assert_eq!(
            viewer.get(&format!("/api/v3/operations?{nothing}")).await,
            (StatusCode::OK, json!({"operations": []}))
        );
    }
    assert_eq!(
        viewer.get("/api/v3/operations").await,
        error(400, "parameter service is required")
    );

    let empty = Running::start().await;
    assert_eq!(
        empty.get("/api/v3/services").await,
        (StatusCode::OK, json!({"services": []}))
    );
}

#[tokio::test]
async fn searches_find_the_newest_first_by_what_one_span_has() {
    let viewer = filled().await;
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);
    let cases: [Case<'_>; 24] = [
        (&[], &[4, 3, 2, 1]),
        (&[("query.service_name", "")], &[4, 3, 2, 1]),
        (&[("query.service_name", "api")], &[3, 2, 1]),
        (&[("query.service_name", "worker")], &[4, 1]),
        (&[("query.service_name", "nobody")], &[]),
        (&[("query.operation_name", "POST /orders")], &[3, 1]),
        (
            &[
                ("query.service_name", "worker"),
                ("query.operation_name", "POST /orders"),
            ],
            &[],
        ),
        (&[("query.num_traces", "2")], &[4, 3]),
        (
            &[("query.search_depth", "1"), ("query.num_traces", "2")],
            &[4],
        ),
        (&[("query.duration_min", "1s")], &[4, 2, 1]),
        (&[("query.duration_min", "1.000000001s")], &[1]),
        (&[("query.duration_max", "200ms")], &[3]),
        (
            &[
                ("query.duration_min", "1500ms"),
                ("query.duration_max", "1m30s"),
            ],
            &[1],
        ),
        (
            &[("query.duration_min", "1s"), ("query.service_name", "api")],
            &[2, 1],
        ),
        (
            &[("query.duration_min", "4s"), ("query.service_name", "api")],
            &[],
        ),
        (&[("query.attributes", r#"{"app.order.id":"o-1"}"#)], &[1]),
        (
            &[("query.attributes", r#"{"http.response.status_code":"202"}"#)],
            &[1],
        ),
        (
            &[("query.attributes", r#"{"ratio":"0.5","retried":"true"}"#)],
            &[1],
        ),
        (&[("query.attributes", r#"{"app.order.id":"o-2"}"#)], &[]),
        (
            &[("query.attributes", r#"{"app.order.id":"o-1","none":"x"}"#)],
            &[],
        ),
        (
            &[("query.attributes", r#"{"service.name":"worker"}"#)],
            &[4, 1],
        ),
        (
            &[
                ("query.attributes", r#"{"app.order.id":"o-1"}"#),
                ("query.service_name", "worker"),
            ],
            &[],
        ),
        (&[("query.attributes", "{}")], &[4, 3, 2, 1]),
        (&[("unknown", "ignored")], &[4, 3, 2, 1]),
    ];
    for (parameters, expected) in cases {
        assert_eq!(
            found(viewer.search(parameters).await),
            expected,
            "{parameters:?}"
        );
    }
}

#[tokio::test]
async fn searches_are_bounded_in_time_both_ends_included() {
    let viewer = filled().await;
    let cases: [(&str, &str, &[u8]); 6] = [
        ("2023-11-14T22:13:21Z", "2023-11-14T22:13:23Z", &[3, 2, 1]),
        (
            "2023-11-14T22:13:21.000000001Z",
            "2023-11-14T22:13:22.999999999Z",
            &[2],
        ),
        (
            "2023-11-15T00:13:24%2B02:00",
            "2023-11-15T00:13:24%2B02:00",
            &[4],
        ),
        ("2023-11-14T22:13:25Z", "2023-11-14T22:13:26Z", &[]),
        ("2023-11-14T22:13:24Z", "2023-11-14T22:13:21Z", &[]),
        (
            "1900-01-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
            &[4, 3, 2, 1],
        ),
    ];
    for (min, max, expected) in cases {
        let path = format!("/api/v3/traces?query.start_time_min={min}&query.start_time_max={max}");
        assert_eq!(found(viewer.get(&path).await), expected, "{min} {max}");
    }
}

#[tokio::test]
async fn an_answer_has_the_whole_trace_and_not_only_what_matched() {
    let viewer = filled().await;
    let (_, answer) = viewer
        .search(&[("query.operation_name", "process orders")])
        .await;
    let trace = trace_tree::Trace::from_otlp_json(&answer).unwrap();
    assert_eq!(trace.spans.len(), 2);
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_refused_by_name() {
    let viewer = filled().await;
    let required = "query.start_time_min and query.start_time_max are required";
    for query in [
        "",
        "?query.start_time_min=2023-11-14T22:13:21Z",
        "?query.start_time_max=2023-11-14T22:13:21Z",
        "?query.start_time_min=&query.start_time_max=",
    ] {
        assert_eq!(
            viewer.get(&format!("/api/v3/traces{query}")).await,
            error(400, required)
        );
    }
    for (name, value) in [
        ("query.num_traces", "0"),
        ("query.num_traces", "-1"),
        ("query.num_traces", "many"),
        ("query.search_depth", "99999999"),
        ("query.duration_min", "1"),
        ("query.duration_min", "soon"),
        ("query.duration_max", "1x"),
        ("query.attributes", "k=v"),
        ("query.attributes", r#"{"k":1}"#),
        ("query.attributes", "[]"),
    ] {
        let (status, answer) = viewer.search(&[(name, value)]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}={value}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("malformed parameter {name}: ")),
            "{message}"
        );
    }
    for time in [
        "now",
        "1700000000",
        "2023-11-14",
        "2023-11-14T22:13:21",
        "2023-13-14T22:13:21Z",
    ] {
        let path =
            format!("/api/v3/traces?query.start_time_min={time}&query.start_time_max={time}");
        let (status, answer) = viewer.get(&path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{time}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("malformed parameter query.start_time_min: "),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_trace_is_found_by_its_whole_id_in_either_case() {
    let viewer = filled().await;
    for id in [trace_hex(1), trace_hex(1).to_uppercase()] {
        let (status, answer) = viewer.get(&format!("/api/v3/traces/{id}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            trace_tree::Trace::from_otlp_json(&answer)
                .unwrap()
                .spans
                .len(),
            2
        );
    }
    assert_eq!(
        viewer
            .get(&format!("/api/v3/traces/{}", trace_hex(99)))
            .await,
        error(404, "No traces found")
    );
    let zeros = "0".repeat(32);
    assert_eq!(
        viewer.get(&format!("/api/v3/traces/{zeros}")).await,
        error(404, "No traces found")
    );
    let malformed = [
        "1",
        "zz",
        "+0000000000000000000000000000001",
        &"a".repeat(33),
        &"é".repeat(16),
        "%00",
        "%ff",
    ];
    for id in malformed {
        let (status, _) = viewer.get_any(&format!("/api/v3/traces/{id}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{id}");
    }
    assert_eq!(
        viewer.get("/api/v3/traces/1").await,
        error(
            400,
            "malformed parameter trace_id: 32 hex digits are needed"
        )
    );
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_answered_as_the_rest() {
    let viewer = filled().await;
    assert_eq!(
        viewer.get("/api/v3/nothing").await,
        error(404, "there is nothing here; see /api")
    );
    let url = format!("http://{}/api/v3/services", viewer.query);
    let response = viewer.client.delete(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        response.json::<Json>().await.unwrap(),
        error(405, "this API is read with GET").1
    );
}

#[tokio::test]
async fn the_text_at_api_says_what_this_is_and_what_it_holds() {
    let viewer = filled().await;
    let (status, page) = viewer.get_any("/api").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "GET /api/v3/services",
        "GET /api/v3/operations?service=S",
        "GET /api/v3/traces?query.start_time_min=T",
        "GET /api/v3/traces/TRACE_ID",
        "Holding 4 traces with 5 spans",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
}

#[tokio::test]
async fn on_loopback_only_loopback_names_are_answered() {
    let viewer = filled().await;
    let ask = async |host: &str| {
        let request = viewer
            .client
            .get(format!("http://{}/api/v3/services", viewer.query))
            .header("host", host);
        let response = request.send().await.unwrap();
        (response.status(), response.json::<Json>().await.unwrap())
    };
    for host in [
        "localhost",
        "localhost:8010",
        "127.0.0.1:8010",
        "[::1]:8010",
        "[::1]",
    ] {
        assert_eq!(ask(host).await.0, StatusCode::OK, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8010",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]:1",
    ] {
        assert_eq!(
            ask(host).await,
            error(
                403,
                "this viewer listens on loopback and answers only to localhost, 127.0.0.1 and [::1]"
            ),
            "{host}"
        );
    }
    // Senders name the viewer as they like.
    let url = format!("http://{}/v1/traces", viewer.otlp_http);
    let response = viewer
        .client
        .post(url)
        .header("host", "viewer.internal")
        .header("content-type", "application/x-protobuf")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
