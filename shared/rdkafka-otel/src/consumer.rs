//! The receiving side: a consumer, and the `process` span around what the application does with a
//! record.
//!
//! Receiving makes no span; a record that was fetched ahead has not been worked on. Commits,
//! pauses and rebalances stay with rdkafka, under its own names. Which span becomes the parent is
//! decided in `parent.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{FutureExt, Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{ConsumerContext, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message};

use crate::carrier::RecordHeaders;
use crate::client::{Client, Record};
use crate::error_type::{ErrorType, Failure};
use crate::parent::{Parent, Placement};
use crate::queue_wait::QueueWait;
use crate::{propagation, semconv};

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
    client: Client,
    parent: Parent,
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
            client: Client::from_config(config),
            parent: Parent::default(),
        })
    }

    /// Chooses where process spans belong. [`Parent::Auto`] unless this is called.
    #[must_use]
    pub fn with_parent(mut self, parent: Parent) -> Self {
        self.parent = parent;
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
        self.consumer.recv().await
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
        let ambient = Context::current();
        if ambient.is_telemetry_suppressed() {
            return handler().await;
        }
        let span = ProcessSpan::new(self.start(message, &ambient));
        // The closure is called inside too: what it does before its first await is part of the work.
        let mut work = pin!(async move { handler().await }.with_context(span.cx.clone()));
        let outcome = std::future::poll_fn(|task| {
            // Nothing of the future is looked at after a panic, which goes on right away.
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(task))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        match outcome {
            Ok(Ok(value)) => {
                span.end(None);
                Ok(value)
            }
            Ok(Err(error)) => {
                span.end(Some(&|| Failure::error(&error)));
                Err(error)
            }
            Err(panic) => {
                span.end(Some(&|| Failure::panic(&*panic)));
                resume_unwind(panic)
            }
        }
    }

    /// The consumer underneath.
    pub fn consumer(&self) -> &StreamConsumer<C> {
        &self.consumer
    }

    /// Starts the span and gives the context that the handler runs in.
    fn start<M>(&self, message: &M, ambient: &Context) -> Context
    where
        M: Message,
        M::Headers: RecordHeaders,
    {
        let started = opentelemetry::time::now();
        let wait = QueueWait::of(message.timestamp(), started);

        let base = without_span_and_baggage(ambient);
        let carried =
            propagation::extract_onto(&base, message.headers().map(RecordHeaders::as_borrowed));
        let creation = valid_span(&carried);
        // An application may have made the record's context current by itself before it calls.
        let ambient_span = valid_span(ambient).filter(|ambient| {
            creation.as_ref().is_none_or(|creation| {
                (creation.trace_id(), creation.span_id()) != (ambient.trace_id(), ambient.span_id())
            })
        });

        let placement = self.parent.place(
            creation.as_ref(),
            ambient_span.as_ref(),
            wait.as_ref().map(QueueWait::duration),
        );
        // Not `base` for a root: to the SDK's parent-based sampler an invalid span is a parent that
        // was not sampled.
        let no_parent = Context::new();
        let parent = match placement {
            Placement::UnderCreation => &carried,
            Placement::UnderAmbient => ambient,
            Placement::Root => &no_parent,
        };
        let unused_ambient = ambient_span.filter(|_| placement != Placement::UnderAmbient);
        let links = creation
            .into_iter()
            .chain(unused_ambient)
            .map(Link::with_context)
            .collect();

        let builder = SpanBuilder::from_name(format!("process {}", message.topic()))
            .with_kind(SpanKind::Consumer)
            .with_start_time(started)
            .with_links(links);
        let span = self.client.start(builder, parent, || {
            let mut attributes = self.client.record_attributes(
                "process",
                &Record {
                    topic: message.topic(),
                    partition: Some(message.partition()),
                    offset: Some(message.offset()),
                    key: message.key(),
                    is_tombstone: message.payload().is_none(),
                },
            );
            if let Some(wait) = wait {
                wait.describe(&mut attributes);
            }
            attributes
        });
        carried.with_span(span)
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

/// The surrounding context as far as a record's processing may see it. Its span is judged apart,
/// and its baggage belongs to other work, possibly to another record.
fn without_span_and_baggage(cx: &Context) -> Context {
    let cx = if cx.has_active_span() {
        cx.with_remote_span_context(SpanContext::NONE)
    } else {
        cx.clone()
    };
    if cx.baggage().is_empty() {
        cx
    } else {
        cx.with_cleared_baggage()
    }
}

fn valid_span(cx: &Context) -> Option<SpanContext> {
    let span = cx.span();
    let span = span.span_context();
    span.is_valid().then(|| span.clone())
}

/// A process span that ends exactly once: with an outcome, or as cancelled when it is dropped.
struct ProcessSpan {
    cx: Context,
    has_ended: bool,
}

impl ProcessSpan {
    fn new(cx: Context) -> Self {
        Self {
            cx,
            has_ended: false,
        }
    }

    fn end(mut self, failure: Option<&dyn Fn() -> Failure>) {
        self.finish(failure);
    }

    fn finish(&mut self, failure: Option<&dyn Fn() -> Failure>) {
        self.has_ended = true;
        let span = self.cx.span();
        if !span.is_recording() {
            return;
        }
        if let Some(failure) = failure {
            let failure = failure();
            span.set_status(failure.status);
            span.set_attribute(failure.error_type);
            if let Some(exception) = failure.exception {
                span.add_event(semconv::EXCEPTION_EVENT, exception);
            }
        }
        // Ended here and not by the last clone of the context, which the handler may have handed
        // to a task that outlives it.
        span.end();
    }
}

impl Drop for ProcessSpan {
    fn drop(&mut self) {
        if !self.has_ended {
            self.finish(Some(&Failure::cancelled));
        }
    }
}

#[cfg(test)]
mod tests;
