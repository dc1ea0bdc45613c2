//! OTLP over HTTP into the store. Follows the OTLP specification 1.x, "OTLP/HTTP", with binary
//! protobuf and JSON, plain or gzip; an answer has the form of its request.
//!
//! Traces and logs: metrics are answered with what to set in the sender.

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
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::expansion::{Part, json_fits, protobuf_fits};
use crate::json;
use crate::store::{Received, Store};

/// Largest request, before and after decompression. The specification leaves the number open;
/// SDKs send far below it.
pub(crate) const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The two encodings of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// The receiving side of OTLP/HTTP.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/logs", post(logs))
        .fallback(async |uri: Uri| {
            let message = format!("{}\n", not_taken(uri.path()));
            (StatusCode::NOT_FOUND, message)
        })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(store)
}

/// What to tell a sender of anything but traces and logs.
pub(crate) fn not_taken(path: &str) -> String {
    let advice = if path.to_ascii_lowercase().contains("metrics") {
        "set OTEL_METRICS_EXPORTER=none in the service that sends metrics"
    } else {
        "OTLP over HTTP goes to POST /v1/traces and /v1/logs, over gRPC to TraceService/Export and \
         LogsService/Export"
    };
    format!("this viewer takes traces and logs: {advice}")
}

type Body = Result<Bytes, BytesRejection>;

async fn traces(State(store): State<Arc<Store>>, headers: HeaderMap, body: Body) -> Response {
    received(Part::Traces, &headers, body, |request| {
        ExportTraceServiceResponse::from(store.insert(request))
    })
}

async fn logs(State(store): State<Arc<Store>>, headers: HeaderMap, body: Body) -> Response {
    let take = |request: ExportLogsServiceRequest| {
        store.insert_logs(request);
        ExportLogsServiceResponse::default()
    };
    received(Part::Logs, &headers, body, take)
}

/// Decodes a request, has it taken, and answers in its encoding.
fn received<Request, Answer>(
    whole: Part,
    headers: &HeaderMap,
    body: Body,
    take: impl FnOnce(Request) -> Answer,
) -> Response
where
    Request: Message + Default + DeserializeOwned,
    Answer: Message + Serialize,
{
    let Some(encoding) = encoding(headers) else {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/x-protobuf or application/json: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf in the sender\n",
        )
            .into_response();
    };
    match decode(whole, encoding, headers, body) {
        Ok(request) => write(encoding, StatusCode::OK, &take(request)),
        Err(Refused::ContentEncoding) => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content encoding must be gzip or none: set OTEL_EXPORTER_OTLP_COMPRESSION accordingly in the sender\n",
        )
            .into_response(),
        Err(Refused::Body(http_status, code, message)) => {
            write(encoding, http_status, &RpcStatus { code, message })
        }
    }
}

enum Refused {
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

    fn too_many() -> Refused {
        Refused::Body(
            StatusCode::PAYLOAD_TOO_LARGE,
            RESOURCE_EXHAUSTED,
            "the request has more spans, records or attributes than are taken at once: send smaller \
             batches"
                .to_owned(),
        )
    }
}

fn decode<Request: Message + Default + DeserializeOwned>(
    whole: Part,
    encoding: Encoding,
    headers: &HeaderMap,
    body: Body,
) -> Result<Request, Refused> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused::too_large(),
        _ => Refused::invalid("the body did not arrive whole"),
    })?;
    let compression = headers.get(header::CONTENT_ENCODING);
    let compression = compression.map_or(&b""[..], |value| value.as_bytes().trim_ascii());
    let body = if compression.is_empty() || compression.eq_ignore_ascii_case(b"identity") {
        body
    } else if compression.eq_ignore_ascii_case(b"gzip") {
        decompress(&body)?
    } else {
        return Err(Refused::ContentEncoding);
    };
    let name = std::any::type_name::<Request>();
    let name = name.rsplit("::").next().unwrap_or(name);
    let invalid = |error: String| Refused::invalid(format!("not an {name}: {error}"));
    match encoding {
        Encoding::Protobuf if !protobuf_fits(whole, &body) => Err(Refused::too_many()),
        Encoding::Json if !json_fits(&body) => Err(Refused::too_many()),
        Encoding::Protobuf => Request::decode(body).map_err(|error| invalid(error.to_string())),
        Encoding::Json => json::decode(&body).map_err(|error| invalid(error.to_string())),
    }
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let end = value.iter().position(|&byte| byte == b';');
    let essence = value[..end.unwrap_or(value.len())].trim_ascii();
    if essence.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
        Some(Encoding::Protobuf)
    } else if essence.eq_ignore_ascii_case(JSON.as_bytes()) {
        Some(Encoding::Json)
    } else {
        None
    }
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

fn write(encoding: Encoding, status: StatusCode, message: &(impl Message + Serialize)) -> Response {
    let (content_type, body) = match encoding {
        Encoding::Protobuf => (PROTOBUF, message.encode_to_vec()),
        // Nothing in these messages can fail to be written.
        Encoding::Json => (JSON, serde_json::to_vec(message).unwrap_or_default()),
    };
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// `google.rpc.Status`, the body of OTLP/HTTP's failures; without its details, which are not used.
#[derive(Clone, PartialEq, Serialize, prost::Message)]
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
