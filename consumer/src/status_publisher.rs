//! Sends `OrderStatusChanged` to the topic `order-status`, keyed by customer id.

use opentelemetry::KeyValue;
use order_events::{OrderPlaced, OrderStatus, OrderStatusChanged};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_otel::TracedProducer;
use service::kafka::KafkaSettings;
use std::time::Duration;

pub(crate) struct StatusPublisher {
    producer: TracedProducer,
    topic: String,
    timeout: Duration,
}

impl StatusPublisher {
    pub(crate) fn new(producer: TracedProducer, kafka: &KafkaSettings) -> Self {
        Self {
            producer,
            topic: kafka.topics.order_status.clone(),
            timeout: kafka.send_timeout,
        }
    }

    /// Returns once the broker has the event. Sending the outcome of one order twice sends two
    /// events with one id.
    pub(crate) async fn send(
        &self,
        order: &OrderPlaced,
        status: OrderStatus,
        identity: &[KeyValue],
    ) -> Result<(), KafkaError> {
        let event = OrderStatusChanged::caused_by(order, status);
        let payload = event
            .to_json()
            .map_err(|_| KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord))?;
        let record = FutureRecord::to(&self.topic)
            .key(&event.customer_id)
            .payload(&payload);
        self.producer
            .send_with(record, self.timeout, identity.iter().cloned())
            .await
            .map(|_| ())
            .map_err(|(error, _)| error)
    }
}
