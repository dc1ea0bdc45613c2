//! What a sampler is shown before it decides, and that a sampler which records what its parent did
//! not still gets whole spans.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::io;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use opentelemetry::trace::{
    FutureExt, Link, SpanContext, SpanKind, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, Key, KeyValue, Value, global};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample,
    SpanData,
};
use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::FutureRecord;
use rdkafka_otel::{TracedConsumer, TracedProducer};
use stage::{Broker, WAIT, config, nowhere, remote, under, unique, with_traceparent};

/// Name, trace, attribute keys and linked contexts at the start of a span.
type Shown = (String, TraceId, Vec<Key>, Vec<SpanContext>);

static SHOWN: Mutex<Vec<Shown>> = Mutex::new(Vec::new());

/// Takes every span, whatever its parent says.
#[derive(Clone, Debug)]
struct TakesAll;

impl ShouldSample for TakesAll {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        _kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let keys = attributes.iter().map(|one| one.key.clone()).collect();
        let links = links.iter().map(|link| link.span_context.clone()).collect();
        // Any start that is not fixed beforehand is now a later one.
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        SHOWN
            .lock()
            .unwrap()
            .push((name.to_owned(), trace_id, keys, links));
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

static EXPORTER: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(TakesAll)
        .with_simple_exporter(exporter.clone())
        .build();
    global::set_tracer_provider(provider);
    stage::install_propagator();
    exporter
});

fn span(name: &str) -> SpanData {
    let mut spans = EXPORTER.get_finished_spans().unwrap();
    spans.retain(|span| span.name == name);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

/// What the sampler was shown of the one span of this name, and of this trace if it is given.
fn shown(name: &str, trace_id: Option<TraceId>) -> (Vec<String>, Vec<SpanContext>) {
    let shown = SHOWN.lock().unwrap();
    let mut found = shown
        .iter()
        .filter(|(shown, id, ..)| shown == name && trace_id.is_none_or(|trace_id| trace_id == *id));
    let (_, _, keys, links) = found.next().unwrap();
    assert!(found.next().is_none());
    (keys.iter().map(Key::to_string).collect(), links.clone())
}

fn keys(span: &SpanData) -> Vec<String> {
    span.attributes
        .iter()
        .map(|one| one.key.to_string())
        .collect()
}

const SEND: [&str; 7] = [
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.kafka.message.key",
    "server.address",
    "server.port",
];

const PROCESS: [&str; 12] = [
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.consumer.group.name",
    "messaging.client.id",
    "server.address",
    "server.port",
    "kafka.record.queue_time_ms",
    "kafka.record.timestamp_type",
];

const DELIVERY: [&str; 2] = [
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
];

#[tokio::test]
async fn of_a_send_span() {
    LazyLock::force(&EXPORTER);
    let broker = Broker::mock();
    let mut config = broker.config();
    let producer = TracedProducer::from_config(config.remove("client.id")).unwrap();
    let app = || [KeyValue::new("app.order.id", "4711")];

    for (flags, at_start) in [
        (Some(TraceFlags::SAMPLED), true),
        (None, true),
        (Some(TraceFlags::NOT_SAMPLED), false),
    ] {
        let topic = broker.topic("sampled", 1).await;
        let cx = flags.map_or_else(Context::new, |flags| under(&remote(1, flags)));
        let record = FutureRecord::to(&topic).key("k").payload("p");
        producer
            .send_with(record, WAIT, app())
            .with_context(cx)
            .await
            .unwrap();

        let name = format!("send {topic}");
        let mut before: Vec<&str> = SEND.to_vec();
        before.push("app.order.id");
        // Where the parent has decided already, not even the topic is put into words.
        let (keys_shown, links) = if at_start {
            shown(&name, None)
        } else {
            shown("send", Some(remote(1, TraceFlags::NOT_SAMPLED).trace_id()))
        };
        assert_eq!(keys_shown, if at_start { before.clone() } else { vec![] });
        assert_eq!(links, []);
        assert_eq!(keys(&span(&name)), [before, DELIVERY.to_vec()].concat());
    }
}

#[tokio::test]
async fn of_a_process_span() {
    LazyLock::force(&EXPORTER);
    let consumer = TracedConsumer::from_config(config(&nowhere()).set("group.id", "w")).unwrap();
    for flags in [TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED] {
        let topic = unique("sampled");
        let creation = remote(2, flags);
        let headers = with_traceparent(&creation);
        let record = OwnedMessage::new(
            Some(vec![]),
            None,
            topic.clone(),
            Timestamp::CreateTime(1_000),
            0,
            0,
            Some(headers),
        );
        consumer
            .process(&record, || async { Ok::<_, io::Error>(()) })
            .await
            .unwrap();

        let name = format!("process {topic}");
        let (expected, (keys_shown, links)) = if flags.is_sampled() {
            (PROCESS.to_vec(), shown(&name, None))
        } else {
            (vec![], shown("process", Some(creation.trace_id())))
        };
        assert_eq!(keys_shown, expected);
        assert_eq!(links, [creation]);
        let span = span(&name);
        assert_eq!(keys(&span), PROCESS);
        // The wait and the start agree, however long the sampler took.
        let started = span.start_time.duration_since(UNIX_EPOCH).unwrap();
        let waited = Value::I64(started.as_millis() as i64 - 1_000);
        assert_eq!(span.attributes[10].value, waited);
    }
}
