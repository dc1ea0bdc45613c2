//! The sending side: a producer whose `send` span covers a record from the call to the broker's
//! answer, and whose record carries that span's context.
//!
//! Built on rdkafka's [`ThreadedProducer`] and not on its `FutureProducer`, because only the former
//! lets a span travel with the record to the delivery report. Does not create topics, batch or
//! retry a failed delivery: that is librdkafka's, and its configuration's, business.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use rdkafka::client::{Client as KafkaClient, DefaultClientContext};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Headers, OwnedHeaders, OwnedMessage, ToBytes};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{BaseRecord, FutureRecord, Producer, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Record};
use crate::delivery::{DeliveryContext, InFlight};
use crate::propagation;

/// The first pause before a record is offered to a full queue again; it doubles up to the second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A Kafka producer that traces what it sends. Takes the place of rdkafka's `FutureProducer`: same
/// records, same [`send`](Self::send), same result.
///
/// A span `send {topic}` of kind PRODUCER starts with the call, as a child of the current
/// [`Context`]'s span, and ends when the delivery report arrives: with partition and offset, or
/// with the error. Its context replaces whatever trace context the record's headers held; all
/// other headers are kept as they are. Attributes follow the [messaging conventions for Kafka],
/// version 1.44. `server.address` and `server.port` are those of the bootstrap server if the
/// configuration names exactly one, and absent otherwise. A key is recorded if it is UTF-8 and at
/// most 1024 bytes long.
///
/// The tracer comes from the global provider when the producer is made, so install the SDK first.
/// Without an SDK no span is made, and a trace context that is current is still passed on in the
/// headers. Under [`Context::with_telemetry_suppressed`] records go out as they are.
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
    producer: ThreadedProducer<DeliveryContext<C>>,
    client: Arc<Client>,
}

impl<C: ClientContext + 'static> Clone for TracedProducer<C> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            client: Arc::clone(&self.client),
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
        Ok(Self {
            producer: ThreadedProducer::from_config_and_context(config, DeliveryContext(context))?,
            client: Arc::new(Client::from_config(config)),
        })
    }

    /// Sends a record and waits for the delivery report.
    ///
    /// While librdkafka's queue is full the record is offered again, for up to `queue_timeout`.
    /// From then on `delivery.timeout.ms` bounds the wait. Needs a Tokio runtime with its timer.
    ///
    /// # Errors
    ///
    /// What librdkafka reports, with the record as it would have been sent:
    /// [`RDKafkaErrorCode::QueueFull`] if the queue stayed full, otherwise the reason for which the
    /// record was not delivered.
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
        mut record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let queue_timeout = queue_timeout.into();
        let (report, reported) = oneshot::channel();
        let span = self.start(&mut record, attributes);
        let (topic, partition) = (record.topic, record.partition);
        let (key, payload, timestamp) = (record.key, record.payload, record.timestamp);

        let queued = self.enqueue(
            BaseRecord {
                topic,
                partition,
                payload,
                key,
                timestamp,
                headers: record.headers,
                delivery_opaque: Box::new(InFlight::new(span, partition, report)),
            },
            queue_timeout,
        );
        let (error, headers) = match queued.await {
            Ok(()) => match reported.await {
                Ok(result) => return result,
                // Every queued record is reported on while the client lives, and `self` keeps it.
                Err(_) => (KafkaError::Canceled, None),
            },
            Err((error, headers)) => (error, headers),
        };
        let unsent = OwnedMessage::new(
            payload.map(|payload| payload.to_bytes().to_vec()),
            key.map(|key| key.to_bytes().to_vec()),
            topic.to_owned(),
            timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime),
            partition.unwrap_or(-1),
            0,
            headers,
        );
        Err((error, unsent))
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

    /// Starts the span, puts its context into the headers, and hands it back if it is recorded.
    fn start<K, P>(
        &self,
        record: &mut FutureRecord<'_, K, P>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Option<BoxedSpan>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let parent = Context::current();
        if parent.is_telemetry_suppressed() {
            return None;
        }
        let builder =
            SpanBuilder::from_name(format!("send {}", record.topic)).with_kind(SpanKind::Producer);
        let span = self.client.start(builder, &parent, || {
            let mut all = self.client.record_attributes(
                "send",
                &Record {
                    topic: record.topic,
                    partition: record.partition,
                    offset: None,
                    key: record.key.map(ToBytes::to_bytes),
                    is_tombstone: record.payload.is_none(),
                },
            );
            all.extend(attributes);
            all
        });

        let cx = parent.with_remote_span_context(span.span_context().clone());
        let mut headers = record.headers.take().unwrap_or_default();
        propagation::inject(&cx, &mut headers);
        record.headers = (headers.count() > 0).then_some(headers);

        span.is_recording().then_some(span)
    }

    /// Puts a record into librdkafka's queue; if that fails for good, ends its span and hands back
    /// its headers.
    async fn enqueue<K, P>(
        &self,
        mut record: BaseRecord<'_, K, P, Box<InFlight>>,
        timeout: Timeout,
    ) -> Result<(), (KafkaError, Option<OwnedHeaders>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let started = Instant::now();
        let mut pause = SHORTEST_PAUSE;
        loop {
            let (error, refused) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            let left = match timeout {
                Timeout::Never => LONGEST_PAUSE,
                Timeout::After(timeout) => timeout.saturating_sub(started.elapsed()),
            };
            let is_full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            if !is_full || left.is_zero() {
                refused.delivery_opaque.fail(&error);
                return Err((error, refused.headers));
            }
            record = refused;
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
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
