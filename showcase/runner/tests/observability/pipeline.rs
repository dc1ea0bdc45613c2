//! The pipeline on a real Kafka, whose spans go to a Collector, and what tests do with it.

use crate::programs::{Collector, Jaeger, free_port, loopback};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use throughline::query::QueryApi;
use throughline::stack::{Broker, Plan, Ports, Stack};
use tokio::time::Instant;
use trace_tree::{Trace, Value};

/// Longest wait for anything. The Collector's own wait is half a minute.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// What Jaeger adds to a link, and to a span.
const REFERENCE_TYPE: &str = "opentracing.ref_type";
const WARNINGS: &str = "@jaeger@warnings";

/// As docker-compose.yml has it: Jaeger takes asynchronous spans of different hosts for those of a
/// skewed clock, and adds a warning to them.
pub(crate) const RESOURCE: (&str, &str) = ("OTEL_RESOURCE_ATTRIBUTES", "host.name=compose");

pub(crate) const PERSON: &str = "Zebulon Quixfeather";
pub(crate) const ADDRESS: &str = "zebulon.quixfeather@mail.example";

/// Services and viewer, with topics and a group of their own. The Collector is given the address of
/// the viewer before that is started.
pub(crate) struct Pipeline {
    pub(crate) stack: Stack,
    pub(crate) prefix: String,
    pub(crate) data: TempDir,
}

/// The OTLP address that a viewer will have.
pub(crate) struct ViewerAddress(u16);

impl ViewerAddress {
    pub(crate) fn choose() -> Self {
        Self(free_port())
    }

    pub(crate) fn otlp(&self) -> String {
        format!("http://{}", loopback(self.0))
    }
}

/// A Jaeger, a Collector and a pipeline, one after the other.
pub(crate) struct World {
    pub(crate) jaeger: Jaeger,
    pub(crate) collector: Collector,
    pub(crate) pipeline: Pipeline,
}

impl World {
    /// Starts all of it, the Collector with further variables.
    pub(crate) async fn start(collector: &[(&str, &str)]) -> World {
        let jaeger = Jaeger::start(&[]).await;
        let viewer = ViewerAddress::choose();
        let collector = Collector::start(&jaeger, &viewer.otlp(), collector).await;
        let pipeline = Pipeline::start(&collector, &viewer, &[]).await;
        World {
            jaeger,
            collector,
            pipeline,
        }
    }
}

impl Pipeline {
    /// Starts one, with further variables: service, name, value.
    pub(crate) async fn start(
        collector: &Collector,
        viewer: &ViewerAddress,
        environment: &[(&str, &str, String)],
    ) -> Pipeline {
        let brokers = std::env::var("KAFKA_BROKERS")
            .expect("KAFKA_BROKERS names a real Kafka, as `.ci/full observability` does");
        let data = TempDir::new().expect("a folder");
        let prefix = format!("observability-{}-", uuid::Uuid::new_v4().simple());
        let services = ["payments", "order-processor", "orders-api"];
        let endpoints = services.map(|service| {
            let traces = format!("{}/v1/traces", collector.otlp());
            (service, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces)
        });
        let resources = services.map(|service| (service, RESOURCE.0, RESOURCE.1.to_owned()));
        let plan = Plan {
            program: PathBuf::from(env!("CARGO_BIN_EXE_throughline")),
            broker: Broker::Real(brokers),
            collector: None,
            topic_prefix: prefix.clone(),
            data: data.path().to_owned(),
            ports: Ports {
                otlp_http_port: viewer.0,
                ..Ports::FREE
            },
            environment: endpoints
                .iter()
                .chain(&resources)
                .chain(environment)
                .map(|(service, name, value)| ((*service).into(), (*name).into(), value.clone()))
                .collect(),
        };
        let stack = Stack::start(plan, |_| {}).await.expect("the stack starts");
        Pipeline {
            stack,
            prefix,
            data,
        }
    }

    /// Posts an order that must be accepted, and gives the answer's body.
    pub(crate) async fn post(&self, payment_method: &str) -> Json {
        post(&self.stack.orders_api(), &order("c-7", payment_method)).await
    }

    /// As [`post`](Self::post), and gives the trace id only.
    pub(crate) async fn traced(&self, payment_method: &str) -> String {
        trace_id(&self.post(payment_method).await)
    }

    /// The whole trace as the viewer has it.
    pub(crate) async fn seen_by_viewer(&self, trace_id: &str) -> Trace {
        self.whole_trace(&self.stack.viewer(), trace_id).await
    }

    /// The whole trace as Jaeger has it.
    pub(crate) async fn seen_by_jaeger(&self, jaeger: &Jaeger, trace_id: &str) -> Trace {
        as_sent(self.whole_trace(&jaeger.url(), trace_id).await)
    }

    async fn whole_trace(&self, api: &str, trace_id: &str) -> Trace {
        let trace = QueryApi::new(api)
            .expect("a client")
            .whole_trace(trace_id, LIMIT)
            .await
            .expect("the API answers")
            .unwrap_or_else(|| panic!("{api} has no trace {trace_id}"));
        without_prefix(trace, &self.prefix)
    }
}

/// The trace as far as it is in Jaeger, if there is any of it.
pub(crate) async fn found(jaeger: &Jaeger, trace_id: &str) -> Option<Trace> {
    let api = QueryApi::new(&jaeger.url()).expect("a client");
    let trace = api.trace(trace_id).await.expect("Jaeger answers")?;
    Some(as_sent(trace))
}

/// Waits until Jaeger has anything of the trace.
pub(crate) async fn arrived(jaeger: &Jaeger, trace_id: &str) -> Trace {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(trace) = found(jaeger, trace_id).await {
            return trace;
        }
        assert!(Instant::now() < deadline, "{trace_id} is not in Jaeger");
        tokio::time::sleep(POLL).await;
    }
}

/// An order; the customer's name and address appear nowhere but in it.
pub(crate) fn order(customer: &str, payment_method: &str) -> Json {
    json!({
        "customer": {"id": customer, "name": PERSON, "email": ADDRESS},
        "currency": "EUR",
        "payment_method": payment_method,
        "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
    })
}

/// Posts `order` to `orders_api`, which must accept it.
pub(crate) async fn post(orders_api: &str, order: &Json) -> Json {
    let request = client().post(format!("{orders_api}/orders")).json(order);
    let answer = request.send().await.expect("orders-api answers");
    let status = answer.status();
    let body: Json = answer.json().await.expect("a JSON body");
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    body
}

/// Polls an order until its status is no longer `pending`.
pub(crate) async fn final_status(orders_api: &str, order_id: &str) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let request = client().get(format!("{orders_api}/orders/{order_id}"));
        let answer = request.send().await.expect("orders-api answers");
        let body: Json = answer.json().await.expect("a JSON body");
        match body["status"].as_str() {
            Some("pending") => assert!(Instant::now() < deadline, "still pending"),
            Some(status) => return status.to_owned(),
            None => panic!("no status in {body}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) fn trace_id(answer: &Json) -> String {
    answer["trace_id"].as_str().expect("a trace id").to_owned()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .expect("an HTTP client")
}

/// The trace as if the topics and groups had no prefix.
pub(crate) fn without_prefix(mut trace: Trace, prefix: &str) -> Trace {
    for span in &mut trace.spans {
        span.name = span.name.replace(prefix, "");
        for value in span.attributes.values_mut() {
            if let Value::String(text) = value {
                *text = text.replace(prefix, "");
            }
        }
    }
    trace
}

/// The trace without what Jaeger adds when it is asked, each of which must be exactly this: a link is
/// stored as a reference of a type, and the type is told as an attribute of it; a span whose parent is
/// missing gets a warning.
pub(crate) fn as_sent(mut trace: Trace) -> Trace {
    let follows_from = BTreeMap::from([(
        REFERENCE_TYPE.to_owned(),
        Value::String("follows_from".to_owned()),
    )]);
    for span in &mut trace.spans {
        for link in &mut span.links {
            assert_eq!(link.attributes, follows_from);
            link.attributes.clear();
        }
        let parent = span.parent_span_id.as_deref().unwrap_or_default();
        let missing = Value::Array(vec![Value::String(format!(
            "parent span ID={parent} is not in the trace; skipping clock skew adjustment"
        ))]);
        if span.attributes.get(WARNINGS) == Some(&missing) {
            span.attributes.remove(WARNINGS);
        }
    }
    trace
}
