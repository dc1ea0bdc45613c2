//! The sending side: a producer whose `send` span covers a record from the call to the broker's
//! answer, and whose record carries that span's context.
//!
//! Built on rdkafka's [`ThreadedProducer`] and not on its `FutureProducer`, because only the former
//! lets a span travel with the record to the delivery report. Does not create topics, batch or
//! retry a failed delivery: that is librdkafka's, and its configuration's, business.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use opentelemetry::KeyValue;
use rdkafka::client::{Client as KafkaClient, DefaultClientContext, OAuthToken};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, OwnedMessage, ToBytes};
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::producer::{BaseRecord, FutureRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext, Message, Statistics, Timestamp};
use tokio::sync::oneshot;

use crate::delivery::{self, TracedContext};
use crate::send::offer;

/// A Kafka producer that traces what it sends. Takes the place of rdkafka's `FutureProducer`: same
/// records, same [`send`](Self::send), same result.
///
/// A span `send {topic}` of kind PRODUCER starts with the call, as a child of the current
/// [`Context`](opentelemetry::Context)'s span, and ends when the delivery report arrives: with partition and offset, or
/// with the error. Its context replaces whatever trace context the record's headers held; all
/// other headers are kept as they are. Attributes follow the [messaging conventions for Kafka],
/// version 1.44. `server.address` and `server.port` are those of the bootstrap server if the
/// configuration names exactly one, and absent otherwise. A key is recorded if it is UTF-8 and at
/// most 1024 bytes long.
///
/// The tracer comes from the global provider when the producer is made, so install the SDK first.
/// Without an SDK no span is made, and a trace context that is current is still passed on in the
/// headers. Under
/// [`Context::with_telemetry_suppressed`](opentelemetry::Context::with_telemetry_suppressed) records go out as they are.
///
/// Cheap to clone; all clones share one client. Dropping the last one gives up on records that are
/// still queued (their spans end with `_PURGE_QUEUE`) and blocks, for well under a second: call
/// [`flush`](Self::flush) first.
///
/// ```no_run
/// use std::time::Duration;
/// use rdkafka::ClientConfig;
/// use rdkafka::producer::FutureRecord;
/// use rdkafka_otel::TracedProducer;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092");
/// let producer = TracedProducer::from_config(&config)?;
///
/// let record = FutureRecord::to("orders").key("c-7").payload("{}");
/// let delivery = producer
///     .send(record, Duration::from_secs(5))
///     .await
///     .map_err(|(error, _record)| error)?;
/// println!("partition {}, offset {}", delivery.partition, delivery.offset);
/// # Ok(())
/// # }
/// ```
///
/// [messaging conventions for Kafka]: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
#[must_use = "dropping the producer stops its polling thread"]
pub struct TracedProducer<C: ClientContext + 'static = DefaultClientContext> {
    producer: ThreadedProducer<TracedContext<Reports<C>>>,
}

impl<C: ClientContext + 'static> Clone for TracedProducer<C> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
        }
    }
}

impl TracedProducer {
    /// A producer with this configuration.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the configuration.
    pub fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        Self::from_config_and_context(config, DefaultClientContext)
    }
}

impl<C: ClientContext + 'static> TracedProducer<C> {
    /// A producer with this configuration, whose log lines, statistics, errors and token requests
    /// go to `context`.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the configuration.
    pub fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        let context = TracedContext::new(config, Reports(context));
        Ok(Self {
            producer: ThreadedProducer::from_config_and_context(config, context)?,
        })
    }

    /// Sends a record and waits for the delivery report.
    ///
    /// While librdkafka's queue is full the record is offered again, for up to `queue_timeout`; the
    /// span has an event `kafka.queue.full` for the 1st, 2nd, 4th, 8th … time that it was refused.
    /// From then on `delivery.timeout.ms` bounds the wait. Needs a Tokio runtime with its timer.
    ///
    /// # Errors
    ///
    /// What librdkafka reports, with the record as it would have been sent:
    /// [`QueueFull`](rdkafka::error::RDKafkaErrorCode::QueueFull) if the queue stayed full,
    /// otherwise the reason for which the record was not delivered.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the record is queued, it is not sent, and the span ends with the `error.type`
    /// `cancelled`. Dropped after that, only the answer is lost: the record is sent and the span
    /// ends with its delivery report.
    pub async fn send<K, P>(
        &self,
        record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send_with(record, queue_timeout, []).await
    }

    /// [`send`](Self::send) with attributes of the application's own on the span, such as an order
    /// id.
    ///
    /// They are taken only if the span may be recorded; below a parent that is not sampled the
    /// iterator is never asked. They are added as they are: the SDK does not remove duplicates, so
    /// leave the conventions' names to this crate.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_with<K, P>(
        &self,
        record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (record, delivery) = self.start(record, attributes);
        let queued = offer(
            record,
            queue_timeout.into(),
            |record| &mut record.delivery_opaque.span,
            |record| self.producer.send(record),
        )
        .await;
        match queued {
            Ok(()) => delivery.await,
            Err((error, record)) => {
                let unsent = unsent(delivery::refused(&error, record));
                Err((error, unsent))
            }
        }
    }

    /// Puts a record into librdkafka's queue without waiting for anything: no room in the queue is
    /// an error at once. Takes the place of `FutureProducer`'s `send_result`.
    ///
    /// What it gives is a future of the delivery report. It may be dropped: the record is sent and
    /// its span ends with the report all the same.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the record, with the record: the span ends with the error.
    ///
    /// ```no_run
    /// # use rdkafka::producer::FutureRecord;
    /// # fn example(producer: &rdkafka_otel::TracedProducer) {
    /// let record = FutureRecord::to("clicks").key("c-7").payload("{}");
    /// if let Err((error, record)) = producer.send_result(record) {
    ///     eprintln!("{} lost a record: {error}", record.topic);
    /// }
    /// # }
    /// ```
    pub fn send_result<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
    ) -> Result<DeliveryFuture, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send_result_with(record, [])
    }

    /// [`send_result`](Self::send_result) with attributes as in [`send_with`](Self::send_with).
    ///
    /// # Errors
    ///
    /// As [`send_result`](Self::send_result).
    pub fn send_result_with<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Result<DeliveryFuture, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (record, delivery) = self.start(record, attributes);
        match self.producer.send(record) {
            Ok(()) => Ok(delivery),
            Err((error, record)) => {
                let record = delivery::refused(&error, record);
                let record = FutureRecord {
                    topic: record.topic,
                    partition: record.partition,
                    payload: record.payload,
                    key: record.key,
                    timestamp: record.timestamp,
                    headers: record.headers,
                };
                Err((error, record))
            }
        }
    }

    /// Waits until every queued record is delivered or has failed. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`KafkaError::Flush`] if records are left after `timeout`.
    pub fn flush(&self, timeout: impl Into<Timeout>) -> KafkaResult<()> {
        self.producer.flush(timeout)
    }

    /// The Kafka client underneath, for metadata, watermarks and fatal errors.
    pub fn client(&self) -> &KafkaClient<impl ClientContext + use<C>> {
        self.producer.client()
    }

    fn start<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> (Queued<'a, K, P>, DeliveryFuture)
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (report, reported) = oneshot::channel();
        let record = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: record.timestamp,
            headers: record.headers,
            delivery_opaque: Box::new(report),
        };
        let record = self.producer.client().context().start(record, attributes);
        (record, DeliveryFuture(reported))
    }
}

type Report = Box<oneshot::Sender<OwnedDeliveryResult>>;

type Queued<'a, K, P> = BaseRecord<'a, K, P, Box<delivery::InFlight<Report>>>;

/// The delivery report of one record, once it is there.
#[must_use = "without the report nobody knows whether the record was delivered"]
pub struct DeliveryFuture(oneshot::Receiver<OwnedDeliveryResult>);

impl Future for DeliveryFuture {
    type Output = OwnedDeliveryResult;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(task).map(|report| {
            // Every queued record is reported on, at the latest when the last producer is dropped.
            report.unwrap_or_else(|_| Err((KafkaError::Canceled, nothing())))
        })
    }
}

/// Stands for a record that is not there to be given back.
pub(crate) fn nothing() -> OwnedMessage {
    let timestamp = Timestamp::NotAvailable;
    OwnedMessage::new(None, None, String::new(), timestamp, -1, 0, None)
}

/// A record that never reached the queue, as rdkafka's own `FutureProducer` gives it back.
pub(crate) fn unsent<K, P, O>(record: BaseRecord<'_, K, P, O>) -> OwnedMessage
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    O: rdkafka::util::IntoOpaque,
{
    OwnedMessage::new(
        record.payload.map(|payload| payload.to_bytes().to_vec()),
        record.key.map(|key| key.to_bytes().to_vec()),
        record.topic.to_owned(),
        record
            .timestamp
            .map_or(Timestamp::NotAvailable, Timestamp::CreateTime),
        record.partition.unwrap_or(-1),
        0,
        record.headers,
    )
}

/// Answers the sender with the delivery report, and passes everything else on to the application's
/// context.
struct Reports<C>(C);

impl<C: ClientContext + 'static> ProducerContext for Reports<C> {
    type DeliveryOpaque = Report;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Report) {
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

impl<C: ClientContext> ClientContext for Reports<C> {
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

impl FromClientConfig for TracedProducer {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        TracedProducer::from_config(config)
    }
}

impl<C: ClientContext + 'static> FromClientConfigAndContext<C> for TracedProducer<C> {
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        TracedProducer::from_config_and_context(config, context)
    }
}

#[cfg(test)]
mod tests;
