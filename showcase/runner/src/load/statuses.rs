//! Hears on `order-status` how orders end, beside the group of `orders-api`.

use crate::broker;
use crate::load::ledger::Ledger;
use anyhow::{Context, bail};
use order_events::{OrderStatusChanged, Topics};
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use service::Environment;
use service::kafka::Security;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A consumer that stands at the end of every partition.
pub(crate) struct Statuses {
    consumer: StreamConsumer,
}

impl Statuses {
    /// Every event from now on will be heard.
    ///
    /// # Errors
    /// If there is no broker, or no such topic.
    pub(crate) async fn start(brokers: &str, topic_prefix: &str) -> anyhow::Result<Self> {
        let topic = Topics::with_prefix(topic_prefix).order_status;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            // Partitions are assigned by hand; a group id is only what the client insists on.
            .set("group.id", "throughline-load")
            .set("enable.auto.commit", "false");
        for property in broker::CONSUMER_PROPERTIES.split(',') {
            if let Some((key, value)) = property.split_once('=') {
                config.set(key, value);
            }
        }
        let mut environment = Environment::of_process();
        let security = Security::configure(&mut environment);
        environment.finish(security)?.apply(&mut config);
        let ends = {
            let (config, topic) = (config.clone(), topic.clone());
            tokio::task::spawn_blocking(move || ends(&config, &topic)).await?
        };
        let ends = ends.with_context(|| {
            format!(
                "cannot hear status events on topic {topic} at {brokers}; is the showcase running, \
                 and is this its broker (--brokers)?"
            )
        })?;
        let consumer: StreamConsumer = config.create()?;
        consumer.assign(&ends)?;
        Ok(Self { consumer })
    }

    /// Enters what it hears, for ever.
    ///
    /// # Cancel safety
    /// Dropping the future ends the hearing.
    pub(crate) async fn enter(self, ledger: Arc<Mutex<Ledger>>) {
        loop {
            // An error passes, or the orders stay without an end, which is told.
            let Ok(record) = self.consumer.recv().await else {
                continue;
            };
            let Ok(event) = OrderStatusChanged::from_json(record.payload()) else {
                continue;
            };
            ledger.lock().unwrap_or_else(PoisonError::into_inner).ended(
                event.order_id,
                event.status.as_str(),
                Instant::now(),
            );
        }
    }
}

/// Where each partition ends now. Asked for, as `Offset::End` would be resolved some time later.
fn ends(config: &ClientConfig, topic: &str) -> anyhow::Result<TopicPartitionList> {
    let client: BaseConsumer = config.create()?;
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let mut ends = TopicPartitionList::new();
    for topic in metadata.topics() {
        if let Some(error) = topic.error() {
            bail!("{error:?}");
        }
        for partition in topic.partitions() {
            let (_, end) = client.fetch_watermarks(topic.name(), partition.id(), TIMEOUT)?;
            ends.add_partition_offset(topic.name(), partition.id(), Offset::Offset(end))?;
        }
    }
    Ok(ends)
}
