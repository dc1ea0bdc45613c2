//! `send` spans for people who keep rdkafka's own `FutureProducer`.
//!
//! Its delivery opaque is fixed, so the span cannot travel with the record: it stays with the
//! future, and with a task of its own if that future is dropped.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use opentelemetry::KeyValue;
use rdkafka::error::KafkaError;
use rdkafka::message::ToBytes;
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{BaseRecord, FutureProducer, FutureRecord};
use rdkafka::util::{AsyncRuntime, Timeout};
use rdkafka::{ClientContext, Message};
use tokio::runtime::Handle;

use crate::producer::{nothing, unsent};
use crate::send::{Outgoing, SendSpan, SendTracer, offer};

impl SendTracer {
    /// Sends a record by a `FutureProducer` and waits for the delivery report, with the same span
    /// as [`TracedProducer::send`](crate::TracedProducer::send). Takes the place of the producer's
    /// own `send`.
    ///
    /// The span ends when this future is woken with the report, and not in the report's callback:
    /// `FutureProducer` has no place for it there. Needs a Tokio runtime with its timer.
    ///
    /// # Errors
    ///
    /// What librdkafka reports, with the record as it would have been sent.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the record is queued, it is not sent, and the span ends with the `error.type`
    /// `cancelled`. Dropped after that, only the answer is lost: a task takes over the wait and
    /// ends the span.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use rdkafka::ClientConfig;
    /// use rdkafka::producer::{FutureProducer, FutureRecord};
    /// use rdkafka_otel::SendTracer;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = ClientConfig::new();
    /// config.set("bootstrap.servers", "localhost:9092");
    /// let producer: FutureProducer = config.create()?;
    /// let tracer = SendTracer::from_config(&config);
    ///
    /// let record = FutureRecord::to("orders").key("c-7").payload("{}");
    /// tracer
    ///     .send_traced(&producer, record, Duration::from_secs(5))
    ///     .await
    ///     .map_err(|(error, _record)| error)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_traced<C, R, K, P>(
        &self,
        producer: &FutureProducer<C, R>,
        record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
    ) -> OwnedDeliveryResult
    where
        C: ClientContext + 'static,
        R: AsyncRuntime,
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send_traced_with(producer, record, queue_timeout, [])
            .await
    }

    /// [`send_traced`](Self::send_traced) with attributes as in
    /// [`TracedProducer::send_with`](crate::TracedProducer::send_with).
    ///
    /// # Errors
    ///
    /// As [`send_traced`](Self::send_traced).
    ///
    /// # Cancel safety
    ///
    /// As [`send_traced`](Self::send_traced).
    pub async fn send_traced_with<C, R, K, P>(
        &self,
        producer: &FutureProducer<C, R>,
        mut record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> OwnedDeliveryResult
    where
        C: ClientContext + 'static,
        R: AsyncRuntime,
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let shown = Outgoing {
            topic: record.topic,
            partition: record.partition,
            key: record.key.map(ToBytes::to_bytes),
            is_tombstone: record.payload.is_none(),
        };
        let span = self.start(shown, &mut record.headers, attributes);
        let queued = offer(
            (record, span),
            queue_timeout.into(),
            |(_, span)| span,
            |(record, span)| match producer.send_result(record) {
                Ok(delivery) => Ok((delivery, span)),
                Err((error, record)) => Err((error, (record, span))),
            },
        )
        .await;
        match queued {
            Ok((delivery, span)) => {
                Reported {
                    delivery: Some(delivery),
                    span: Some(span),
                }
                .await
            }
            Err((error, (record, span))) => {
                span.refused(&error);
                let record = BaseRecord {
                    topic: record.topic,
                    partition: record.partition,
                    payload: record.payload,
                    key: record.key,
                    timestamp: record.timestamp,
                    headers: record.headers,
                    delivery_opaque: (),
                };
                Err((error, unsent(record)))
            }
        }
    }
}

/// A queued record whose span is still here.
struct Reported {
    delivery: Option<DeliveryFuture>,
    span: Option<SendSpan>,
}

impl Future for Reported {
    type Output = OwnedDeliveryResult;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let Some(delivery) = &mut self.delivery else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = Pin::new(delivery).poll(task) else {
            return Poll::Pending;
        };
        self.delivery = None;
        // The producer is borrowed by the caller, so every queued record is reported on.
        let result = result.unwrap_or_else(|_| Err((KafkaError::Canceled, nothing())));
        if let Some(span) = self.span.take() {
            end(span, &result);
        }
        Poll::Ready(result)
    }
}

impl Drop for Reported {
    /// The record is on its way, and its span ends when it has arrived, whoever still waits for it.
    fn drop(&mut self) {
        let (Some(delivery), Some(span)) = (self.delivery.take(), self.span.take()) else {
            return;
        };
        // Without a runtime, or with one that is shutting down, the span ends here, as cancelled.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(async move {
                if let Ok(result) = delivery.await {
                    end(span, &result);
                }
            }));
        }
    }
}

fn end(span: SendSpan, result: &OwnedDeliveryResult) {
    match result {
        Ok(delivery) => span.report(delivery.partition, delivery.offset, None),
        Err((error, record)) => span.report(record.partition(), record.offset(), Some(error)),
    }
}
