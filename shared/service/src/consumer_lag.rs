//! How far a member of a consumer group is behind: what librdkafka's statistics say of its partitions,
//! as the metric `kafka.consumer_group.lag`.
//!
//! Each member tells of its own share; the lag of the group is their sum. A group without members
//! tells nothing, which is news in itself (the alert `OrderProcessorDown`).

use opentelemetry::metrics::Gauge;
use opentelemetry::{KeyValue, global};
use rdkafka::statistics::{Statistics, Topic};

/// The gauge of one member.
#[derive(Clone)]
pub(crate) struct ConsumerLag {
    gauge: Gauge<i64>,
    group: String,
}

impl ConsumerLag {
    /// Takes the gauge from the global meter provider, which must have been set before.
    pub(crate) fn new(group: String) -> Self {
        let gauge = global::meter("service.consumer_lag")
            .i64_gauge("kafka.consumer_group.lag")
            .with_unit("{record}")
            .with_description(
                "Records in this member's partitions that the group has not committed.",
            )
            .build();
        Self { gauge, group }
    }

    pub(crate) fn record(&self, statistics: &Statistics) {
        for (name, topic) in &statistics.topics {
            let labels = [
                KeyValue::new("messaging.destination.name", name.clone()),
                KeyValue::new("messaging.consumer.group.name", self.group.clone()),
            ];
            self.gauge.record(lag(topic), &labels);
        }
    }
}

/// Partitions that have gone to another member stay in the statistics and do not count. Below zero is
/// librdkafka's word for not known yet.
fn lag(topic: &Topic) -> i64 {
    topic
        .partitions
        .values()
        .filter(|partition| partition.desired)
        .map(|partition| partition.consumer_lag.max(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::lag;
    use rdkafka::statistics::{Partition, Topic};

    #[test]
    fn the_lag_of_a_topic_is_that_of_the_partitions_that_are_ours() {
        let partition = |desired, consumer_lag| Partition {
            desired,
            consumer_lag,
            ..Partition::default()
        };
        let partitions = [
            partition(true, 5),
            partition(true, 7),
            partition(true, -1),
            partition(false, 100),
        ];
        let topic = Topic {
            partitions: (0..).zip(partitions).collect(),
            ..Topic::default()
        };
        assert_eq!(lag(&topic), 12);
    }
}
