//! The receiving side: a consumer, and the spans of what it does. `process.rs` has the one that
//! matters, around what the application does with a record.
//!
//! Receiving makes no span unless it is asked to; a record that was fetched ahead has not been
//! worked on. Pauses, rebalances and all else stay with rdkafka, under its own names.

use opentelemetry::Context;
use opentelemetry::trace::{Link, Span, SpanBuilder, SpanKind};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{
    CommitMode, Consumer, ConsumerContext, DefaultConsumerContext, StreamConsumer,
};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, TopicPartitionList};
use std::time::SystemTime;

use crate::carrier::RecordHeaders;
use crate::client::Record;
use crate::commit::CommitTracer;
use crate::error_type::{ErrorType, Failure};
use crate::metrics::Stopwatch;
use crate::parent::Parent;
use crate::process::{ProcessSpan, ProcessTracer};
use crate::semconv::Operation;

/// A Kafka consumer that traces what is done with its records.
///
/// A thin cover over rdkafka's [`StreamConsumer`], which [`consumer`](Self::consumer) gives out for
/// subscribing, committing and all else. Like the latter it needs a Tokio runtime to be made in.
///
/// The tracer comes from the global provider when the consumer is made, so install the SDK first.
///
/// ```no_run
/// use rdkafka::consumer::{CommitMode, Consumer};
/// use rdkafka::message::BorrowedMessage;
/// use rdkafka::{ClientConfig, Message};
/// use rdkafka_otel::{Parent, TracedConsumer};
///
/// async fn handle(record: &BorrowedMessage<'_>) -> Result<(), std::io::Error> {
///     println!("{:?}", record.payload());
///     Ok(())
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092").set("group.id", "worker");
/// let consumer = TracedConsumer::from_config(&config)?.with_parent(Parent::CreationContext);
/// consumer.consumer().subscribe(&["orders"])?;
///
/// loop {
///     let record = consumer.recv().await?;
///     if consumer.process(&record, || handle(&record)).await.is_ok() {
///         consumer.consumer().commit_message(&record, CommitMode::Async)?;
///     }
/// }
/// # }
/// ```
pub struct TracedConsumer<C: ConsumerContext + 'static = DefaultConsumerContext> {
    consumer: StreamConsumer<C>,
    tracer: ProcessTracer,
    has_poll_spans: bool,
}

impl TracedConsumer {
    /// A consumer with this configuration.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the configuration.
    pub fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        Self::from_config_and_context(config, DefaultConsumerContext)
    }
}

impl<C: ConsumerContext + 'static> TracedConsumer<C> {
    /// A consumer with this configuration, whose callbacks go to `context`.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the configuration.
    pub fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        Ok(Self {
            consumer: StreamConsumer::from_config_and_context(config, context)?,
            tracer: ProcessTracer::from_config(config).without_received(),
            has_poll_spans: false,
        })
    }

    /// Chooses where process spans belong. [`Parent::Auto`] unless this is called.
    #[must_use]
    pub fn with_parent(mut self, parent: Parent) -> Self {
        self.tracer = self.tracer.with_parent(parent);
        self
    }

    /// Lets [`recv`](Self::recv) make a span `poll {topic}` for each record that it returns.
    ///
    /// Each is a trace of its own that links the record's creation context: it tells how long the
    /// loop waited, which is no part of the record's story. A wait that is given up makes none.
    #[must_use]
    pub fn with_poll_spans(mut self) -> Self {
        self.has_poll_spans = true;
        self
    }

    /// Lets the commits of this consumer make spans; see [`CommitTracer`].
    #[must_use]
    pub fn with_commit_spans(mut self, commits: CommitTracer) -> Self {
        self.tracer = self.tracer.with_commits(commits);
        self
    }

    /// Waits for the next record.
    ///
    /// # Errors
    ///
    /// What [`StreamConsumer::recv`] reports; most errors pass, and the next call may succeed.
    ///
    /// # Cancel safety
    ///
    /// Safe: a record is either returned or left for the next call.
    pub async fn recv(&self) -> KafkaResult<BorrowedMessage<'_>> {
        let metrics = &self.tracer.client().metrics;
        let began = metrics.start();
        let started = self.has_poll_spans.then(opentelemetry::time::now);
        let received = self.consumer.recv().await;
        let is_told = metrics.are_kept() || self.has_poll_spans;
        // The end of a partition is told as an error, and is none.
        if is_told
            && !matches!(received, Err(KafkaError::PartitionEOF(_)))
            && !Context::current().is_telemetry_suppressed()
        {
            self.received(&received, began, started);
        }
        received
    }

    fn received(
        &self,
        received: &KafkaResult<BorrowedMessage<'_>>,
        began: Stopwatch,
        started: Option<SystemTime>,
    ) {
        let client = self.tracer.client();
        let record = received.as_ref().ok();
        let topic = record.map(|record| client.topic(record.topic()));
        let failure = received.as_ref().err().map(Failure::error);

        let class = failure.as_ref().map(|failure| &failure.class);
        let metrics = &client.metrics;
        metrics.operation(Operation::POLL, topic.as_deref(), began, class);
        if let Some(topic) = &topic {
            metrics.consumed(topic);
        }
        let Some(started) = started else {
            return;
        };
        let creation = record.and_then(|record| {
            let propagation = &client.propagation;
            propagation.creation_context(record.headers()).ok()
        });
        let builder = SpanBuilder::default()
            .with_kind(SpanKind::Client)
            .with_start_time(started)
            .with_links(creation.into_iter().map(Link::with_context).collect());
        let operation = Operation::POLL;
        let mut span = client.start(
            operation,
            topic.as_ref().map(|topic| &*topic.name),
            builder,
            &Context::new(),
            || {
                let record = match (record, &topic) {
                    (Some(record), Some(topic)) => Record::of(record, topic),
                    _ => Record::default(),
                };
                client.attributes(operation, &record)
            },
        );
        if let Some(failure) = failure {
            failure.set_on(&mut span);
        }
        span.end();
    }

    /// Runs `handler` inside a span `process {topic}` of kind CONSUMER, and ends the span with the
    /// handler's outcome.
    ///
    /// The handler's future runs with the span as the current one: API spans, `tracing` spans (with
    /// tracing-opentelemetry's layer) and sends inside it become its children, and attributes can
    /// be added through `Context::current().span()`. Its baggage is the record's and no other;
    /// other values of the surrounding context stay visible.
    ///
    /// The span ends when the future does, on every path:
    ///
    /// - `Ok`: no status is set.
    /// - `Err`: status Error, `error.type` from [`ErrorType`], an `exception` event.
    /// - a panic: the same with the `error.type` `panic`, and the panic goes on.
    /// - dropped halfway: status Error and the `error.type` `cancelled`.
    ///
    /// The current context is set only while the future is polled, so none is left behind.
    ///
    /// Besides the conventions' attributes the span has `kafka.record.timestamp_type` and
    /// `kafka.record.queue_time_ms`: the start of the span, in whole milliseconds, minus the
    /// record's timestamp. A timestamp that lies ahead counts as 0, with
    /// `kafka.record.clock_skew`; a record without a timestamp has none of the three.
    ///
    /// Under [`Context::with_telemetry_suppressed`] the handler runs and nothing else happens.
    ///
    /// # Errors
    ///
    /// The handler's.
    ///
    /// # Cancel safety
    ///
    /// As safe as the handler's future, which is dropped where it stands.
    pub async fn process<M, T, E, F, Fut>(&self, message: &M, handler: F) -> Result<T, E>
    where
        M: Message,
        M::Headers: RecordHeaders,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: ErrorType,
    {
        self.tracer.process(message, handler).await
    }

    /// Starts a `process` span to be ended by hand; see [`ProcessTracer::start`].
    pub fn start<M>(&self, message: &M) -> ProcessSpan
    where
        M: Message,
        M::Headers: RecordHeaders,
    {
        self.tracer.start(message)
    }

    /// Commits these offsets, with a span if there is a [`CommitTracer`].
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`].
    pub fn commit(&self, offsets: &TopicPartitionList, mode: CommitMode) -> KafkaResult<()> {
        let call = || self.consumer.commit(offsets, mode);
        match self.tracer.commits() {
            Some(commits) => commits.commit(Some(offsets), call),
            None => call(),
        }
    }

    /// Commits the offset of this record, and with it all before it in its partition; with a span
    /// if there is a [`CommitTracer`].
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit_message`].
    pub fn commit_message(
        &self,
        message: &BorrowedMessage<'_>,
        mode: CommitMode,
    ) -> KafkaResult<()> {
        let call = || self.consumer.commit_message(message, mode);
        let Some(commits) = self.tracer.commits() else {
            return call();
        };
        let mut offsets = TopicPartitionList::with_capacity(1);
        let next = rdkafka::Offset::Offset(message.offset().saturating_add(1));
        offsets.add_partition_offset(message.topic(), message.partition(), next)?;
        commits.commit(Some(&offsets), call)
    }

    /// Commits the offsets that were stored or are due, with a span if there is a [`CommitTracer`].
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit_consumer_state`].
    pub fn commit_consumer_state(&self, mode: CommitMode) -> KafkaResult<()> {
        let call = || self.consumer.commit_consumer_state(mode);
        match self.tracer.commits() {
            Some(commits) => commits.commit(None, call),
            None => call(),
        }
    }

    /// The consumer underneath.
    pub fn consumer(&self) -> &StreamConsumer<C> {
        &self.consumer
    }
}

impl FromClientConfig for TracedConsumer {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        TracedConsumer::from_config(config)
    }
}

impl<C: ConsumerContext + 'static> FromClientConfigAndContext<C> for TracedConsumer<C> {
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        TracedConsumer::from_config_and_context(config, context)
    }
}

#[cfg(test)]
mod tests;
