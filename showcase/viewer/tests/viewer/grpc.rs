//! OTLP over gRPC, with the client that the specification's definitions give.

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use reqwest::StatusCode;
use std::io::Write as _;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::running::Running;
use crate::spans::{pair, request, span, text, trace_hex};

async fn channel(viewer: &Running) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", viewer.otlp_grpc)).unwrap();
    endpoint.connect().await.unwrap()
}

#[tokio::test]
async fn spans_come_in_plain_and_compressed() {
    let viewer = Running::start().await;
    let client = TraceServiceClient::new(channel(&viewer).await);
    for (number, mut client) in [
        (1, client.clone()),
        (2, client.send_compressed(CompressionEncoding::Gzip)),
    ] {
        let response = client
            .export(request("api", vec![span(number, 1, "GET /")]))
            .await
            .unwrap();
        assert_eq!(response.into_inner().partial_success, None);
        let (status, answer) = viewer
            .get(&format!("/api/v3/traces/{}", trace_hex(number)))
            .await;
        assert_eq!(status, StatusCode::OK);
        let span = &answer["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["name"], "GET /");
    }
}

#[tokio::test]
async fn spans_without_valid_ids_are_rejected_by_partial_success() {
    let viewer = Running::start().await;
    let mut client = TraceServiceClient::new(channel(&viewer).await);
    let mut nameless = span(1, 1, "x");
    nameless.trace_id = vec![0; 16];
    let response = client
        .export(request("api", vec![nameless, span(1, 2, "y")]))
        .await
        .unwrap();
    assert_eq!(
        response
            .into_inner()
            .partial_success
            .unwrap()
            .rejected_spans,
        1
    );
    assert_eq!(viewer.store.counts().spans, 1);
}

#[tokio::test]
async fn a_message_over_16_mib_is_refused_also_when_compressed() {
    let viewer = Running::start().await;
    let client = TraceServiceClient::new(channel(&viewer).await);
    let mut large = span(1, 1, "x");
    large.attributes = vec![pair("k", text(&"0".repeat(16 * 1024 * 1024)))];
    for mut client in [
        client.clone(),
        client.send_compressed(CompressionEncoding::Gzip),
    ] {
        let status = client
            .export(request("api", vec![large.clone()]))
            .await
            .unwrap_err();
        assert!(
            matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
            "{status:?}"
        );
    }
    assert_eq!(viewer.store.counts().spans, 0);
}

#[tokio::test]
async fn other_signals_are_told_what_to_set() {
    let viewer = Running::start().await;
    let channel = channel(&viewer).await;
    let status = MetricsServiceClient::new(channel)
        .export(ExportMetricsServiceRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(
        status.message(),
        "this viewer takes traces and logs: set OTEL_METRICS_EXPORTER=none in the service that sends metrics"
    );
}

#[tokio::test]
async fn otlp_over_http_on_this_port_is_told_where_to_go() {
    let viewer = Running::start().await;
    let mut body = GzEncoder::new(Vec::new(), Compression::fast());
    body.write_all(b"anything").unwrap();
    let url = format!("http://{}/v1/traces", viewer.otlp_grpc);
    let response = viewer
        .client
        .post(url)
        .header("content-type", "application/x-protobuf")
        .body(body.finish().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(response.text().await.unwrap().contains("4318"));
}
