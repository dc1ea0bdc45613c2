//! An OTLP collector that keeps what it is sent of all three signals, for what the viewer does not
//! take.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// Everything received so far.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Received>>);

#[derive(Default, Clone)]
pub(crate) struct Received {
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    pub(crate) logs: Vec<ExportLogsServiceRequest>,
}

/// Attributes of a resource, by key.
pub(crate) type Attributes = BTreeMap<String, String>;

impl Collector {
    /// Starts one on a free port, and tells its URL.
    pub(crate) async fn start() -> (Self, String) {
        let collector = Self::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    /// What was received up to now.
    pub(crate) fn received(&self) -> Received {
        self.0.lock().expect("no panic").clone()
    }
}

impl Received {
    /// The resources that each signal came with: traces, metrics, logs.
    pub(crate) fn resources(&self) -> [Vec<Attributes>; 3] {
        [
            self.traces
                .iter()
                .flat_map(|request| &request.resource_spans)
                .filter_map(|spans| spans.resource.as_ref())
                .map(attributes)
                .collect(),
            self.metrics
                .iter()
                .flat_map(|request| &request.resource_metrics)
                .filter_map(|metrics| metrics.resource.as_ref())
                .map(attributes)
                .collect(),
            self.logs
                .iter()
                .flat_map(|request| &request.resource_logs)
                .filter_map(|logs| logs.resource.as_ref())
                .map(attributes)
                .collect(),
        ]
    }
}

fn attributes(resource: &Resource) -> Attributes {
    resource
        .attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), format!("{:?}", attribute.value)))
        .collect()
}

async fn traces(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP traces");
    collector.0.lock().expect("no panic").traces.push(request);
}

async fn metrics(State(collector): State<Collector>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).expect("OTLP metrics");
    collector.0.lock().expect("no panic").metrics.push(request);
}

async fn logs(State(collector): State<Collector>, body: Bytes) {
    let request = ExportLogsServiceRequest::decode(body).expect("OTLP logs");
    collector.0.lock().expect("no panic").logs.push(request);
}
