//! Two order-processors in one group, on one Postgres: the partitions are shared, one of them leaves,
//! comes back and is killed, and no order is lost or paid twice.

use crate::expected::Expected;
use crate::pipeline::{LIMIT, RESOURCE, client};
use crate::pipeline::{Pipeline, ViewerAddress, final_status, order, post, trace_id};
use crate::programs::{Collector, Jaeger};
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use throughline::child::{Child, Launch};
use tokio::time::Instant;
use trace_tree::{Kind, Trace, Value};

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_lose_nothing_when_one_comes_and_goes() {
    let databases = Databases::create().await;
    let jaeger = Jaeger::start(&[]).await;
    let viewer = ViewerAddress::choose();
    let settings = [("TAIL_SAMPLING_WAIT", "5s")];
    let collector = Collector::start(&jaeger, &viewer.otlp(), &settings).await;
    let quick_failover = "session.timeout.ms=6000".to_owned();
    let environment = [
        ("orders-api", "DATABASE_URL", databases.url("orders_api")),
        ("payments", "DATABASE_URL", databases.url("payments")),
        (
            "order-processor",
            "DATABASE_URL",
            databases.url("order_processor"),
        ),
        (
            "order-processor",
            "KAFKA_CONSUMER_PROPERTIES",
            quick_failover.clone(),
        ),
    ];
    let pipeline = Pipeline::start(&collector, &viewer, &environment).await;
    let second = Second {
        pipeline: &pipeline,
        otlp: collector.otlp(),
        database: databases.url("order_processor"),
        consumer_properties: quick_failover,
    };
    let member = second.start().await;
    let mut orders = Orders::default();

    orders.post(&pipeline, 24).await;
    let partitions = orders.partitions_by_member(&pipeline).await;
    assert_eq!(partitions.len(), 2, "both work: {partitions:?}");
    let mut sets = partitions.values();
    let (first, other) = (sets.next().expect("one"), sets.next().expect("two"));
    assert!(first.is_disjoint(other), "{partitions:?}");

    let (_, stopped) = tokio::join!(orders.post(&pipeline, 12), member.stop());
    assert!(stopped.expect("it ran well"), "it left in time");
    orders.post(&pipeline, 6).await;
    let (member, ()) = tokio::join!(second.start(), orders.post(&pipeline, 6));
    orders.post(&pipeline, 12).await;
    for posted in &orders.posted {
        let in_viewer = pipeline.seen_by_viewer(&posted.trace_id).await;
        let in_jaeger = pipeline.seen_by_jaeger(&jaeger, &posted.trace_id).await;
        for trace in [in_viewer, in_jaeger] {
            assert_joined(&trace);
            // A record in hand while the partitions move is processed again, and recognised.
            let processed = |span: &&trace_tree::Span| span.name == "process orders";
            if trace.spans.iter().filter(processed).count() == 1 {
                databases.expected(&posted.customer).assert(&trace);
            }
        }
    }

    // What a crash takes along are the spans that were not sent yet; no order is among it.
    tokio::join!(orders.post(&pipeline, 12), member.kill());
    orders.post(&pipeline, 6).await;
    for posted in &orders.posted {
        let status = final_status(&pipeline.stack.orders_api(), &posted.order_id).await;
        assert_eq!(status, "paid");
    }
    let paid_once = i64::try_from(orders.posted.len()).expect("few");
    assert_eq!(databases.count("payments", "payments").await, paid_once);
    let processed = databases.count("order_processor", "processed_orders").await;
    assert_eq!(processed, paid_once);
}

struct Posted {
    customer: String,
    order_id: String,
    trace_id: String,
}

#[derive(Default)]
struct Orders {
    posted: Vec<Posted>,
}

impl Orders {
    /// Posts that many, each of another customer, so that the keys spread over the partitions.
    async fn post(&mut self, pipeline: &Pipeline, count: usize) {
        for _ in 0..count {
            let customer = format!("c-{}", self.posted.len());
            let order = order(&customer, "pm_ok");
            let answer = post(&pipeline.stack.orders_api(), &order).await;
            self.posted.push(Posted {
                customer,
                order_id: answer["order_id"].as_str().expect("an id").to_owned(),
                trace_id: trace_id(&answer),
            });
        }
    }

    /// Which partitions each process has taken records from.
    async fn partitions_by_member(
        &self,
        pipeline: &Pipeline,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for posted in &self.posted {
            let trace = pipeline.seen_by_viewer(&posted.trace_id).await;
            let mut spans = trace.spans.iter();
            let span = spans.find(|span| span.name == "process orders");
            let span = span.expect("it was processed");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            members
                .entry(text(&span.resource["service.instance.id"]))
                .or_default()
                .insert(text(&span.attributes["messaging.destination.partition.id"]));
        }
        members
    }
}

fn assert_joined(trace: &Trace) {
    let shape = || trace_tree::render(trace);
    assert_eq!(trace.roots().len(), 1, "{}", shape());
    for topic in ["orders", "order-status"] {
        let spans = |kind, verb: &str| {
            let name = format!("{verb} {topic}");
            let spans = trace.spans.iter();
            spans
                .filter(move |span| span.kind == kind && span.name == name)
                .collect::<Vec<_>>()
        };
        let sent = spans(Kind::Producer, "send");
        let processed = spans(Kind::Consumer, "process");
        assert!(!sent.is_empty() && !processed.is_empty(), "{}", shape());
        for process in processed {
            let parent = process.parent_span_id.as_deref();
            let joined = sent
                .iter()
                .any(|send| Some(send.span_id.as_str()) == parent);
            assert!(joined, "{}", shape());
        }
    }
}

/// The other member of the group, as a process beside the stack.
struct Second<'a> {
    pipeline: &'a Pipeline,
    otlp: String,
    database: String,
    consumer_properties: String,
}

impl Second<'_> {
    async fn start(&self) -> Child {
        let stack = &self.pipeline.stack;
        let environment = [
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("DATABASE_URL", self.database.clone()),
            ("KAFKA_BROKERS", stack.brokers().to_owned()),
            (
                "KAFKA_CONSUMER_PROPERTIES",
                self.consumer_properties.clone(),
            ),
            ("TOPIC_PREFIX", self.pipeline.prefix.clone()),
            ("PAYMENTS_URL", stack.url_of("payments", "payments")),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.otlp.clone()),
            (RESOURCE.0, RESOURCE.1.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_METRICS_EXPORTER", "none".to_owned()),
            ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ];
        let launch = Launch {
            program: PathBuf::from(env!("CARGO_BIN_EXE_throughline")),
            arguments: vec!["service".into(), "order-processor".into()],
            name: "second-order-processor".into(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            announces: vec!["order-processor".into()],
            logs: self.pipeline.data.path().to_owned(),
        };
        let child = Child::start(launch).await.expect("it starts");
        let address = child.address("order-processor").expect("an address");
        let deadline = Instant::now() + LIMIT;
        loop {
            let ready = client()
                .get(format!("http://{address}/readyz"))
                .send()
                .await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return child;
            }
            assert!(Instant::now() < deadline, "it does not join");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A database of its own for each service.
struct Databases {
    server: String,
    host: String,
    prefix: String,
}

impl Databases {
    async fn create() -> Self {
        let server = std::env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL names a Postgres, as `.ci/full observability` does");
        let host = reqwest::Url::parse(&server).expect("a URL");
        let databases = Self {
            host: host.host_str().expect("a host").to_owned(),
            server,
            prefix: format!("observability_{}_", uuid::Uuid::new_v4().simple()),
        };
        let mut connection = connect(&databases.server).await;
        for name in ["orders_api", "order_processor", "payments"] {
            let statement = format!("CREATE DATABASE {}{name}", databases.prefix);
            let created = connection.execute(sqlx::AssertSqlSafe(statement)).await;
            created.expect("it is created");
        }
        databases
    }

    fn url(&self, name: &str) -> String {
        let mut url = reqwest::Url::parse(&self.server).expect("a URL");
        url.set_path(&format!("{}{name}", self.prefix));
        url.into()
    }

    async fn count(&self, database: &str, table: &str) -> i64 {
        let mut connection = connect(&self.url(database)).await;
        let statement = format!("SELECT COUNT(*) FROM {table}");
        let row = connection.fetch_one(sqlx::AssertSqlSafe(statement)).await;
        row.expect("a row").get(0)
    }

    /// The trace of an order of `customer` that is paid, on these databases.
    fn expected(&self, customer: &str) -> Expected {
        let names = ["orders_api", "order_processor", "payments"]
            .map(|name| format!("{}{name}", self.prefix));
        Expected::read("joined")
            .on_postgres(&self.host, [&names[0], &names[1], &names[2]])
            .but("\"c-7\"", &format!("\"{customer}\""))
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("Postgres answers")
}
