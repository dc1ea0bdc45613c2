//! OTLP over HTTP: what is taken, what is refused, and with which answer.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;
use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::running::Running;
use crate::spans::{pair, request, span, text, trace_hex};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `google.rpc.Status`, as a client sees it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

async fn rpc_status(response: Response) -> (StatusCode, RpcStatus) {
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, RpcStatus::decode(body).unwrap())
}

async fn post_json(viewer: &Running, body: String) -> Response {
    let url = format!("http://{}/v1/traces", viewer.otlp_http);
    let request = viewer.client.post(url).body(body);
    let request = request.header("content-type", "application/json");
    request.send().await.unwrap()
}

fn small() -> Vec<u8> {
    request("api", vec![span(1, 1, "GET /")]).encode_to_vec()
}

#[tokio::test]
async fn a_span_comes_in_as_protobuf_and_goes_out_as_jaeger_writes_it() {
    let viewer = Running::start().await;
    viewer
        .send(&request("api", vec![span(1, 1, "GET /")]))
        .await;
    let span = json!({
        "traceId": "a0000000000000000000000000000001",
        "spanId": "0000000000000001",
        "parentSpanId": "",
        "name": "GET /",
        "kind": 2,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000001000000000",
        "status": {},
    });
    let expected = json!({"result": {"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]},
        "scopeSpans": [{"scope": {"name": "tests"}, "spans": [span]}],
    }]}});
    let path = format!("/api/v3/traces/{}", trace_hex(1));
    assert_eq!(viewer.get(&path).await, (StatusCode::OK, expected));
    assert_eq!(
        viewer.get("/api/v3/services").await,
        (StatusCode::OK, json!({"services": ["api"]}))
    );
    assert_eq!(
        viewer.get("/api/v3/operations?service=api").await,
        (
            StatusCode::OK,
            json!({"operations": [{"name": "GET /", "spanKind": "server"}]})
        )
    );
}

#[tokio::test]
async fn content_types_and_encodings_of_otlp_are_taken() {
    let viewer = Running::start().await;
    let cases = [
        ("application/x-protobuf", None, small()),
        ("Application/X-Protobuf; charset=utf-8", None, small()),
        ("application/x-protobuf", Some("identity"), small()),
        ("application/x-protobuf", Some("gzip"), gzip(&small())),
        ("application/x-protobuf", Some("GZIP"), gzip(&small())),
        ("application/x-protobuf", None, Vec::new()),
    ];
    for (content_type, encoding, body) in cases {
        let mut request = viewer
            .client
            .post(format!("http://{}/v1/traces", viewer.otlp_http))
            .header("content-type", content_type)
            .body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{content_type} {encoding:?}"
        );
    }
    let counts = viewer.store.counts();
    assert_eq!((counts.spans, counts.duplicate_spans), (1, 4));
}

#[tokio::test]
async fn other_content_types_and_encodings_are_refused_with_what_to_set() {
    let viewer = Running::start().await;
    let url = format!("http://{}/v1/traces", viewer.otlp_http);
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/json2"),
        Some("application/x-protobuf2"),
        Some(""),
    ] {
        let mut request = viewer.client.post(&url).body(small());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let message = response.text().await.unwrap();
        assert!(
            message.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
            "{message}"
        );
    }
    let response = viewer
        .post(small())
        .header("content-encoding", "zstd")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("OTEL_EXPORTER_OTLP_COMPRESSION")
    );
    assert_eq!(viewer.store.counts().spans, 0);
}

#[tokio::test]
async fn broken_protobuf_and_broken_gzip_are_bad_requests() {
    let viewer = Running::start().await;
    let whole = small();
    let truncated = whole[..whole.len() - 3].to_vec();
    let mut torn_gzip = gzip(&whole);
    torn_gzip.truncate(torn_gzip.len() - 10);
    let mut invalid_utf8 = whole.clone();
    let name = invalid_utf8
        .windows(5)
        .position(|bytes| bytes == b"GET /")
        .unwrap();
    invalid_utf8[name] = 0xff;
    let cases = [
        (truncated, None, "not an ExportTraceServiceRequest"),
        (
            b"{\"resourceSpans\":[]}".to_vec(),
            None,
            "not an ExportTraceServiceRequest",
        ),
        (invalid_utf8, None, "not an ExportTraceServiceRequest"),
        (whole.clone(), Some("gzip"), "not gzip"),
        (torn_gzip, Some("gzip"), "not gzip"),
    ];
    for (body, encoding, start) in cases {
        let mut request = viewer.post(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let (status, rpc) = rpc_status(request.send().await.unwrap()).await;
        assert_eq!((status, rpc.code), (StatusCode::BAD_REQUEST, 3));
        assert!(rpc.message.starts_with(start), "{}", rpc.message);
    }
    assert_eq!(viewer.store.counts(), viewer::Counts::default());
}

/// A request of exactly this many bytes, which is valid.
fn of_size(bytes: usize) -> Vec<u8> {
    // A field that the message does not have: tag 15, a length of four bytes, anything.
    let mut body = vec![0x7a];
    let mut length = bytes - 5;
    for _ in 0..3 {
        body.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.resize(bytes, 0);
    body
}

const LIMIT: usize = 16 * 1024 * 1024;

#[tokio::test]
async fn a_request_may_have_16_mib_and_no_byte_more_also_when_decompressed() {
    let viewer = Running::start().await;
    let fits = viewer.post(of_size(LIMIT)).send().await.unwrap();
    assert_eq!(fits.status(), StatusCode::OK);
    let gzipped = async |body: Vec<u8>| {
        let request = viewer.post(body).header("content-encoding", "gzip");
        request.send().await.unwrap()
    };
    let fits = gzipped(gzip(&of_size(LIMIT))).await;
    assert_eq!(fits.status(), StatusCode::OK);
    // Cut off at its end, which only who reads on to the end can notice.
    let mut bomb = gzip(&vec![0; 1 << 26]);
    bomb.truncate(bomb.len() - 10);
    for too_large in [gzip(&of_size(LIMIT + 1)), bomb] {
        let (status, rpc) = rpc_status(gzipped(too_large).await).await;
        assert_eq!((status, rpc.code), (StatusCode::PAYLOAD_TOO_LARGE, 8));
        assert_eq!(
            rpc.message,
            "a request may have 16777216 bytes, also after decompression"
        );
    }
}

#[tokio::test]
async fn a_body_over_16_mib_is_answered_413() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // By hand: a client that sends on after the answer may lose it to the reset.
    let viewer = Running::start().await;
    let mut socket = tokio::net::TcpStream::connect(viewer.otlp_http)
        .await
        .unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        LIMIT + 1
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![0; LIMIT + 1]).await.unwrap();
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[tokio::test]
async fn numbers_that_json_has_none_for_come_in_as_text_and_go_out_so() {
    let viewer = Running::start().await;
    let span = |id: u64, value: &serde_json::Value| {
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": trace_hex(1), "spanId": format!("{id:016x}"), "name": "x",
            "startTimeUnixNano": "1", "endTimeUnixNano": 2,
            "attributes": [{"key": "k", "value": value}],
        }]}]}]})
    };
    let double = |value: serde_json::Value| json!({"doubleValue": value});
    let nested =
        json!({"arrayValue": {"values": [double(json!("Infinity")), {}, double(json!(1.5))]}});
    let taken = [
        (double(json!("NaN")), double(json!("NaN"))),
        (double(json!("Infinity")), double(json!("Infinity"))),
        (double(json!("-Infinity")), double(json!("-Infinity"))),
        (double(json!("-1.5e3")), double(json!(-1500.0))),
        (nested.clone(), nested),
    ];
    for (id, (sent, _)) in taken.iter().enumerate() {
        let response = post_json(&viewer, span(id as u64 + 1, sent).to_string()).await;
        assert_eq!(response.status(), StatusCode::OK, "{sent}");
    }
    let (_, answer) = viewer
        .get(&format!("/api/v3/traces/{}", trace_hex(1)))
        .await;
    let spans = &answer["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let found = spans.as_array().unwrap().iter();
    let found: Vec<_> = found.map(|span| &span["attributes"][0]["value"]).collect();
    let expected: Vec<_> = taken.iter().map(|(_, kept)| kept).collect();
    assert_eq!(found, expected);
    for wrong in ["nan", "inf", "+Infinity", "1e999", ""] {
        let wrong = span(99, &double(json!(wrong))).to_string();
        let response = post_json(&viewer, wrong.clone()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{wrong}");
        let answer: serde_json::Value = response.json().await.unwrap();
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("invalid type: string"), "{message}");
    }
}

#[tokio::test]
async fn what_would_take_far_more_memory_than_it_has_bytes_is_answered_413() {
    let viewer = Running::start().await;
    let spans = ScopeSpans {
        spans: vec![Span::default(); 1_000_000],
        ..ScopeSpans::default()
    };
    let mut many = request("api", vec![]);
    many.resource_spans[0].scope_spans = vec![spans];
    let body = many.encode_to_vec();
    assert!(body.len() < 3_000_000);
    let (status, answer) = rpc_status(viewer.post(body).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let message = "the request has more spans, records or attributes than are taken at once: send \
                   smaller batches";
    assert_eq!((answer.code, answer.message.as_str()), (8, message));
    let spans = vec!["{}"; 1_000_000].join(",");
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let response = post_json(&viewer, json).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer: serde_json::Value = response.json().await.unwrap();
    assert_eq!(answer, json!({"code": 8, "message": message}));
    assert_eq!(viewer.store.counts().rejected_spans, 0);
}

#[tokio::test]
async fn spans_without_valid_ids_are_rejected_by_partial_success() {
    let viewer = Running::start().await;
    let broken = |change: fn(&mut opentelemetry_proto::tonic::trace::v1::Span)| {
        let mut span = span(1, 9, "broken");
        change(&mut span);
        span
    };
    let spans = vec![
        span(1, 1, "good"),
        broken(|span| span.trace_id = vec![0; 16]),
        broken(|span| span.trace_id = vec![1; 15]),
        broken(|span| span.trace_id = vec![1; 17]),
        broken(|span| span.trace_id.clear()),
        broken(|span| span.span_id = vec![0; 8]),
        broken(|span| span.span_id = vec![1; 7]),
        broken(|span| span.span_id.clear()),
        broken(|span| span.parent_span_id = vec![1; 16]),
        broken(|span| {
            // A parent of zeros is how some write "none", and is not an error.
            span.parent_span_id = vec![0; 8];
        }),
    ];
    let response = viewer
        .post(request("api", spans).encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 8);
    assert_eq!(
        partial.error_message,
        "a trace id must have 16 bytes, a span id 8, a parent's id 8 or none; trace and span ids \
         must not be all zero"
    );
    let counts = viewer.store.counts();
    assert_eq!((counts.spans, counts.rejected_spans), (2, 8));
}

#[tokio::test]
async fn other_signals_and_paths_are_told_what_to_do() {
    let viewer = Running::start().await;
    let cases = [
        (
            "/v1/metrics",
            "this viewer takes traces and logs: set OTEL_METRICS_EXPORTER=none in the service that sends metrics\n",
        ),
        (
            "/",
            "this viewer takes traces and logs: OTLP over HTTP goes to POST /v1/traces and /v1/logs, over gRPC to TraceService/Export and LogsService/Export\n",
        ),
    ];
    for (path, message) in cases {
        let url = format!("http://{}{path}", viewer.otlp_http);
        let response = viewer.client.post(url).body(small()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.text().await.unwrap(), message);
    }
    let url = format!("http://{}/v1/traces", viewer.otlp_http);
    let response = viewer.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// Bytes near a valid request: one with some of its bytes changed, and its end cut off.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let mut span = span(1, 1, "GET /");
    span.attributes = vec![pair("k", text("v"))];
    let valid = request("api", vec![span]).encode_to_vec();
    let length = valid.len();
    let changes = prop::collection::vec((0..length, any::<u8>()), 0..4);
    (changes, 0..=length).prop_map(move |(changes, end)| {
        let mut bytes = valid.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(end);
        bytes
    })
}

#[test]
fn no_bytes_break_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let viewer = runtime.block_on(Running::start());
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), nearly_valid()];
    proptest!(|(bytes in bytes, compressed in any::<bool>())| {
        let (status, readable) = runtime.block_on(async {
            let mut request = viewer.post(bytes);
            if compressed {
                request = request.header("content-encoding", "gzip");
            }
            let status = request.send().await.unwrap().status();
            // Whatever was kept can be read, by us and by a client.
            let (_, found) = viewer.search(&[("query.num_traces", "1500")]).await;
            let readable = found["error"]["httpCode"] == 404
                || trace_tree::Trace::from_otlp_json(&found).is_ok();
            (status, readable)
        });
        prop_assert!(status == StatusCode::OK || status == StatusCode::BAD_REQUEST, "{status}");
        prop_assert!(readable);
    });
}
