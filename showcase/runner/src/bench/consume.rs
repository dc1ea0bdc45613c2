//! The receiving half of a hop: records through rdkafka alone, or each in a process span of
//! rdkafka-otel.
//!
//! The two loops differ in nothing else. The handler reads the value and no header.

use crate::bench::part::{self, Measured, PartArguments, WARM_UP};
use crate::bench::usage::Usage;
use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_otel::TracedConsumer;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;
use tokio::time::Instant;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that all records may take beyond the time that their pace asks for.
const LIMIT: Duration = Duration::from_secs(300);

/// The two ways to receive.
enum Receiver {
    Bare(StreamConsumer),
    Traced(TracedConsumer),
}

pub(crate) async fn run(arguments: &PartArguments) -> anyhow::Result<Measured> {
    let telemetry = arguments.telemetry()?;
    let config = arguments.config();
    let receiver = if telemetry.is_some() {
        Receiver::Traced(TracedConsumer::from_config(&config)?)
    } else {
        Receiver::Bare(config.create()?)
    };
    receiver.assign(partitions(arguments).await?)?;
    let paced = arguments
        .rate
        .map_or(0.0, |rate| arguments.records as f64 / rate);
    let limit = LIMIT + Duration::from_secs_f64(paced);
    let mut bytes = 0;
    let all = async {
        for _ in 0..WARM_UP {
            receiver.take(&mut bytes).await?;
        }
        part::say_ready();
        // The first record starts the clock: how long the feed took to begin is no cost.
        receiver.take(&mut bytes).await?;
        let began = (Instant::now(), Usage::own());
        for _ in 1..arguments.records {
            receiver.take(&mut bytes).await?;
        }
        anyhow::Ok(began)
    };
    let (began, before) = tokio::time::timeout(limit, all)
        .await
        .with_context(|| format!("the topic gives fewer records than it should in {limit:?}"))??;
    let seconds = began.elapsed().as_secs_f64();
    black_box(bytes);
    let report = part::shut_down(telemetry).await;
    Ok(Measured::new(
        seconds,
        before,
        arguments.mode.picked_of(WARM_UP) + arguments.mode.picked_of(arguments.records),
        report,
    ))
}

impl Receiver {
    async fn take(&self, bytes: &mut usize) -> anyhow::Result<()> {
        match self {
            Self::Bare(consumer) => {
                let record = consumer.recv().await?;
                handle(&record, bytes).await?;
            }
            Self::Traced(consumer) => {
                let record = consumer.recv().await?;
                consumer.process(&record, || handle(&record, bytes)).await?;
            }
        }
        Ok(())
    }

    fn assign(&self, partitions: TopicPartitionList) -> anyhow::Result<()> {
        match self {
            Self::Bare(consumer) => consumer.assign(&partitions)?,
            Self::Traced(consumer) => consumer.consumer().assign(&partitions)?,
        }
        Ok(())
    }
}

async fn handle(record: &BorrowedMessage<'_>, bytes: &mut usize) -> Result<(), Infallible> {
    *bytes += record.payload().map_or(0, <[u8]>::len);
    Ok(())
}

/// All partitions from their beginning. By hand: a group that forms would be measured too.
async fn partitions(arguments: &PartArguments) -> anyhow::Result<TopicPartitionList> {
    let (config, topic) = (arguments.config(), arguments.topic.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create()?;
        client.fetch_metadata(Some(&topic), METADATA_TIMEOUT)
    });
    let metadata = asked.await??;
    let mut partitions = TopicPartitionList::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            partitions.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
        }
    }
    Ok(partitions)
}
