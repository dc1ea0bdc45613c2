//! OTLP over HTTP into the store. Follows the OTLP specification 1.x, "OTLP/HTTP", with binary
//! protobuf, plain or gzip.
//!
//! Traces only: the other signals are answered with what to set in the sender.

use std::io::Read as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use crate::store::{Received, Store};

/// Largest request, before and after decompression. The specification leaves the number open;
/// SDKs send far below it.
pub(crate) const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

const PROTOBUF: &str = "application/x-protobuf";

/// The receiving side of OTLP/HTTP.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .fallback(async |uri: Uri| {
            let message = format!("{}\n", traces_only(uri.path()));
            (StatusCode::NOT_FOUND, message)
        })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(store)
}

/// What to tell a sender of anything but traces.
pub(crate) fn traces_only(path: &str) -> String {
    let path = path.to_ascii_lowercase();
    let advice = if path.contains("logs") {
        "set OTEL_LOGS_EXPORTER=none in the service that sends logs"
    } else if path.contains("metrics") {
        "set OTEL_METRICS_EXPORTER=none in the service that sends metrics"
    } else {
        "OTLP over HTTP goes to POST /v1/traces, over gRPC to TraceService/Export"
    };
    format!("this viewer takes traces only: {advice}")
}

async fn traces(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match receive(&store, &headers, body) {
        Ok(received) => protobuf(
            StatusCode::OK,
            &ExportTraceServiceResponse::from(received),
        ),
        Err(Refused::ContentType) => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/x-protobuf: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf in the sender\n",
        )
            .into_response(),
        Err(Refused::ContentEncoding) => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content encoding must be gzip or none: set OTEL_EXPORTER_OTLP_COMPRESSION accordingly in the sender\n",
        )
            .into_response(),
        Err(Refused::Body(http_status, code, message)) => {
            protobuf(http_status, &RpcStatus { code, message })
        }
    }
}

enum Refused {
    ContentType,
    ContentEncoding,
    Body(StatusCode, i32, String),
}

/// Codes of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;

impl Refused {
    fn invalid(message: impl Into<String>) -> Refused {
        Refused::Body(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message.into())
    }

    fn too_large() -> Refused {
        Refused::Body(
            StatusCode::PAYLOAD_TOO_LARGE,
            RESOURCE_EXHAUSTED,
            format!("a request may have {MAX_REQUEST_BYTES} bytes, also after decompression"),
        )
    }
}

fn receive(
    store: &Store,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Received, Refused> {
    if !is_protobuf(headers) {
        return Err(Refused::ContentType);
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused::too_large(),
        _ => Refused::invalid("the body did not arrive whole"),
    })?;
    let encoding = headers.get(header::CONTENT_ENCODING);
    let encoding = encoding.map_or(&b""[..], |value| value.as_bytes().trim_ascii());
    let body = if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        body
    } else if encoding.eq_ignore_ascii_case(b"gzip") {
        decompress(&body)?
    } else {
        return Err(Refused::ContentEncoding);
    };
    let request = ExportTraceServiceRequest::decode(body)
        .map_err(|error| Refused::invalid(format!("not an ExportTraceServiceRequest: {error}")))?;
    Ok(store.insert(request))
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let value = value.as_bytes();
    let end = value.iter().position(|&byte| byte == b';');
    let essence = value[..end.unwrap_or(value.len())].trim_ascii();
    essence.eq_ignore_ascii_case(PROTOBUF.as_bytes())
}

fn decompress(body: &[u8]) -> Result<Bytes, Refused> {
    let mut plain = Vec::new();
    // One byte more than allowed tells "too large" from "just fits".
    let limit = MAX_REQUEST_BYTES as u64 + 1;
    MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(|error| Refused::invalid(format!("not gzip: {error}")))?;
    if plain.len() > MAX_REQUEST_BYTES {
        return Err(Refused::too_large());
    }
    Ok(plain.into())
}

fn protobuf(status: StatusCode, message: &impl Message) -> Response {
    let body = message.encode_to_vec();
    (status, [(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

/// `google.rpc.Status`, the body of OTLP/HTTP's failures; without its details, which are not used.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl From<Received> for ExportTraceServiceResponse {
    fn from(received: Received) -> Self {
        let partial_success = (received.rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(received.rejected).unwrap_or(i64::MAX),
            error_message: "a trace id must have 16 bytes, a span id 8, a parent's id 8 or none; \
                            trace and span ids must not be all zero"
                .to_owned(),
        });
        ExportTraceServiceResponse { partial_success }
    }
}
