//! The `process` span: around what the application does with one record, on every way that this
//! can end.
//!
//! Needs no consumer of this crate: any record that rdkafka gives out will do. Which span becomes
//! the parent is decided in `parent.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{FutureExt, Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use rdkafka::{ClientConfig, Message};

use crate::carrier::RecordHeaders;
use crate::client::{Client, Record};
use crate::commit::CommitTracer;
use crate::error_type::{ErrorType, Failure, panic_message};
use crate::metrics::Stopwatch;
use crate::parent::{Parent, Placement};
use crate::propagation::{Missing, valid_span};
use crate::queue_wait::QueueWait;
use crate::semconv::{self, Operation};
use crate::topic::Topic;

/// Traces what is done with the records of a consumer of your own: rdkafka's `BaseConsumer`, a
/// `StreamConsumer` kept as it is, or records read by other means.
///
/// [`TracedConsumer`](crate::TracedConsumer) has one inside. Make one for each consumer, with the
/// same configuration, and keep it. The tracer and the propagator are those that are global now, so
/// install the SDK first.
///
/// ```no_run
/// use std::time::Duration;
/// use rdkafka::consumer::{BaseConsumer, Consumer};
/// use rdkafka::message::BorrowedMessage;
/// use rdkafka::{ClientConfig, Message};
/// use rdkafka_otel::ProcessTracer;
///
/// fn handle(record: &BorrowedMessage<'_>) -> Result<(), std::io::Error> {
///     println!("{:?}", record.payload());
///     Ok(())
/// }
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092").set("group.id", "worker");
/// let consumer: BaseConsumer = config.create()?;
/// let tracer = ProcessTracer::from_config(&config);
/// consumer.subscribe(&["orders"])?;
///
/// while let Some(record) = consumer.poll(Duration::from_secs(1)) {
///     let record = record?;
///     let span = tracer.start(&record);
///     let result = {
///         let _current = span.context().clone().attach();
///         handle(&record)
///     };
///     span.finish(result)?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct ProcessTracer {
    client: Arc<Client>,
    parent: Parent,
    commits: Option<CommitTracer>,
    /// Where nothing else is there to count what was received.
    counts_received: bool,
}

impl ProcessTracer {
    /// A tracer for the consumer that is made with this configuration.
    #[must_use]
    pub fn from_config(config: &ClientConfig) -> Self {
        Self {
            client: Arc::new(Client::from_config(config)),
            parent: Parent::default(),
            commits: None,
            counts_received: true,
        }
    }

    /// Chooses where process spans belong. [`Parent::Auto`] unless this is called.
    #[must_use]
    pub fn with_parent(mut self, parent: Parent) -> Self {
        self.parent = parent;
        self
    }

    /// Lets the spans of commits link the records that were processed.
    #[must_use]
    pub fn with_commits(mut self, commits: CommitTracer) -> Self {
        self.commits = Some(commits);
        self
    }

    pub(crate) fn commits(&self) -> Option<&CommitTracer> {
        self.commits.as_ref()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// For a consumer that counts what it receives.
    pub(crate) fn without_received(mut self) -> Self {
        self.counts_received = false;
        self
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
    /// `kafka.record.clock_skew`; a record without a timestamp has none of the three. If there was
    /// a header for the trace context and it could not be used, `kafka.record.missing_context.reason`
    /// says why: `malformed` or `too_long`, see [`Missing`](crate::Missing).
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
        let span = self.start(message);
        if span.is_suppressed() {
            return handler().await;
        }
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
            Ok(result) => span.finish(result),
            Err(panic) => {
                span.end(Some(&Failure::panic(&panic_message(&*panic))));
                resume_unwind(panic)
            }
        }
    }

    /// Starts a `process` span for a loop that cannot be an `async fn`, or whose work is spread over
    /// several places. Where it can be a handler, [`process`](Self::process) leaves less to get
    /// wrong.
    ///
    /// The span is not current until you make [`ProcessSpan::context`] so. It ends with
    /// [`ProcessSpan::finish`]; dropped before that it fails with the `error.type` `cancelled`, or
    /// `panic` if a panic is what drops it.
    pub fn start<M>(&self, message: &M) -> ProcessSpan
    where
        M: Message,
        M::Headers: RecordHeaders,
    {
        let ambient = Context::current();
        if ambient.is_telemetry_suppressed() {
            return ProcessSpan {
                cx: ambient,
                unfinished: None,
            };
        }
        let began = self.client.metrics.start();
        let started = opentelemetry::time::now();
        let wait = QueueWait::of(message.timestamp(), started);

        let base = without_span_and_baggage(&ambient);
        let extracted = self
            .client
            .propagation
            .extract_onto(&base, message.headers().map(RecordHeaders::as_borrowed));
        let (carried, creation) = (extracted.context, extracted.creation);
        let missing = creation.as_ref().err().copied();
        let creation = creation.ok();
        if let (Some(commits), Some(creation)) = (&self.commits, &creation) {
            commits.cover(
                message.topic(),
                message.partition(),
                message.offset(),
                creation,
            );
        }
        // An application may have made the record's context current by itself before it calls.
        let ambient_span = valid_span(&ambient).filter(|ambient| {
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
            Placement::UnderAmbient => &ambient,
            Placement::Root => &no_parent,
        };
        let unused_ambient = ambient_span.filter(|_| placement != Placement::UnderAmbient);
        let links = creation
            .into_iter()
            .chain(unused_ambient)
            .map(Link::with_context)
            .collect();

        let client = &self.client;
        let mut topic = client
            .metrics
            .are_kept()
            .then(|| client.topic(message.topic()));
        if let Some(topic) = &topic {
            if self.counts_received {
                client.metrics.consumed(topic);
            }
            client.metrics.arrived(topic, wait.as_ref(), missing);
        }
        let builder = SpanBuilder::default()
            .with_kind(SpanKind::Consumer)
            .with_start_time(started)
            .with_links(links);
        let operation = Operation::PROCESS;
        let span = client.start(operation, Some(message.topic()), builder, parent, || {
            let topic = topic.get_or_insert_with(|| client.topic(message.topic()));
            let mut attributes = client.attributes(operation, &Record::of(message, topic));
            if let Some(wait) = wait {
                wait.describe(&mut attributes);
            }
            // That there was none is the usual case behind a sender that is not traced.
            if let Some(missing) = missing.filter(|missing| *missing != Missing::Absent) {
                attributes.push(KeyValue::new(
                    semconv::KAFKA_RECORD_MISSING_CONTEXT_REASON,
                    missing.as_str(),
                ));
            }
            attributes
        });
        ProcessSpan {
            cx: carried.with_span(span),
            unfinished: Some(Unfinished {
                client: Arc::clone(client),
                topic,
                began,
            }),
        }
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

/// A `process` span that has begun. It ends exactly once: with a result, or as cancelled when it is
/// dropped.
#[must_use = "a span that is dropped at once has covered no work"]
pub struct ProcessSpan {
    cx: Context,
    unfinished: Option<Unfinished>,
}

/// What remains to be done; nothing where telemetry is suppressed.
struct Unfinished {
    client: Arc<Client>,
    topic: Option<Arc<Topic>>,
    began: Stopwatch,
}

impl ProcessSpan {
    /// The span with the record's baggage, to be current while the record is worked on: attached
    /// to the thread, or given to a future with
    /// [`with_context`](opentelemetry::trace::FutureExt::with_context).
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Ends the span with the result of the work, which is handed through.
    ///
    /// # Errors
    ///
    /// The error that `result` holds: it sets the span's status, its `error.type`, and an
    /// `exception` event.
    pub fn finish<T, E: ErrorType>(self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.end(None),
            Err(error) => self.end(Some(&Failure::error(error))),
        }
        result
    }

    fn is_suppressed(&self) -> bool {
        self.unfinished.is_none()
    }

    fn end(mut self, failure: Option<&Failure<'_>>) {
        self.settle(failure);
    }

    fn settle(&mut self, failure: Option<&Failure<'_>>) {
        let Some(unfinished) = self.unfinished.take() else {
            return;
        };
        if let Some(topic) = &unfinished.topic {
            let class = failure.map(|failure| &failure.class);
            let metrics = &unfinished.client.metrics;
            metrics.processed(topic, unfinished.began, class);
        }
        let span = self.cx.span();
        if !span.is_recording() {
            return;
        }
        if let Some(failure) = failure {
            let report = failure.report();
            span.set_status(report.status);
            span.set_attribute(report.error_type);
            if let Some(exception) = report.exception {
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
        if self.unfinished.is_none() {
            return;
        }
        if thread::panicking() {
            self.settle(Some(&Failure::panic(&"panicked")));
        } else {
            self.settle(Some(&Failure::cancelled()));
        }
    }
}
