//! The `commit` span: the settlement of the records before an offset.
//!
//! Commits nothing and stores no offset: it is told of commits, by the consumer that is asked to
//! make one and by the callback that hears of those nobody asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::{Link, Span, SpanBuilder, SpanContext, SpanKind};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::client::{Client, Record};
use crate::error_type::Failure;
use crate::metrics::{Metrics, Stopwatch};
use crate::semconv::Operation;

/// As many records are remembered for the next commit's links as a span of the SDK has links. The
/// newest: they are the ones whose traces are still being looked at.
const MOST_COVERED: usize = 128;

/// Makes a span `commit {topic}` for each commit of a consumer, and records its duration.
///
/// The span is a trace of its own. It links the creation contexts of the records that it settles,
/// as far as they were processed by the same consumer ([`TracedConsumer`](crate::TracedConsumer)
/// or [`ProcessTracer::with_commits`](crate::ProcessTracer::with_commits)); up to the 128 last ones.
/// Partition and `messaging.kafka.offset`, that of the last record settled, are there if the commit
/// is of one partition.
///
/// A commit that is made through [`TracedConsumer`](crate::TracedConsumer) has a span that ends when
/// the call returns: with the broker's answer for `CommitMode::Sync`, before it for
/// `CommitMode::Async`. rdkafka tells nobody how an asynchronous commit went. One of the
/// consumer's own state ([`TracedConsumer::commit_consumer_state`](crate::TracedConsumer)) does not
/// say what it settles, and links nothing.
///
/// The commits that librdkafka makes by itself (`enable.auto.commit`) are told to the consumer's
/// context. Let the tracer be that context, or call [`reported`](Self::reported) from the
/// `commit_callback` of yours, and they have spans too. Callbacks run while the consumer is polled.
///
/// ```no_run
/// use rdkafka::ClientConfig;
/// use rdkafka_otel::{CommitTracer, TracedConsumer};
///
/// # fn example() -> Result<(), rdkafka::error::KafkaError> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092").set("group.id", "worker");
/// let commits = CommitTracer::from_config(&config);
/// let consumer = TracedConsumer::from_config_and_context(&config, commits.clone())?
///     .with_commit_spans(commits);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CommitTracer {
    client: Arc<Client>,
    /// In the order that they were processed.
    covered: Arc<Mutex<VecDeque<Covered>>>,
}

/// A record that was processed and not committed yet.
struct Covered {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    creation: SpanContext,
}

#[derive(Clone, Copy)]
struct Began(Stopwatch, SystemTime);

impl Began {
    fn now(metrics: &Metrics) -> Self {
        Self(metrics.start(), opentelemetry::time::now())
    }
}

/// The offset that a partition is committed at: one behind the last record settled.
struct Position {
    topic: String,
    partition: i32,
    next: i64,
}

impl CommitTracer {
    /// A tracer for the consumer that is made with this configuration.
    #[must_use]
    pub fn from_config(config: &ClientConfig) -> Self {
        Self {
            client: Arc::new(Client::from_config(config)),
            covered: Arc::default(),
        }
    }

    /// To be called from `commit_callback` with what it is given, unless the tracer itself is the
    /// consumer's context.
    ///
    /// When librdkafka began to commit is not told, so the span has no length.
    pub fn reported(&self, result: &KafkaResult<()>, offsets: &TopicPartitionList) {
        if is_empty(result) || Context::current().is_telemetry_suppressed() {
            return;
        }
        self.settled(
            &positions(offsets),
            Began::now(&self.client.metrics),
            result,
        );
    }

    /// A record is about to be processed.
    pub(crate) fn cover(&self, topic: &str, partition: i32, offset: i64, creation: &SpanContext) {
        let mut all = self.covered();
        let topic = match all.back() {
            Some(last) if *last.topic == *topic => Arc::clone(&last.topic),
            _ => Arc::from(topic),
        };
        // A record that is tried again is still one.
        let is_same = |covered: &Covered| {
            (covered.partition, covered.offset) == (partition, offset) && covered.topic == topic
        };
        if all.iter().any(is_same) {
            return;
        }
        if all.len() == MOST_COVERED {
            all.pop_front();
        }
        all.push_back(Covered {
            topic,
            partition,
            offset,
            creation: creation.clone(),
        });
    }

    /// Makes the call that commits, with a span around it.
    pub(crate) fn commit(
        &self,
        offsets: Option<&TopicPartitionList>,
        call: impl FnOnce() -> KafkaResult<()>,
    ) -> KafkaResult<()> {
        let began = Began::now(&self.client.metrics);
        let result = call();
        if !is_empty(&result) && !Context::current().is_telemetry_suppressed() {
            let positions = offsets.map(positions).unwrap_or_default();
            self.settled(&positions, began, &result);
        }
        result
    }

    fn settled(&self, positions: &[Position], began: Began, result: &KafkaResult<()>) {
        let topic = only(positions.iter().map(|position| &position.topic));
        let topic = topic.map(|topic| self.client.topic(topic));
        let failure = result.as_ref().err().map(Failure::error);
        let class = failure.as_ref().map(|failure| &failure.class);
        let operation = Operation::COMMIT;
        let Began(stopwatch, started) = began;
        let metrics = &self.client.metrics;
        metrics.operation(operation, topic.as_deref(), stopwatch, class);

        let links = match failure {
            None => self.take_covered(positions),
            Some(_) => Vec::new(),
        };
        let builder = SpanBuilder::default()
            .with_kind(SpanKind::Client)
            .with_start_time(started)
            .with_links(links);
        let one = match positions {
            [one] => Some(one),
            _ => None,
        };
        let record = Record {
            topic: topic.as_deref(),
            partition: one.map(|one| one.partition),
            offset: one.map(|one| one.next - 1).filter(|last| *last >= 0),
            ..Record::default()
        };
        let no_parent = Context::new();
        let attributes = || self.client.attributes(operation, &record);
        let mut span = self.client.start(
            operation,
            topic.as_ref().map(|topic| &*topic.name),
            builder,
            &no_parent,
            attributes,
        );
        if let Some(failure) = failure {
            failure.set_on(&mut span);
        }
        span.end();
    }

    /// Takes out the records before these positions.
    fn take_covered(&self, positions: &[Position]) -> Vec<Link> {
        let mut links = Vec::new();
        self.covered().retain(|covered| {
            let is_settled = positions.iter().any(|position| {
                position.partition == covered.partition
                    && position.topic == *covered.topic
                    && covered.offset < position.next
            });
            if is_settled {
                links.push(Link::with_context(covered.creation.clone()));
            }
            !is_settled
        });
        links
    }

    fn covered(&self) -> MutexGuard<'_, VecDeque<Covered>> {
        // Nothing that is done under the lock leaves it half done.
        self.covered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn positions(offsets: &TopicPartitionList) -> Vec<Position> {
    offsets
        .elements()
        .iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some(Position {
                topic: element.topic().to_owned(),
                partition: element.partition(),
                next,
            }),
            _ => None,
        })
        .collect()
}

/// Whether there was nothing to commit, which is no failure and settles nothing.
fn is_empty(result: &KafkaResult<()>) -> bool {
    matches!(
        result,
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset))
    )
}

fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|next| next == first).then_some(first)
}

impl ClientContext for CommitTracer {}

impl ConsumerContext for CommitTracer {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.reported(&result, offsets);
    }
}
