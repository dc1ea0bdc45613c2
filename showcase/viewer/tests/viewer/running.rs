//! A viewer on free ports, for one test.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use viewer::{Config, Store, Viewer};

pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) store: Arc<Store>,
    pub(crate) query: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    pub(crate) otlp_grpc: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

pub(crate) fn free_ports(max_bytes: usize) -> Config {
    Config {
        listen: ANY_PORT.parse().unwrap(),
        otlp_http: ANY_PORT.parse().unwrap(),
        otlp_grpc: ANY_PORT.parse().unwrap(),
        max_bytes,
        control_url: None,
    }
}

impl Running {
    pub(crate) async fn start() -> Running {
        Running::with_bytes(64 * 1024 * 1024).await
    }

    pub(crate) async fn with_bytes(max_bytes: usize) -> Running {
        let viewer = Viewer::bind(free_ports(max_bytes)).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Running {
            client: Client::new(),
            store: viewer.store(),
            query: viewer.listen_addr(),
            otlp_http: viewer.otlp_http_addr(),
            otlp_grpc: viewer.otlp_grpc_addr(),
            served: tokio::spawn(viewer.serve(async { _ = stopped.await })),
            stop,
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }

    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .post(format!("http://{}/v1/traces", self.otlp_http))
            .header("content-type", "application/x-protobuf")
            .body(body)
    }

    /// Sends spans, all of which must be taken.
    pub(crate) async fn send(&self, request: &ExportTraceServiceRequest) {
        let response = self.post(request.encode_to_vec()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        let answer = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
        assert_eq!(answer.partial_success, None);
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Json) {
        let url = format!("http://{}{path}", self.query);
        json(self.client.get(url).send().await.unwrap()).await
    }

    /// An answer that may be anything.
    pub(crate) async fn get_any(&self, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.query);
        let response = self.client.get(url).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// A search among all times.
    pub(crate) async fn search(&self, parameters: &[(&str, &str)]) -> (StatusCode, Json) {
        let all_times = [
            ("query.start_time_min", "1970-01-01T00:00:00Z"),
            ("query.start_time_max", "2200-01-01T00:00:00Z"),
        ];
        let request = self
            .client
            .get(format!("http://{}/api/v3/traces", self.query))
            .query(parameters)
            .query(&all_times);
        json(request.send().await.unwrap()).await
    }
}

async fn json(response: Response) -> (StatusCode, Json) {
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = response.status();
    (status, response.json().await.unwrap())
}
