//! Watches how much waits on the embedded broker, which drops the oldest batches of a partition
//! without a word once it holds about 5 MiB, and warns before and when that happens.
//!
//! Not for real brokers, whose retention is their operator's.

use order_events::Topics;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::HashSet;
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
/// An order with its headers takes some 500 bytes, so 5 MiB hold about 10,000: half of that.
const MANY: i64 = 5_000;

/// Looks every two seconds, and gives each warning once to `warn`, for ever.
///
/// # Cancel safety
/// Dropping the future ends the watch.
pub(crate) async fn watch(brokers: &str, mut warn: impl FnMut(String)) {
    let mut warned = HashSet::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let brokers = brokers.to_owned();
        let look = tokio::task::spawn_blocking(move || warnings(&brokers, ""));
        // A broker that does not answer is noticed elsewhere.
        if let Ok(Ok(warnings)) = look.await {
            for (place, warning) in warnings {
                if warned.insert(place) {
                    warn(warning);
                }
            }
        }
    }
}

/// What there is to warn of now, each with a name for its place and kind.
fn warnings(brokers: &str, prefix: &str) -> KafkaResult<Vec<(String, String)>> {
    let topics = Topics::with_prefix(prefix);
    let mut warnings = Vec::new();
    for (topic, group) in [
        (&topics.orders, "order-processor"),
        (&topics.order_status, "orders-api"),
    ] {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("{prefix}{group}"))
            .create()?;
        for partition in committed(&client, topic)?.elements() {
            let number = partition.partition();
            let (oldest, next) = client.fetch_watermarks(topic, number, TIMEOUT)?;
            let done = match partition.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            };
            if done < oldest {
                warnings.push((
                    format!("lost {topic} {number}"),
                    format!(
                        "{} records of {topic}[{number}] were dropped by the embedded broker \
                         before {group} took them",
                        oldest - done
                    ),
                ));
            } else if next - done > MANY {
                warnings.push((
                    format!("many {topic} {number}"),
                    format!(
                        "{} records of {topic}[{number}] wait for {group}; beyond about 10,000 \
                         the embedded broker drops the oldest. A real one (--brokers) does not",
                        next - done
                    ),
                ));
            }
        }
    }
    Ok(warnings)
}

fn committed(client: &BaseConsumer, topic: &str) -> KafkaResult<TopicPartitionList> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let mut partitions = TopicPartitionList::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            partitions.add_partition(topic.name(), partition.id());
        }
    }
    client.committed_offsets(partitions, TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::EmbeddedBroker;
    use rdkafka::consumer::CommitMode;
    use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

    fn fill(brokers: &str, records: usize, bytes: usize) {
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
            ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .create()
                .unwrap();
        let payload = vec![b'x'; bytes];
        for _ in 0..records {
            let record = BaseRecord::<(), _>::to("orders")
                .partition(3)
                .payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn commit(brokers: &str, offset: i64) {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "order-processor")
            .create()
            .unwrap();
        let mut done = TopicPartitionList::new();
        done.add_partition_offset("orders", 3, Offset::Offset(offset))
            .unwrap();
        client.commit(&done, CommitMode::Sync).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backlog_is_warned_of_before_it_is_dropped_and_when_it_is() {
        let broker = EmbeddedBroker::start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        broker.create_topic("orders", 12).unwrap();
        broker.create_topic("order-status", 12).unwrap();
        let brokers = broker.address().to_string();
        tokio::task::spawn_blocking(move || {
            let places = || -> Vec<String> {
                let found = warnings(&brokers, "").unwrap();
                found.into_iter().map(|(place, _)| place).collect()
            };
            fill(&brokers, 5_000, 100);
            assert_eq!(places(), Vec::<String>::new());
            fill(&brokers, 1, 100);
            assert_eq!(places(), ["many orders 3"]);
            commit(&brokers, 5_001);
            assert_eq!(places(), Vec::<String>::new());
            fill(&brokers, 600, 20_000);
            assert_eq!(places(), ["lost orders 3"]);
        })
        .await
        .unwrap();
    }
}
