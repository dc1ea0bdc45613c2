//! A collector on loopback that keeps what it is sent: OTLP over HTTP/protobuf and over gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, transport};

#[derive(Clone, Default)]
pub(crate) struct Collector {
    received: Arc<Mutex<Received>>,
}

#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    pub(crate) logs: Vec<ExportLogsServiceRequest>,
    /// Headers or metadata of every request.
    pub(crate) headers: Vec<HeaderMap>,
}

impl Collector {
    /// Listens; answers with the endpoint.
    pub(crate) async fn over_http(&self) -> String {
        let (traces, metrics, logs) = (self.clone(), self.clone(), self.clone());
        let router = Router::new()
            .route(
                "/v1/traces",
                post(|headers: HeaderMap, body: Bytes| async move {
                    traces.keep(headers, &body, |all, it| all.traces.push(it))
                }),
            )
            .route(
                "/v1/metrics",
                post(|headers: HeaderMap, body: Bytes| async move {
                    metrics.keep(headers, &body, |all, it| all.metrics.push(it))
                }),
            )
            .route(
                "/v1/logs",
                post(|headers: HeaderMap, body: Bytes| async move {
                    logs.keep(headers, &body, |all, it| all.logs.push(it))
                }),
            );
        let (listener, endpoint) = listen().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn keep<T: Message + Default>(
        &self,
        headers: HeaderMap,
        body: &[u8],
        push: impl FnOnce(&mut Received, T),
    ) -> StatusCode {
        assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
        let mut received = self.received.lock().unwrap();
        push(&mut received, T::decode(body).unwrap());
        received.headers.push(headers);
        StatusCode::OK
    }

    /// Listens; answers with the endpoint.
    pub(crate) async fn over_grpc(&self) -> String {
        let (listener, endpoint) = listen().await;
        let gzip = CompressionEncoding::Gzip;
        let server = transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(self.clone()).accept_compressed(gzip))
            .add_service(LogsServiceServer::new(self.clone()).accept_compressed(gzip))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        endpoint
    }

    fn note<T>(&self, request: Request<T>, push: impl FnOnce(&mut Received, T)) {
        let mut received = self.received.lock().unwrap();
        let (metadata, _, message) = request.into_parts();
        received.headers.push(metadata.into_headers());
        push(&mut received, message);
    }

    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.note(request, |all, it| all.traces.push(it));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.note(request, |all, it| all.metrics.push(it));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.note(request, |all, it| all.logs.push(it));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Received {
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.traces.iter().flat_map(|it| &it.resource_spans);
        let scopes = resources.flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }

    pub(crate) fn log_records(&self) -> Vec<LogRecord> {
        let resources = self.logs.iter().flat_map(|it| &it.resource_logs);
        let scopes = resources.flat_map(|it| &it.scope_logs);
        scopes.flat_map(|it| it.log_records.clone()).collect()
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let resources = self.metrics.iter().flat_map(|it| &it.resource_metrics);
        let scopes = resources.flat_map(|it| &it.scope_metrics);
        scopes.flat_map(|it| it.metrics.clone()).collect()
    }

    /// The resources of the three signals.
    pub(crate) fn resources(&self) -> [BTreeMap<String, String>; 3] {
        let traces = self.traces[0].resource_spans[0].resource.as_ref();
        let metrics = self.metrics[0].resource_metrics[0].resource.as_ref();
        let logs = self.logs[0].resource_logs[0].resource.as_ref();
        [traces, metrics, logs].map(|resource| shown(resource.unwrap()))
    }
}

fn shown(resource: &Resource) -> BTreeMap<String, String> {
    let attributes = resource.attributes.iter().map(|attribute| {
        match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
            Some(Value::StringValue(text)) => (attribute.key.clone(), text.clone()),
            other => panic!("{}: {other:?}", attribute.key),
        }
    });
    let all: Vec<_> = attributes.collect();
    let by_name: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(all.len(), by_name.len(), "a key is there twice: {all:?}");
    by_name
}
