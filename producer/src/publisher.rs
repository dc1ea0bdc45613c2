//! Sends `OrderPlaced` to the topic `orders`, keyed by customer id; the trace context goes along in
//! the record's headers.

use opentelemetry::KeyValue;
use order_events::OrderPlaced;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::FutureRecord;
use rdkafka_otel::TracedProducer;
use service::kafka::KafkaSettings;
use std::time::Duration;

/// How long records on their way may take when the service leaves.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to describe the topic to a readiness check.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// The producer of this service.
#[derive(Clone)]
pub(crate) struct Publisher {
    producer: TracedProducer,
    topic: String,
    timeout: Duration,
}

/// The order was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the event cannot be written")]
    Encode(#[from] serde_json::Error),
    #[error("the broker did not take the record")]
    Send(#[from] KafkaError),
}

impl Publisher {
    pub(crate) fn new(kafka: &KafkaSettings) -> KafkaResult<Self> {
        Ok(Self {
            producer: TracedProducer::from_config(&kafka.producer("orders-api"))?,
            topic: kafka.topics.orders.clone(),
            timeout: kafka.send_timeout,
        })
    }

    /// Returns once the broker has the record.
    pub(crate) async fn publish(&self, event: &OrderPlaced) -> Result<(), PublishError> {
        let payload = event.to_json()?;
        let record = FutureRecord::to(&self.topic)
            .key(&event.customer_id)
            .payload(&payload);
        let order_id = event.order_id.to_string();
        let attributes = [
            KeyValue::new("app.order.id", order_id.clone()),
            KeyValue::new("messaging.message.conversation_id", order_id),
        ];
        self.producer
            .send_with(record, self.timeout, attributes)
            .await
            .map_err(|(error, _)| error)?;
        Ok(())
    }

    /// Whether the broker answers, and lets this service see the topic.
    pub(crate) async fn reaches_broker(&self) -> Result<(), String> {
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            producer
                .client()
                .fetch_metadata(Some(&topic), METADATA_TIMEOUT)
        });
        let metadata = asked
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let error = metadata.topics().first().and_then(MetadataTopic::error);
        error.map_or(Ok(()), |error| {
            Err(format!(
                "topic {}: {}",
                self.topic,
                RDKafkaErrorCode::from(error)
            ))
        })
    }

    /// Waits for records on their way, for up to 5 s.
    pub(crate) async fn flush(&self) {
        let producer = self.producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "records were left behind unsent");
        }
    }
}
