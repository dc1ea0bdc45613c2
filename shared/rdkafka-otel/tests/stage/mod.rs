//! What these tests stand on: an SDK that keeps its spans, a broker, and a way to wait.
//!
//! The broker is librdkafka's mock cluster, or a real one if `KAFKA_BROKERS` names it. Topics have
//! names of their own, so tests share a process, its global tracer and a broker without meeting.

#![allow(
    dead_code,
    reason = "every test binary includes this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::trace::{
    Event, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, ConsumerContext, DefaultConsumerContext};
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_otel::TracedConsumer;
use rdkafka_otel::testing::{Capture, Trace};

/// Long enough for a slow machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Sdk {
    pub(crate) provider: SdkTracerProvider,
    pub(crate) capture: Capture,
}

static SDK: LazyLock<Sdk> = LazyLock::new(|| {
    let capture = Capture::install();
    let provider = capture.provider().clone();
    Sdk { provider, capture }
});

/// The SDK of this test binary, installed once.
pub(crate) fn sdk() -> &'static Sdk {
    &SDK
}

pub(crate) fn install_propagator() {
    global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]));
}

impl Sdk {
    /// The spans of this name that have ended so far.
    pub(crate) fn ended(&self, name: &str) -> Vec<SpanData> {
        let mut spans = self.capture.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// The one span of this name that has ended.
    pub(crate) fn only(&self, name: &str) -> SpanData {
        let mut spans = self.ended(name);
        assert_eq!(spans.len(), 1, "spans named {name}");
        spans.remove(0)
    }

    /// The spans that have ended so far of this trace, as one to compare.
    pub(crate) fn trace(&self, trace_id: TraceId) -> Trace {
        let mut spans = self.capture.spans();
        spans.retain(|span| span.span_context.trace_id() == trace_id);
        Trace::from_span_data(&spans, "test")
    }

    /// The one span of this name, once it has ended.
    pub(crate) async fn awaited(&self, name: &str) -> SpanData {
        eventually(|| !self.ended(name).is_empty()).await;
        self.only(name)
    }
}

/// Polls until the condition holds.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(Waker::noop()))
}

/// Polls a future once and drops it, which must find it waiting.
pub(crate) fn start_and_drop(future: impl Future) {
    assert!(poll_once(pin!(future)).is_pending());
}

pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{count}", process::id(), started.as_millis())
}

pub(crate) struct Broker {
    /// `None` where the broker is a real one.
    pub(crate) mock: Option<MockCluster<'static, DefaultProducerContext>>,
    pub(crate) servers: String,
}

impl Broker {
    pub(crate) fn any() -> Self {
        match std::env::var("KAFKA_BROKERS") {
            Ok(servers) if !servers.is_empty() => Self {
                mock: None,
                servers,
            },
            _ => Self::mock(),
        }
    }

    pub(crate) fn mock() -> Self {
        let mock = MockCluster::new(1).unwrap();
        Self {
            servers: mock.bootstrap_servers(),
            mock: Some(mock),
        }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        config(&self.servers)
    }

    /// A new topic with a name that begins like this.
    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = unique(name);
        match &self.mock {
            // The mock cluster does not answer the admin API.
            Some(mock) => mock.create_topic(&topic, partitions, 1).unwrap(),
            None => {
                let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
                let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
                let results = admin.create_topics([&new], &AdminOptions::new()).await;
                assert_eq!(results.unwrap(), [Ok(topic.clone())]);
            }
        }
        topic
    }

    /// A consumer at the start of partition 0, without waiting for a group to form.
    pub(crate) fn consumer(&self, topic: &str) -> TracedConsumer {
        self.consumer_with("tests", DefaultConsumerContext, topic)
    }

    pub(crate) fn consumer_with<C: ConsumerContext>(
        &self,
        group: &str,
        context: C,
        topic: &str,
    ) -> TracedConsumer<C> {
        let config = self.group_config(group);
        let consumer = TracedConsumer::from_config_and_context(&config, context).unwrap();
        consumer.consumer().assign(&beginning(topic)).unwrap();
        consumer
    }

    pub(crate) fn group_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10");
        config
    }
}

/// The start of partition 0.
pub(crate) fn beginning(topic: &str) -> TopicPartitionList {
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    assignment
}

pub(crate) async fn receive<C: ConsumerContext>(
    consumer: &TracedConsumer<C>,
) -> BorrowedMessage<'_> {
    tokio::time::timeout(PATIENCE, consumer.recv())
        .await
        .unwrap()
        .unwrap()
}

pub(crate) fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("client.id", "tests")
        .set("reconnect.backoff.max.ms", "100");
    config
}

/// An address where nothing listens.
pub(crate) fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What a span says about its server.
pub(crate) fn server_attributes(servers: &str) -> Vec<KeyValue> {
    if servers.contains(',') {
        return Vec::new();
    }
    let (host, port) = servers.rsplit_once(':').unwrap();
    vec![
        KeyValue::new("server.address", host.to_owned()),
        KeyValue::new("server.port", port.parse::<i64>().unwrap()),
    ]
}

pub(crate) fn remote(id: u64, flags: TraceFlags) -> SpanContext {
    SpanContext::new(
        TraceId::from(u128::from(id) << 64 | 0xabcd),
        SpanId::from(id),
        flags,
        true,
        TraceState::NONE,
    )
}

pub(crate) fn under(span_context: &SpanContext) -> Context {
    Context::new().with_remote_span_context(span_context.clone())
}

pub(crate) fn traceparent(span_context: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        span_context.trace_id(),
        span_context.span_id(),
        span_context.trace_flags().to_u8(),
    )
}

pub(crate) fn with_traceparent(span_context: &SpanContext) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&traceparent(span_context)),
    })
}

pub(crate) fn linked(span: &SpanData) -> Vec<SpanContext> {
    span.links
        .iter()
        .map(|link| {
            assert_eq!(link.attributes, []);
            link.span_context.clone()
        })
        .collect()
}

/// Events as name and attributes; their times are not of interest.
pub(crate) fn events(span: &SpanData) -> Vec<(String, Vec<KeyValue>)> {
    let strip = |event: &Event| (event.name.to_string(), event.attributes.clone());
    span.events.iter().map(strip).collect()
}

pub(crate) fn exception(kind: &'static str, message: &str) -> Vec<(String, Vec<KeyValue>)> {
    let attributes = vec![
        KeyValue::new("exception.type", kind),
        KeyValue::new("exception.message", message.to_owned()),
    ];
    vec![("exception".to_owned(), attributes)]
}
