//! The services, connecting with TLS to everything, and what tests do with them.
//!
//! Their spans, metrics and log records go to a collector behind TLS that must see a token with each
//! request; it keeps them for the test. The log is at `debug`, where libraries talk the most.

use crate::collector::Collector;
use crate::secrets::{TOKEN, assert_free};
use crate::servers::{LIMIT, POLL, TlsFront, Variables, certificate};
use prost::Message;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use tempfile::TempDir;
use throughline::stack::{Broker, Plan, Ports, Stack};
use tokio::time::Instant;
use trace_tree::Trace;

/// Of each log, if a test fails.
const LAST_LINES: usize = 30;
const SERVICES: [&str; 3] = ["orders-api", "order-processor", "payments"];

pub(crate) struct Pipeline {
    pub(crate) stack: Stack,
    pub(crate) prefix: String,
    collector: Collector,
    _front: TlsFront,
    logs: Logs,
}

/// Where the services log; shown if the test fails.
struct Logs(TempDir);

impl Logs {
    fn of(&self, service: &str) -> PathBuf {
        self.0.path().join(format!("{service}.log"))
    }
}

impl Pipeline {
    /// Starts one on `brokers` whose services have these variables.
    pub(crate) async fn start(brokers: String, variables: &Variables) -> Self {
        Self::start_with(brokers, variables, &[]).await
    }

    /// The same, with further variables of single services.
    pub(crate) async fn start_with(
        brokers: String,
        variables: &Variables,
        further: &[(&str, &str, String)],
    ) -> Self {
        let collector = Collector::default();
        let front = TlsFront::start(&collector.over_http().await, false).await;
        let url = front.url();
        let telemetry: Variables = vec![
            // Of the metrics; the runner sets those of the other signals.
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate("ca.pem")),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("authorization=Bearer%20{TOKEN}"),
            ),
            ("OTEL_METRICS_EXPORTER", "otlp".into()),
            ("RUST_LOG", "debug".into()),
        ];
        let of_all = SERVICES.iter().flat_map(|service| {
            let variables = telemetry.iter().chain(variables);
            variables.map(|(name, value)| ((*service).into(), (*name).into(), value.clone()))
        });
        let further = further
            .iter()
            .map(|(service, name, value)| ((*service).into(), (*name).into(), value.clone()));
        let data = TempDir::new().expect("a folder");
        let prefix = format!("security-{}-", uuid::Uuid::new_v4().simple());
        let plan = Plan {
            program: PathBuf::from(env!("CARGO_BIN_EXE_throughline")),
            broker: Broker::Real(brokers),
            topic_prefix: prefix.clone(),
            data: data.path().to_owned(),
            ports: Ports::FREE,
            collector: Some(url),
            environment: of_all.chain(further).collect(),
        };
        let stack = Stack::start(plan, |_| {}).await.expect("the stack starts");
        Self {
            stack,
            prefix,
            collector,
            _front: front,
            logs: Logs(data),
        }
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Posts an order of `items` items.
    pub(crate) async fn post(&self, payment_method: &str, items: usize) -> (StatusCode, Json) {
        let item = json!({"sku": "book-1", "quantity": 2, "unit_price": 1250});
        let order = json!({
            "customer": {"id": "c-7", "name": "Ada Lovelace", "email": "ada@example.org"},
            "currency": "EUR",
            "payment_method": payment_method,
            "items": vec![item; items],
        });
        let url = format!("{}/orders", self.stack.orders_api());
        let answer = client().post(url).json(&order).send().await;
        let answer = answer.expect("orders-api answers");
        let status = answer.status();
        (status, answer.json().await.expect("a JSON body"))
    }

    /// Posts an order that must be accepted, and gives its id and its trace's.
    pub(crate) async fn accepted(&self, payment_method: &str) -> (String, String) {
        let (status, body) = self.post(payment_method, 1).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        (text(&body, "order_id"), text(&body, "trace_id"))
    }

    /// The status of an order now.
    pub(crate) async fn status(&self, order_id: &str) -> String {
        let url = format!("{}/orders/{order_id}", self.stack.orders_api());
        let answer = client().get(url).send().await.expect("orders-api answers");
        let body: Json = answer.json().await.expect("a JSON body");
        text(&body, "status")
    }

    /// Waits until an order has this status.
    pub(crate) async fn has_status(&self, order_id: &str, expected: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.status(order_id).await;
            if status == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{status} and not {expected}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the collector has a trace that is `right`, without the prefix of topics and
    /// groups.
    pub(crate) async fn trace_when(
        &self,
        trace_id: &str,
        right: impl Fn(&Trace) -> Result<(), String>,
    ) -> Trace {
        let deadline = Instant::now() + LIMIT;
        loop {
            let trace = self.trace(trace_id);
            match right(&trace) {
                Ok(()) => return trace,
                Err(difference) => assert!(Instant::now() < deadline, "{difference}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn trace(&self, trace_id: &str) -> Trace {
        let spans: Vec<Json> = self
            .collector
            .received()
            .traces
            .iter()
            .flat_map(|request| &request.resource_spans)
            .map(|spans| serde_json::to_value(spans).expect("OTLP JSON"))
            .collect();
        let text = json!({"resourceSpans": spans}).to_string();
        let json: Json = serde_json::from_str(&text.replace(&self.prefix, "")).expect("JSON");
        let mut trace = Trace::from_otlp_json(&json).expect("OTLP JSON");
        trace.spans.retain(|span| span.trace_id == trace_id);
        trace
    }

    /// Stops everything, and fails if a token was missing or a secret is anywhere.
    pub(crate) async fn ends_without_a_secret(self) {
        assert_eq!(self.stack.stop().await, Vec::<String>::new());
        for service in SERVICES {
            let log = std::fs::read(self.logs.of(service)).expect("a log");
            assert!(!log.is_empty());
            assert_free(service, &log);
        }
        let received = self.collector.received();
        assert!(!received.traces.is_empty() && !received.logs.is_empty());
        assert!(!received.metrics.is_empty());
        for headers in &received.headers {
            assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        }
        for request in &received.traces {
            assert_free("a span", &request.encode_to_vec());
        }
        for request in &received.logs {
            assert_free("a log record", &request.encode_to_vec());
        }
        for request in &received.metrics {
            assert_free("a metric", &request.encode_to_vec());
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in SERVICES {
                let text = std::fs::read_to_string(self.of(service)).unwrap_or_default();
                let loud = text.lines().filter(|line| !line.contains(" DEBUG "));
                let lines: Vec<&str> = loud.collect();
                let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
                eprintln!("the end of {service}'s log:\n{}", last.join("\n"));
            }
        }
    }
}

/// The span of this name in error, with its `error.type`.
pub(crate) fn failed(trace: &Trace, name: &str) -> Result<String, String> {
    trace
        .spans
        .iter()
        .filter(|span| span.name == name)
        .find_map(|span| span.attributes.get("error.type")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| format!("no {name} in error:\n{}", trace_tree::render(trace)))
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(LIMIT)
        .build()
        .expect("an HTTP client")
}

fn text(body: &Json, field: &str) -> String {
    body[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {body}"))
        .to_owned()
}
