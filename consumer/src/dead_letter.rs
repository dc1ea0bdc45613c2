//! Puts records that cannot be handled on `orders.dlq`: key, payload and headers as they came,
//! byte for byte, and why in headers added at the end.
//!
//! The trace context in the headers is the one exception: it becomes that of the send to the
//! dead-letter topic, which is in the same trace. And a record that is too large once the reason
//! is added is left where it is: its letter says where, and holds nothing else of it.

use crate::process::ProcessError;
use opentelemetry::metrics::Counter;
use opentelemetry::{KeyValue, global};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_otel::{ErrorType, TracedProducer};
use service::kafka::KafkaSettings;
use std::time::Duration;

const TOO_LARGE: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;

pub(crate) struct DeadLetters {
    producer: TracedProducer,
    topic: String,
    timeout: Duration,
    sent: Counter<u64>,
}

impl DeadLetters {
    pub(crate) fn new(producer: TracedProducer, kafka: &KafkaSettings) -> Self {
        let sent = global::meter("order-processor")
            .u64_counter("app.dead_letters")
            .with_unit("{record}")
            .with_description("Records that were put on the dead-letter topic, by reason")
            .build();
        // From zero on, so that the first letter of a reason is an increase and not a beginning.
        for reason in ProcessError::DEAD_LETTERED {
            sent.add(0, &[KeyValue::new("error.type", reason)]);
        }
        Self {
            producer,
            topic: kafka.topics.orders_dlq.clone(),
            timeout: kafka.send_timeout,
            sent,
        }
    }

    /// Returns once the broker has the record.
    pub(crate) async fn send(
        &self,
        record: &BorrowedMessage<'_>,
        reason: &ProcessError,
        identity: &[KeyValue],
    ) -> Result<(), KafkaError> {
        let headers = record
            .headers()
            .map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
        let mut letter = FutureRecord::to(&self.topic).headers(explained(headers, record, reason));
        letter.key = record.key();
        letter.payload = record.payload();
        let delivered = match self.deliver(letter, identity).await {
            Err(error) if error.rdkafka_error_code() == Some(TOO_LARGE) => {
                let headers = OwnedHeaders::new().insert(Header {
                    key: "dead-letter.omitted",
                    value: Some("key, payload and headers: too large"),
                });
                let note =
                    FutureRecord::to(&self.topic).headers(explained(headers, record, reason));
                self.deliver(note, identity).await
            }
            delivered => delivered,
        };
        if delivered.is_ok() {
            self.sent
                .add(1, &[KeyValue::new("error.type", reason.error_type())]);
        }
        delivered
    }

    async fn deliver(
        &self,
        letter: FutureRecord<'_, [u8], [u8]>,
        identity: &[KeyValue],
    ) -> Result<(), KafkaError> {
        self.producer
            .send_with(letter, self.timeout, identity.iter().cloned())
            .await
            .map(|_| ())
            .map_err(|(error, _)| error)
    }
}

/// Where the record came from and why it is here. The reason quotes nothing of the payload.
fn explained(
    headers: OwnedHeaders,
    record: &BorrowedMessage<'_>,
    reason: &ProcessError,
) -> OwnedHeaders {
    [
        ("dead-letter.error-type", reason.error_type().into_owned()),
        ("dead-letter.reason", reason.to_string()),
        ("dead-letter.topic", record.topic().to_owned()),
        ("dead-letter.partition", record.partition().to_string()),
        ("dead-letter.offset", record.offset().to_string()),
    ]
    .iter()
    .fold(headers, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}
