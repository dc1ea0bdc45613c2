//! The `send` span of one record: started before the record is offered to librdkafka, ended by what
//! became of it.
//!
//! Every way to send goes through here: `producer.rs`, `delivery.rs` (contexts of one's own) and
//! `future_producer.rs`. Sends nothing itself.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, OwnedHeaders};
use rdkafka::util::Timeout;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Record, partition_id};
use crate::error_type::Failure;
use crate::metrics::Stopwatch;
use crate::semconv::{self, Operation};
use crate::topic::Topic;

/// The first pause before a record is offered to a full queue again; it doubles up to the second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Traces what a producer of your own sends: rdkafka's `FutureProducer`, kept as it is, through
/// [`send_traced`](Self::send_traced); any other through [`TracedContext`](crate::TracedContext).
///
/// Make one for each producer, with the same configuration, and keep it. The tracer and the
/// propagator are those that are global now, so install the SDK first. Cheap to clone.
#[derive(Clone)]
pub struct SendTracer {
    client: Arc<Client>,
}

impl SendTracer {
    /// A tracer for the producer that is made with this configuration.
    #[must_use]
    pub fn from_config(config: &ClientConfig) -> Self {
        // Services share one configuration between their clients; a sender is in no group.
        let mut config = config.clone();
        config.remove("group.id");
        Self {
            client: Arc::new(Client::from_config(&config)),
        }
    }

    /// Starts the span and puts its context into the headers.
    pub(crate) fn start(
        &self,
        record: Outgoing<'_>,
        headers: &mut Option<OwnedHeaders>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> SendSpan {
        let parent = Context::current();
        if parent.is_telemetry_suppressed() {
            return SendSpan(None);
        }
        let client = &self.client;
        let began = client.metrics.start();
        let mut topic = client
            .metrics
            .are_kept()
            .then(|| client.topic(record.topic));
        let builder = SpanBuilder::default().with_kind(SpanKind::Producer);
        let span = client.start(
            Operation::SEND,
            Some(record.topic),
            builder,
            &parent,
            || {
                let topic = topic.get_or_insert_with(|| client.topic(record.topic));
                let record = Record {
                    topic: Some(topic),
                    partition: record.partition,
                    offset: None,
                    key: record.key,
                    is_tombstone: record.is_tombstone,
                };
                let mut all = client.attributes(Operation::SEND, &record);
                all.extend(attributes);
                all
            },
        );

        let mut carried = headers.take().unwrap_or_default();
        client
            .propagation
            .inject_span(span.span_context(), &parent, &mut carried);
        *headers = (carried.count() > 0).then_some(carried);

        let span = span.is_recording().then_some(span);
        if span.is_none() && !client.metrics.are_kept() {
            return SendSpan(None);
        }
        SendSpan(Some(Unfinished {
            client: Arc::clone(client),
            span,
            topic,
            partition_is_known: record.partition.is_some(),
            began,
        }))
    }
}

/// The parts of a record to be sent that a span shows.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) is_tombstone: bool,
}

/// A send that has begun. Dropped without an outcome it counts as given up.
pub(crate) struct SendSpan(Option<Unfinished>);

struct Unfinished {
    client: Arc<Client>,
    /// There if the span is recorded.
    span: Option<BoxedSpan>,
    /// There if the span is recorded or its duration is.
    topic: Option<Arc<Topic>>,
    /// Whether the partition is among the span's attributes already.
    partition_is_known: bool,
    began: Stopwatch,
}

impl SendSpan {
    /// Ends the span with what the delivery report says. librdkafka writes a negative number for a
    /// partition that was never chosen, and for an offset that no broker gave, as with `acks=0`.
    pub(crate) fn report(mut self, partition: i32, offset: i64, error: Option<&KafkaError>) {
        let Some(mut unfinished) = self.0.take() else {
            return;
        };
        let failure = error.map(Failure::error);
        if let Some(span) = &mut unfinished.span {
            if let Some(failure) = &failure {
                failure.set_on(span);
            }
            if !unfinished.partition_is_known && partition >= 0 {
                span.set_attribute(partition_id(partition));
            }
            if offset >= 0 {
                span.set_attribute(KeyValue::new(semconv::MESSAGING_KAFKA_OFFSET, offset));
            }
        }
        unfinished.end(failure.as_ref());
    }

    /// Ends the span of a record that never reached the queue.
    pub(crate) fn refused(mut self, error: &KafkaError) {
        if let Some(unfinished) = self.0.take() {
            unfinished.fail(&Failure::error(error));
        }
    }

    /// Notes that the queue was full, for the `attempt`th time. Only the 1st, 2nd, 4th, 8th … are
    /// written, so that a long wait does not fill the span.
    fn queue_was_full(&mut self, attempt: u32) {
        let span = self
            .0
            .as_mut()
            .and_then(|unfinished| unfinished.span.as_mut());
        if let Some(span) = span.filter(|_| attempt.is_power_of_two()) {
            let attempt = KeyValue::new(semconv::KAFKA_QUEUE_ATTEMPT, i64::from(attempt));
            span.add_event(semconv::QUEUE_FULL_EVENT, vec![attempt]);
        }
    }
}

impl Drop for SendSpan {
    /// Only a span without an outcome is left here: its future was dropped while it waited for
    /// room in the queue.
    fn drop(&mut self) {
        if let Some(unfinished) = self.0.take() {
            unfinished.fail(&Failure::cancelled());
        }
    }
}

impl Unfinished {
    fn fail(mut self, failure: &Failure<'_>) {
        if let Some(span) = &mut self.span {
            failure.set_on(span);
        }
        self.end(Some(failure));
    }

    fn end(mut self, failure: Option<&Failure<'_>>) {
        if let Some(span) = &mut self.span {
            span.end();
        }
        if let Some(topic) = &self.topic {
            let class = failure.map(|failure| &failure.class);
            self.client.metrics.sent(topic, self.began, class);
        }
    }
}

/// Offers a record until librdkafka takes it, the queue has been full for `timeout`, or the record
/// is refused for another reason.
pub(crate) async fn offer<R, T>(
    mut record: R,
    timeout: Timeout,
    span: impl Fn(&mut R) -> &mut SendSpan,
    send: impl Fn(R) -> Result<T, (KafkaError, R)>,
) -> Result<T, (KafkaError, R)> {
    let started = Instant::now();
    let mut pause = SHORTEST_PAUSE;
    let mut attempt = 0;
    loop {
        let (error, refused) = match send(record) {
            Ok(queued) => return Ok(queued),
            Err(refusal) => refusal,
        };
        record = refused;
        let left = match timeout {
            Timeout::Never => LONGEST_PAUSE,
            Timeout::After(timeout) => timeout.saturating_sub(started.elapsed()),
        };
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err((error, record));
        }
        attempt += 1;
        span(&mut record).queue_was_full(attempt);
        if left.is_zero() {
            return Err((error, record));
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
