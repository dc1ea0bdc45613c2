//! The instruments: exact names, units, buckets, labels and counts; recorded whatever the sampler
//! says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{FutureExt, TraceFlags};
use opentelemetry::{Context, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use rdkafka::consumer::CommitMode;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::FutureRecord;
use rdkafka::{ClientConfig, Timestamp};
use rdkafka_otel::{CommitTracer, ProcessTracer, TracedConsumer, TracedProducer};
use stage::{Broker, WAIT, config, nowhere, receive, remote, start_and_drop, under, unique};

struct Meters {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// No span of this binary is sampled.
static METERS: LazyLock<Meters> = LazyLock::new(|| {
    let exporter = InMemoryMetricExporter::default();
    // Exports only when it is asked to.
    let reader = PeriodicReader::builder(exporter.clone())
        .with_interval(Duration::from_secs(3600))
        .build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    global::set_meter_provider(provider.clone());
    let tracers = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff);
    global::set_tracer_provider(tracers.build());
    stage::install_propagator();
    Meters { provider, exporter }
});

/// One data point: its labels, what it counted, and the sum of what a histogram measured.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    labels: BTreeMap<String, String>,
    count: u64,
    sum: Option<f64>,
}

#[derive(Clone, Debug)]
struct Instrument {
    unit: String,
    bounds: Vec<f64>,
    points: Vec<Point>,
}

/// Everything that has been recorded so far, by instrument.
fn collect() -> BTreeMap<String, Instrument> {
    METERS.provider.force_flush().unwrap();
    let all: Vec<ResourceMetrics> = METERS.exporter.get_finished_metrics().unwrap();
    let mut instruments = BTreeMap::new();
    for scope in all.last().unwrap().scope_metrics() {
        assert_eq!(scope.scope().name(), "rdkafka-otel");
        assert_eq!(
            scope.scope().schema_url(),
            Some("https://opentelemetry.io/schemas/1.44.0")
        );
        for metric in scope.metrics() {
            let labels = |pairs: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
                pairs
                    .map(|pair| (pair.key.to_string(), pair.value.to_string()))
                    .collect()
            };
            let mut bounds = Vec::new();
            let points = match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
                    .data_points()
                    .map(|point| Point {
                        labels: labels(&mut point.attributes()),
                        count: point.value(),
                        sum: None,
                    })
                    .collect(),
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
                    .data_points()
                    .map(|point| {
                        bounds = point.bounds().collect();
                        Point {
                            labels: labels(&mut point.attributes()),
                            count: point.count(),
                            sum: Some(point.sum()),
                        }
                    })
                    .collect(),
                other => panic!("{} is {other:?}", metric.name()),
            };
            let unit = metric.unit().to_owned();
            instruments.insert(
                metric.name().to_owned(),
                Instrument {
                    unit,
                    bounds,
                    points,
                },
            );
        }
    }
    instruments
}

/// Instrument, labels other than the topic and the constant ones, count.
type Recorded = (String, Vec<(String, String)>, u64);

/// The points of one topic.
fn of(topic: &str) -> BTreeSet<Recorded> {
    let mut found = BTreeSet::new();
    for (name, instrument) in collect() {
        for point in instrument.points {
            let mut labels = point.labels;
            if labels.remove("messaging.destination.name").as_deref() != Some(topic) {
                continue;
            }
            assert_eq!(labels.remove("messaging.system").as_deref(), Some("kafka"));
            assert!(labels.remove("server.address").is_some(), "{name}");
            assert!(labels.remove("server.port").is_some(), "{name}");
            found.insert((name.clone(), labels.into_iter().collect(), point.count));
        }
    }
    found
}

fn point(name: &str, labels: &[(&str, &str)], count: u64) -> Recorded {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    labels.sort();
    (name.to_owned(), labels, count)
}

const OPERATION: &str = "messaging.client.operation.duration";
const SENT: &str = "messaging.client.sent.messages";
const CONSUMED: &str = "messaging.client.consumed.messages";
const PROCESS: &str = "messaging.process.duration";
const QUEUE_TIME: &str = "kafka.record.queue_time";
const CLOCK_SKEWS: &str = "kafka.record.clock_skews";
const MISSING: &str = "kafka.record.missing_contexts";

const NAME: &str = "messaging.operation.name";
const TYPE: &str = "messaging.operation.type";
const GROUP: &str = "messaging.consumer.group.name";
const CLOCK: &str = "kafka.record.timestamp_type";

#[tokio::test]
async fn a_record_there_and_back() {
    LazyLock::force(&METERS);
    let broker = Broker::any();
    let topic = broker.topic("metered", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let parent = under(&remote(1, TraceFlags::NOT_SAMPLED));
    for key in ["a", "b", "c"] {
        let record = FutureRecord::to(&topic).key(key).payload("p");
        producer
            .send(record, WAIT)
            .with_context(parent.clone())
            .await
            .unwrap();
    }
    let commits = CommitTracer::from_config(broker.config().set("group.id", "tests"));
    let consumer = broker.consumer(&topic).with_commit_spans(commits);
    for turn in 0..3 {
        let record = receive(&consumer).await;
        let result = consumer
            .process(&record, || async move {
                match turn {
                    2 => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                    _ => Ok(()),
                }
            })
            .await;
        assert_eq!(result.is_err(), turn == 2);
        consumer.commit_message(&record, CommitMode::Sync).unwrap();
    }

    let send = [(NAME, "send"), (TYPE, "send")];
    let poll = [(NAME, "poll"), (TYPE, "receive"), (GROUP, "tests")];
    let commit = [(NAME, "commit"), (TYPE, "settle"), (GROUP, "tests")];
    let process = [(NAME, "process"), (GROUP, "tests")];
    let failed = [process[0], process[1], ("error.type", "ConnectionRefused")];
    let expected = [
        point(OPERATION, &send, 3),
        point(SENT, &send[..1], 3),
        point(OPERATION, &poll, 3),
        point(CONSUMED, &[poll[0], poll[2]], 3),
        point(OPERATION, &commit, 3),
        point(PROCESS, &process, 2),
        point(PROCESS, &failed, 1),
        point(
            QUEUE_TIME,
            &[process[0], process[1], (CLOCK, "CreateTime")],
            3,
        ),
    ];
    assert_eq!(of(&topic), expected.into());
}

#[tokio::test]
async fn sends_that_fail() {
    LazyLock::force(&METERS);
    let topic = unique("unsent");
    let producer =
        TracedProducer::from_config(config(&nowhere()).set("message.timeout.ms", "100")).unwrap();
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic);
    producer.send(record, WAIT).await.unwrap_err();

    let full = unique("full");
    let producer =
        TracedProducer::from_config(config(&nowhere()).set("queue.buffering.max.messages", "1"))
            .unwrap();
    let record = || -> FutureRecord<'_, str, str> { FutureRecord::to(&full) };
    let first = producer.send_result(record()).map_err(|(error, _)| error);
    let _first = first.unwrap();
    start_and_drop(producer.send(record(), WAIT));
    assert!(producer.send_result(record()).is_err());

    let labels = |error| [(NAME, "send"), (TYPE, "send"), ("error.type", error)];
    let points = |error, count| {
        let labels = labels(error);
        [
            point(OPERATION, &labels, count),
            point(SENT, &[labels[0], labels[2]], count),
        ]
    };
    assert_eq!(of(&topic), points("_MSG_TIMED_OUT", 1).into());
    let expected = [points("cancelled", 1), points("_QUEUE_FULL", 1)].concat();
    assert_eq!(of(&full), expected.into_iter().collect());
}

/// A record without a broker: this long ago, with these headers.
fn record(topic: &str, timestamp: Timestamp, traceparent: Option<&str>) -> OwnedMessage {
    let headers = traceparent.map(|value| {
        OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some(value),
        })
    });
    OwnedMessage::new(None, None, topic.to_owned(), timestamp, 0, 0, headers)
}

fn worker() -> ClientConfig {
    let mut config = config(&nowhere());
    config.set("group.id", "w");
    config
}

#[tokio::test]
async fn queue_wait_skew_and_missing_contexts() {
    LazyLock::force(&METERS);
    let topic = unique("waited");
    let tracer = ProcessTracer::from_config(&worker());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_millis() as i64;
    let too_long = format!("00-{}", "0".repeat(600));
    let records = [
        (Timestamp::CreateTime(now - 5_000), None),
        (Timestamp::LogAppendTime(now - 7_000), Some("garbage")),
        (Timestamp::CreateTime(now + 3_600_000), Some(&*too_long)),
        (Timestamp::NotAvailable, Some("")),
        (
            Timestamp::NotAvailable,
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ),
    ];
    for (timestamp, traceparent) in records {
        tracer
            .process(&record(&topic, timestamp, traceparent), || async {
                Ok::<_, io::Error>(())
            })
            .await
            .unwrap();
    }

    let process = [(NAME, "process"), (GROUP, "w")];
    let clock = |clock| [process[0], process[1], (CLOCK, clock)];
    let reason = |reason| {
        let reason = ("kafka.record.missing_context.reason", reason);
        [process[0], process[1], reason]
    };
    let expected = [
        point(CONSUMED, &[(NAME, "poll"), (GROUP, "w")], 5),
        point(PROCESS, &process, 5),
        point(QUEUE_TIME, &clock("CreateTime"), 2),
        point(QUEUE_TIME, &clock("LogAppendTime"), 1),
        point(CLOCK_SKEWS, &clock("CreateTime"), 1),
        point(MISSING, &reason("absent"), 1),
        point(MISSING, &reason("malformed"), 2),
        point(MISSING, &reason("too_long"), 1),
    ];
    assert_eq!(of(&topic), expected.into());

    let waited = |kind: &str| {
        let points = collect().remove(QUEUE_TIME).unwrap().points;
        let mut points = points.into_iter().filter(|point| {
            point.labels["messaging.destination.name"] == topic && point.labels[CLOCK] == kind
        });
        points.next().unwrap().sum.unwrap()
    };
    // The record from the future counts as 0.
    assert!((5.0..65.0).contains(&waited("CreateTime")));
    assert!((7.0..67.0).contains(&waited("LogAppendTime")));
}

#[tokio::test]
async fn work_that_is_given_up() {
    LazyLock::force(&METERS);
    let topic = unique("given-up");
    let consumer = TracedConsumer::from_config(&worker()).unwrap();
    let record = record(&topic, Timestamp::NotAvailable, None);
    let never = || std::future::pending::<Result<(), io::Error>>();
    start_and_drop(consumer.process(&record, never));
    drop(consumer.start(&record));

    let labels = [(NAME, "process"), (GROUP, "w"), ("error.type", "cancelled")];
    let reason = ("kafka.record.missing_context.reason", "absent");
    let expected = [
        point(PROCESS, &labels, 2),
        point(MISSING, &[labels[0], labels[1], reason], 2),
    ];
    assert_eq!(of(&topic), expected.into());
}

#[tokio::test]
async fn suppressed_telemetry_measures_nothing() {
    LazyLock::force(&METERS);
    let broker = Broker::any();
    let topic = broker.topic("suppressed", 1).await;
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    let commits = CommitTracer::from_config(broker.config().set("group.id", "tests"));
    let consumer = broker.consumer(&topic).with_commit_spans(commits);
    let work = async {
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic);
        producer.send(record, WAIT).await.unwrap();
        let record = receive(&consumer).await;
        consumer
            .process(&record, || async { Ok::<_, io::Error>(()) })
            .await
            .unwrap();
        consumer.commit_message(&record, CommitMode::Sync).unwrap();
    };
    work.with_context(Context::new().with_telemetry_suppressed())
        .await;
    assert_eq!(of(&topic), BTreeSet::new());
}

#[tokio::test]
async fn instruments_have_the_conventions_units_and_buckets() {
    LazyLock::force(&METERS);
    let topic = unique("shape");
    let ahead = Timestamp::CreateTime(i64::MAX);
    let tracer = ProcessTracer::from_config(&worker());
    drop(tracer.start(&record(&topic, ahead, None)));
    let producer =
        TracedProducer::from_config(config(&nowhere()).set("message.timeout.ms", "1")).unwrap();
    let unsent: FutureRecord<'_, str, str> = FutureRecord::to(&topic);
    producer.send(unsent, WAIT).await.unwrap_err();

    let durations = vec![
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    let waits = vec![
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
        3600.0, 14400.0, 86400.0,
    ];
    let expected = [
        (CLOCK_SKEWS, "{record}", vec![]),
        (MISSING, "{record}", vec![]),
        (QUEUE_TIME, "s", waits),
        (CONSUMED, "{message}", vec![]),
        (OPERATION, "s", durations.clone()),
        (SENT, "{message}", vec![]),
        (PROCESS, "s", durations),
    ];
    let found = collect();
    let found: Vec<_> = found
        .iter()
        .map(|(name, instrument)| (&**name, &*instrument.unit, instrument.bounds.clone()))
        .collect();
    assert_eq!(found, expected);
}
