//! OTLP over gRPC into the store. Follows the OTLP specification 1.x, "OTLP/gRPC".
//!
//! Traces and logs: other services are answered with what to set in the sender.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use crate::otlp_http::{MAX_REQUEST_BYTES, not_taken};
use crate::store::Store;

/// The gRPC services. The size bound holds before and after decompression.
pub(crate) fn router(store: Arc<Store>) -> Router {
    let traces = TraceServiceServer::new(Receiver(Arc::clone(&store)))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let logs = LogsServiceServer::new(Receiver(store))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = Routes::new(traces).add_service(logs);
    routes.into_axum_router().fallback(not_served)
}

struct Receiver(Arc<Store>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let received = self.0.insert(request.into_inner());
        Ok(tonic::Response::new(received.into()))
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        self.0.insert_logs(request.into_inner());
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

async fn not_served(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "this port takes OTLP over gRPC; OTLP over HTTP has a port of its own (4318 unless changed)\n",
        )
            .into_response();
    }
    tonic::Status::unimplemented(not_taken(request.uri().path())).into_http::<Body>()
}
