//! A stack of its own for a test, or the one that tests share, and what tests do with it.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;
use throughline::broker::EmbeddedBroker;
use throughline::query::QueryApi;
use throughline::stack::{Broker, PARTITIONS, Plan, Ports, Stack};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use trace_tree::Trace;

/// Longest wait for anything that should happen within seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What tests share lives on a runtime that outlives each of theirs.
static SHARED: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static BROKER: OnceCell<EmbeddedBroker> = OnceCell::const_new();
static WORLD: OnceCell<World> = OnceCell::const_new();

/// A running stack with topics of its own.
pub(crate) struct World {
    pub(crate) stack: Stack,
    prefix: String,
    data: TempDir,
}

/// The answer to a posted order.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field} in {}", self.body))
    }
}

/// The order of the tests; the customer's name and address appear nowhere but in it.
pub(crate) fn order(payment_method: &str) -> Value {
    json!({
        "customer": {"id": "c-7", "name": PERSON, "email": ADDRESS},
        "currency": "EUR",
        "payment_method": payment_method,
        "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
    })
}

pub(crate) const PERSON: &str = "Zebulon Quixfeather";
pub(crate) const ADDRESS: &str = "zebulon.quixfeather@mail.example";

impl World {
    /// The stack that all tests use that change nothing about it.
    pub(crate) async fn shared() -> &'static World {
        SHARED
            .spawn(WORLD.get_or_init(|| World::start(&[])))
            .await
            .expect("the shared stack starts")
    }

    /// A stack for one test, with further variables: service (`*` for each), name, value.
    pub(crate) async fn start(environment: &[(&str, &str, &str)]) -> World {
        let prefix = format!("e2e-{}-", uuid::Uuid::new_v4().simple());
        let broker = match std::env::var("KAFKA_BROKERS") {
            Ok(brokers) => Broker::Real(brokers),
            Err(_) => Broker::Running(shared_broker(&prefix).await),
        };
        World::start_on(broker, prefix, environment).await
    }

    /// A stack with an embedded broker of its own, to be taken away.
    pub(crate) async fn with_own_broker(environment: &[(&str, &str, &str)]) -> World {
        World::start_on(Broker::Embedded, String::new(), environment).await
    }

    async fn start_on(broker: Broker, prefix: String, environment: &[(&str, &str, &str)]) -> World {
        let data = TempDir::new().expect("a folder");
        let services = ["payments", "order-processor", "orders-api"];
        let plan = Plan {
            program: PathBuf::from(env!("CARGO_BIN_EXE_throughline")),
            broker,
            topic_prefix: prefix.clone(),
            data: data.path().to_owned(),
            ports: Ports::FREE,
            collector: None,
            environment: environment
                .iter()
                .flat_map(|(to, name, value)| {
                    services
                        .iter()
                        .filter(move |service| *to == "*" || to == *service)
                        .map(|service| ((*service).into(), (*name).into(), (*value).into()))
                })
                .collect(),
        };
        let stack = Stack::start(plan, |_| {}).await.expect("the stack starts");
        World {
            stack,
            prefix,
            data,
        }
    }

    /// Posts `order`, with further headers.
    pub(crate) async fn post(&self, order: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = client()
            .post(format!("{}/orders", self.stack.orders_api()))
            .json(order);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Looks an order up, with further headers.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = client().get(format!("{}{path}", self.stack.orders_api()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Posts an order that must be accepted, and gives its answer and its whole trace.
    pub(crate) async fn trace_of(
        &self,
        order: &Value,
        headers: &[(&str, &str)],
    ) -> (Answer, Trace) {
        let answer = self.post(order, headers).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        let trace = self.whole_trace(answer.text("trace_id")).await;
        (answer, trace)
    }

    /// The trace, when it hangs together and no longer grows. Names and values are without the
    /// prefix of this world's topics and groups.
    pub(crate) async fn whole_trace(&self, trace_id: &str) -> Trace {
        let query = QueryApi::new(&self.stack.viewer()).expect("a client");
        query
            .whole_trace(trace_id, LIMIT)
            .await
            .expect("the viewer answers")
            .expect("the viewer has the trace");
        self.trace(trace_id).await
    }

    /// Waits until the trace is as `is_enough` wants it.
    pub(crate) async fn trace_when(
        &self,
        trace_id: &str,
        is_enough: impl Fn(&Trace) -> bool,
    ) -> Trace {
        let deadline = Instant::now() + LIMIT;
        loop {
            let response = client()
                .get(format!("{}/api/v3/traces/{trace_id}", self.stack.viewer()))
                .send()
                .await
                .expect("the viewer answers");
            if response.status().is_success() {
                let text = response.text().await.expect("a body");
                let json: Value =
                    serde_json::from_str(&text.replace(&self.prefix, "")).expect("JSON");
                let trace = Trace::from_otlp_json(&json).expect("OTLP JSON");
                if is_enough(&trace) {
                    return trace;
                }
                assert!(
                    Instant::now() < deadline,
                    "not in time; so far:\n{}",
                    trace_tree::render(&trace)
                );
            }
            assert!(Instant::now() < deadline, "no such trace in time");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn trace(&self, trace_id: &str) -> Trace {
        self.trace_when(trace_id, |_| true).await
    }

    /// Polls the order until its status is no longer `pending`.
    pub(crate) async fn final_status(&self, path: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.get(path, &[]).await;
            let status = answer.text("status").to_owned();
            if status != "pending" {
                return status;
            }
            assert!(Instant::now() < deadline, "still pending");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Sends a record as a foreign producer would: no span, these headers.
    pub(crate) async fn produce(&self, topic: &str, payload: Option<&[u8]>, headers: OwnedHeaders) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", self.stack.brokers())
            .create()
            .expect("a producer");
        let topic = format!("{}{topic}", self.prefix);
        let mut record = FutureRecord::<[u8], [u8]>::to(&topic)
            .key(b"c-7")
            .headers(headers);
        record.payload = payload;
        producer
            .send(record, LIMIT)
            .await
            .map_err(|(error, _)| error)
            .expect("the broker takes the record");
    }

    /// The first `count` records of a topic, in the order of their partitions.
    pub(crate) async fn records(&self, topic: &str, count: usize) -> Vec<Record> {
        let topic = format!("{}{topic}", self.prefix);
        let brokers = self.stack.brokers().to_owned();
        tokio::task::spawn_blocking(move || read(&brokers, &topic, count))
            .await
            .expect("no panic")
    }

    /// What `service` wrote to standard error.
    pub(crate) fn log(&self, service: &str) -> String {
        std::fs::read_to_string(self.data.path().join(format!("{service}.log"))).expect("a log")
    }

    /// What stands before the topics and groups of this world.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }
}

/// A record as it lies on the topic.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) owned_headers: OwnedHeaders,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(key, _)| key == name.as_bytes())?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

fn read(brokers: &str, topic: &str, count: usize) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "end-to-end-reader")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&partitions).expect("an assignment");
    let deadline = std::time::Instant::now() + LIMIT;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {count} records of {topic} in time",
            records.len()
        );
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let headers = message.headers();
        records.push(Record {
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.map_or_else(Vec::new, |headers| {
                rdkafka_otel::raw_headers(headers)
                    .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                    .collect()
            }),
            owned_headers: headers.map_or_else(OwnedHeaders::new, |headers| headers.detach()),
        });
    }
    records
}

/// Compares with `traces/NAME.txt`.
pub(crate) fn assert_trace(name: &str, trace: &Trace) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("traces")
        .join(format!("{name}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if let Err(mismatch) = trace_tree::compare(&expected, trace) {
        panic!("{}:\n{mismatch}", path.display());
    }
}

/// A client of this test's runtime; connections of another one's may die with it.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(LIMIT)
        .build()
        .expect("an HTTP client")
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("orders-api answers");
    let location = response
        .headers()
        .get("location")
        .map(|value| value.to_str().expect("ASCII").to_owned());
    Answer {
        status: response.status(),
        location,
        body: response.json().await.expect("a JSON body"),
    }
}

async fn shared_broker(prefix: &str) -> String {
    let start = BROKER.get_or_init(|| async {
        EmbeddedBroker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .expect("an embedded broker")
    });
    let broker = SHARED.spawn(start).await.expect("no panic");
    for topic in order_events::Topics::with_prefix(prefix).all() {
        broker.create_topic(topic, PARTITIONS).expect("a topic");
    }
    broker.address().to_string()
}
