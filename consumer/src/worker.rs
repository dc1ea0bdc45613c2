//! The member of the group: subscribes to `orders` and hands each record to `process`.

use crate::config::Config;
use crate::process::Processor;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka_otel::TracedConsumer;
use service::kafka::Membership;
use service::record_loop;
use tokio_util::sync::CancellationToken;

pub(crate) struct Worker {
    consumer: TracedConsumer<Membership>,
    processor: Processor,
}

impl Worker {
    pub(crate) fn new(
        config: &Config,
        processor: Processor,
        membership: Membership,
    ) -> KafkaResult<Self> {
        let settings = config.kafka.consumer("order-processor", &config.group);
        let consumer = TracedConsumer::from_config_and_context(&settings, membership)?
            .with_parent(config.process_parent);
        consumer
            .consumer()
            .subscribe(&[&config.kafka.topics.orders])?;
        Ok(Self {
            consumer,
            processor,
        })
    }

    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            consumer,
            processor,
        } = self;
        let handle = async |record: &BorrowedMessage<'_>| processor.process(record).await;
        record_loop::run(consumer, handle, shutdown).await?;
        Ok(())
    }
}
