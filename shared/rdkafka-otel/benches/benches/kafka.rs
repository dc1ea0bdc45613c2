//! The whole loop on a real broker: records a second and processor time a record, traced beside
//! untraced.
//!
//! `.ci/full bench` starts a Kafka and runs this; by hand: `KAFKA_BROKERS=host:port cargo bench -p
//! rdkafka-otel-benches --bench kafka`. Rounds are interleaved. Spans are made and thrown away: what
//! an exporter costs is the exporter's.

#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::result_large_err,
    reason = "the error holds the record, as with rdkafka"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that fails is no measurement"
)]

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceFlags;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use rdkafka_otel::{Parent, ProcessTracer, SendTraced, TracedContext};
use rdkafka_otel_benches::{Service, context};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RECORDS: u64 = 200_000;
const ROUNDS: usize = 7;

/// Processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| -> f64 { fields[index].parse().unwrap() };
    // Linux counts in hundredths, whatever the kernel's own tick is.
    (ticks(11) + ticks(12)) / 100.0
}

/// Records a second, and microseconds of processor time a record.
fn measure(work: impl FnOnce()) -> (f64, f64) {
    let (began, before) = (Instant::now(), processor_time());
    work();
    let seconds = began.elapsed().as_secs_f64();
    let used = processor_time() - before;
    let records = RECORDS as f64;
    (records / seconds, used * 1e6 / records)
}

fn record(topic: &str) -> BaseRecord<'_, str, [u8], ()> {
    let headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header {
            key: "tenant",
            value: Some("acme"),
        })
        .insert(Header {
            key: "content-type",
            value: Some("application/json"),
        });
    BaseRecord::to(topic)
        .key("c-4711-0123456789-0123456789-0123456")
        .payload(&[7; 512][..])
        .headers(headers)
}

type Sent<'a> = Result<(), (KafkaError, BaseRecord<'a, str, [u8], ()>)>;

/// Sends everything, waiting where the queue is full.
fn produce<'a>(
    topic: &'a str,
    flush: impl Fn(),
    send: impl Fn(BaseRecord<'a, str, [u8], ()>) -> Sent<'a>,
) {
    for _ in 0..RECORDS {
        let mut next = record(topic);
        while let Err((error, refused)) = send(next) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            next = refused;
            std::thread::yield_now();
        }
    }
    flush();
}

fn consume(
    config: &ClientConfig,
    topic: &str,
    mut work: impl FnMut(&rdkafka::message::BorrowedMessage<'_>),
) {
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&assignment).unwrap();
    let mut bytes = 0;
    for _ in 0..RECORDS {
        let record = consumer.poll(Duration::from_secs(30)).unwrap().unwrap();
        work(&record);
        bytes += record.payload().map_or(0, <[u8]>::len);
    }
    assert_eq!(bytes as u64, RECORDS * 512);
}

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

fn report(title: &str, names: &[&str], measured: &[Vec<(f64, f64)>]) {
    println!("\n{title}\n");
    println!("| | records/s | range | × | CPU µs/record | range | added |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let base = median(&mut measured[0].iter().map(|one| one.1).collect::<Vec<_>>()).0;
    for (name, rounds) in names.iter().zip(measured) {
        let (rate, slowest, fastest) =
            median(&mut rounds.iter().map(|one| one.0).collect::<Vec<_>>());
        let (used, least, most) = median(&mut rounds.iter().map(|one| one.1).collect::<Vec<_>>());
        let ratios = rounds.iter().zip(&measured[0]);
        let ratio = median(&mut ratios.map(|(one, base)| one.0 / base.0).collect::<Vec<_>>()).0;
        println!(
            "| {name} | {rate:.0} | {slowest:.0}–{fastest:.0} | {ratio:.2} | {used:.2} | {least:.2}–{most:.2} | {:.2} |",
            used - base
        );
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Ok(servers) = env::var("KAFKA_BROKERS") else {
        println!("kafka: KAFKA_BROKERS names no broker, so nothing is measured");
        return;
    };
    // Installs the SDK; the clients below take their tracers from it.
    let _service = Service::new(true);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &servers)
        .set("client.id", "bench")
        .set("linger.ms", "5")
        .set("enable.idempotence", "true");
    let plain: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    let traced: ThreadedProducer<_> = config
        .create_with_context(TracedContext::new(&config, DefaultProducerContext))
        .unwrap();
    let mut reading = config.clone();
    reading
        .remove("linger.ms")
        .remove("enable.idempotence")
        .set("group.id", "bench")
        .set("enable.auto.commit", "false");
    let tracer = ProcessTracer::from_config(&reading).with_parent(Parent::CreationContext);

    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let names = ["untraced", "traced, parent not sampled", "traced, sampled"];
    let flags = [
        None,
        Some(TraceFlags::NOT_SAMPLED),
        Some(TraceFlags::SAMPLED),
    ];
    let (mut sent, mut processed) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for round in 0..=ROUNDS {
        for (index, flags) in flags.into_iter().enumerate() {
            let topic = format!("bench-{}-{round}-{index}", std::process::id());
            let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
            let created = admin.create_topics([&new], &AdminOptions::new()).await;
            created.unwrap().remove(0).unwrap();
            let wait = Duration::from_secs(60);
            let send = measure(|| match flags {
                None => produce(
                    &topic,
                    || plain.flush(wait).unwrap(),
                    |record| plain.send(record),
                ),
                Some(flags) => {
                    let _parent = context(flags).attach();
                    produce(
                        &topic,
                        || traced.flush(wait).unwrap(),
                        |record| traced.send_traced(record),
                    );
                }
            });
            let process = measure(|| match flags {
                None => consume(&reading, &topic, |_| ()),
                Some(_) => consume(&reading, &topic, |record| {
                    let span = tracer.start(record);
                    span.finish(Ok::<_, KafkaError>(())).unwrap();
                }),
            });
            admin
                .delete_topics(&[&topic], &AdminOptions::new())
                .await
                .unwrap();
            // The first round warms up.
            if round > 0 {
                sent[index].push(send);
                processed[index].push(process);
            }
        }
    }
    report("Produce, flat out", &names, &sent);
    report("Consume, flat out", &names, &processed);
}
