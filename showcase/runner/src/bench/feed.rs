//! Fills a topic for the receiving half of a hop, with the trace context that a sender would have
//! written. Not measured.

use crate::bench::mode::Mode;
use crate::bench::part::{self, Measured, PartArguments};
use crate::bench::produce::Deliveries;
use anyhow::Context as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use std::time::Duration;
use telemetry::ShutdownReport;
use tokio::time::Instant;

pub(crate) async fn run(arguments: &PartArguments) -> anyhow::Result<Measured> {
    let deliveries = Deliveries::default();
    let producer =
        ThreadedProducer::from_config_and_context(&arguments.config(), deliveries.clone())?;
    let records = arguments.records();
    part::say_ready();
    let (mut pace, mut ticks) = (arguments.pace(), part::ticks());
    let began = Instant::now();
    while !pace.is_over() {
        let due = pace.due();
        let is_first = due.start == 0;
        for number in due {
            let headers = match arguments.mode {
                Mode::Untraced => records.headers(),
                mode => with_context(records.headers(), number, mode.picks(number)),
            };
            let mut record = BaseRecord::to(&arguments.topic)
                .key(records.key(number))
                .payload(&records.value)
                .headers(headers);
            while let Err((error, refused)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                if error != full {
                    return Err(error).context("librdkafka refuses a record");
                }
                record = refused;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if is_first {
            // The connection is there when the clock starts: nothing piles up behind it.
            deliveries.reach(1).await?;
            pace.restart();
        }
        if !pace.is_flat_out() {
            ticks.tick().await;
        }
    }
    deliveries.reach(arguments.records).await?;
    let seconds = began.elapsed().as_secs_f64();
    let sampled = arguments.mode.picked_of(arguments.records);
    Ok(Measured::new(
        seconds,
        None,
        sampled,
        ShutdownReport::default(),
    ))
}

fn with_context(headers: OwnedHeaders, record: u64, is_sampled: bool) -> OwnedHeaders {
    let (id, flags) = (record + 1, u8::from(is_sampled));
    let traceparent = format!("00-{:032x}-{id:016x}-{flags:02x}", u128::from(id) << 64 | 1);
    headers.insert(Header {
        key: "traceparent",
        value: Some(&traceparent),
    })
}
