//! What happens to a record between librdkafka's queue and its delivery report: the span that
//! travels with it, and how that span ends.
//!
//! Starts no span and sends nothing; `producer.rs` does.

use std::error::Error;

use opentelemetry::KeyValue;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::ProducerContext;
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::{ClientContext, Message, Statistics};
use tokio::sync::oneshot;

use crate::client::partition_id;
use crate::error_type::Failure;
use crate::semconv;

/// What travels with a record through librdkafka and comes back with its delivery report.
pub(crate) struct InFlight {
    /// There if the span is recorded.
    span: Option<BoxedSpan>,
    /// Whether the partition is among the span's attributes already.
    partition_is_known: bool,
    report: Option<oneshot::Sender<OwnedDeliveryResult>>,
}

impl InFlight {
    /// `partition` is the one that the caller chose, if any.
    pub(crate) fn new(
        span: Option<BoxedSpan>,
        partition: Option<i32>,
        report: oneshot::Sender<OwnedDeliveryResult>,
    ) -> Self {
        Self {
            span,
            partition_is_known: partition.is_some(),
            report: Some(report),
        }
    }

    /// Ends the span with what the broker said, then answers the sender if it still waits.
    fn settle(mut self, result: &DeliveryResult<'_>) {
        if let Some(mut span) = self.span.take() {
            let record = match result {
                Ok(record) => record,
                Err((error, record)) => {
                    set_failure(&mut span, Failure::error(error));
                    record
                }
            };
            self.set_position(&mut span, record);
            span.end();
        }
        if let Some(report) = self.report.take() {
            let result = match result {
                Ok(record) => Ok(Delivery {
                    partition: record.partition(),
                    offset: record.offset(),
                    timestamp: record.timestamp(),
                }),
                Err((error, record)) => Err((error.clone(), record.detach())),
            };
            // The sender may have stopped waiting; the record is sent all the same.
            drop(report.send(result));
        }
    }

    /// librdkafka writes a negative number for a partition that was never chosen, and for an offset
    /// that no broker gave, as with `acks=0`.
    fn set_position(&self, span: &mut BoxedSpan, record: &BorrowedMessage<'_>) {
        if !self.partition_is_known && record.partition() >= 0 {
            span.set_attribute(partition_id(record.partition()));
        }
        if record.offset() >= 0 {
            span.set_attribute(KeyValue::new(
                semconv::MESSAGING_KAFKA_OFFSET,
                record.offset(),
            ));
        }
    }

    /// Ends the span of a record that never reached the queue.
    pub(crate) fn fail(mut self, error: &KafkaError) {
        if let Some(mut span) = self.span.take() {
            set_failure(&mut span, Failure::error(error));
            span.end();
        }
    }
}

impl Drop for InFlight {
    /// Only a span without an outcome is left here: its future was dropped while it waited for
    /// room in the queue.
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            set_failure(&mut span, Failure::cancelled());
            span.end();
        }
    }
}

fn set_failure(span: &mut BoxedSpan, failure: Failure) {
    span.set_status(failure.status);
    span.set_attribute(failure.error_type);
    if let Some(exception) = failure.exception {
        span.add_event(semconv::EXCEPTION_EVENT, exception);
    }
}

/// Receives delivery reports, and passes everything else on to the application's context.
pub(crate) struct DeliveryContext<C>(pub(crate) C);

impl<C: ClientContext + 'static> ProducerContext for DeliveryContext<C> {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        in_flight.settle(result);
    }
}

impl<C: ClientContext> ClientContext for DeliveryContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.0.log(level, fac, log_message);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        oauthbearer_config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.generate_oauth_token(oauthbearer_config)
    }
}

#[cfg(test)]
mod tests;
