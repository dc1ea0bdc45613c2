//! The instruments of one Kafka client: the conventions' four, the queue wait, and what is counted
//! beside them. Only with the feature `metrics`; `no_metrics.rs` takes this file's place without.
//!
//! Recorded for every operation, whatever the sampler decided about its span. Labels are the
//! conventions' low-cardinality ones; no key, offset, partition or id is one of them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{InstrumentationScope, KeyValue, global};

use crate::propagation::Missing;
use crate::queue_wait::QueueWait;
use crate::semconv::{self, Operation};
use crate::topic::Topic;

/// The bucket boundaries that the conventions give for both of their durations, in seconds.
const OPERATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// A queue is there to wait in: from the milliseconds of a consumer that keeps up to the hours of
/// one that was away.
const WAIT_BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0, 14400.0, 86400.0,
];

/// When an operation began, if that is to be counted.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    fn seconds(self) -> f64 {
        self.0.map_or(0.0, |began| began.elapsed().as_secs_f64())
    }
}

pub(crate) struct Metrics {
    are_kept: bool,
    operation_duration: Histogram<f64>,
    process_duration: Histogram<f64>,
    sent: Counter<u64>,
    consumed: Counter<u64>,
    queue_time: Histogram<f64>,
    clock_skews: Counter<u64>,
    missing_contexts: Counter<u64>,
    consumer_group: Option<Arc<str>>,
    server: Option<(Arc<str>, u16)>,
}

impl Metrics {
    pub(crate) fn new(
        scope: &InstrumentationScope,
        consumer_group: Option<&Arc<str>>,
        server: Option<&(Arc<str>, u16)>,
    ) -> Self {
        let provider = global::meter_provider();
        let meter = provider.meter_with_scope(scope.clone());
        Self {
            // The API's own provider has no state, and keeps nothing.
            are_kept: size_of_val(&*provider) > 0,
            operation_duration: meter
                .f64_histogram("messaging.client.operation.duration")
                .with_unit("s")
                .with_description(
                    "Duration of messaging operation initiated by a producer or consumer client.",
                )
                .with_boundaries(OPERATION_BUCKETS.to_vec())
                .build(),
            process_duration: meter
                .f64_histogram("messaging.process.duration")
                .with_unit("s")
                .with_description("Duration of processing operation.")
                .with_boundaries(OPERATION_BUCKETS.to_vec())
                .build(),
            sent: meter
                .u64_counter("messaging.client.sent.messages")
                .with_unit("{message}")
                .with_description("Number of messages producer attempted to send to the broker.")
                .build(),
            consumed: meter
                .u64_counter("messaging.client.consumed.messages")
                .with_unit("{message}")
                .with_description("Number of messages that were delivered to the application.")
                .build(),
            queue_time: meter
                .f64_histogram("kafka.record.queue_time")
                .with_unit("s")
                .with_description(
                    "Time between a record's timestamp and the start of its processing.",
                )
                .with_boundaries(WAIT_BUCKETS.to_vec())
                .build(),
            clock_skews: meter
                .u64_counter("kafka.record.clock_skews")
                .with_unit("{record}")
                .with_description(
                    "Number of records whose timestamp lay after the start of their processing.",
                )
                .build(),
            missing_contexts: meter
                .u64_counter("kafka.record.missing_contexts")
                .with_unit("{record}")
                .with_description("Number of records that gave no trace context, by reason.")
                .build(),
            consumer_group: consumer_group.cloned(),
            server: server.cloned(),
        }
    }

    /// Whether anybody counts: clocks are not read, and labels not put together, for nobody.
    pub(crate) fn are_kept(&self) -> bool {
        self.are_kept
    }

    pub(crate) fn start(&self) -> Stopwatch {
        Stopwatch(self.are_kept.then(Instant::now))
    }

    /// The labels of everything that is counted of a topic.
    pub(crate) fn labels(&self, topic: &Arc<str>) -> Labels {
        let of = |operation: &'static str| self.common(operation, Some(topic));
        let timed = |operation: Operation| with(&of(operation.name), operation_type(operation));
        let waited = |kind: &'static str| {
            with(
                &of(Operation::PROCESS.name),
                KeyValue::new(semconv::KAFKA_RECORD_TIMESTAMP_TYPE, kind),
            )
        };
        Labels {
            send: of(Operation::SEND.name),
            send_timed: timed(Operation::SEND),
            poll: of(Operation::POLL.name),
            poll_timed: timed(Operation::POLL),
            process: of(Operation::PROCESS.name),
            created: waited(QueueWait::CREATE_TIME),
            appended: waited(QueueWait::LOG_APPEND_TIME),
        }
    }

    /// A poll or a commit has ended.
    pub(crate) fn operation(
        &self,
        operation: Operation,
        topic: Option<&Topic>,
        began: Stopwatch,
        error: Option<&Cow<'static, str>>,
    ) {
        if !self.are_kept {
            return;
        }
        let seconds = began.seconds();
        let histogram = &self.operation_duration;
        match topic {
            Some(topic) if operation.name == Operation::POLL.name => {
                said(&topic.labels.poll_timed, error, |labels| {
                    histogram.record(seconds, labels);
                });
            }
            topic => {
                let labels = self.common(operation.name, topic.map(|topic| &topic.name));
                let labels = with(&labels, operation_type(operation));
                said(&labels, error, |labels| histogram.record(seconds, labels));
            }
        }
    }

    /// A send has ended.
    pub(crate) fn sent(&self, topic: &Topic, began: Stopwatch, error: Option<&Cow<'static, str>>) {
        if !self.are_kept {
            return;
        }
        let seconds = began.seconds();
        said(&topic.labels.send, error, |labels| self.sent.add(1, labels));
        said(&topic.labels.send_timed, error, |labels| {
            self.operation_duration.record(seconds, labels);
        });
    }

    /// A record was handed to the application.
    pub(crate) fn consumed(&self, topic: &Topic) {
        self.consumed.add(1, &topic.labels.poll);
    }

    pub(crate) fn processed(
        &self,
        topic: &Topic,
        began: Stopwatch,
        error: Option<&Cow<'static, str>>,
    ) {
        if !self.are_kept {
            return;
        }
        let seconds = began.seconds();
        said(&topic.labels.process, error, |labels| {
            self.process_duration.record(seconds, labels);
        });
    }

    /// What a record says when its processing starts.
    pub(crate) fn arrived(
        &self,
        topic: &Topic,
        wait: Option<&QueueWait>,
        missing: Option<Missing>,
    ) {
        if let Some(wait) = wait {
            let labels = if wait.is_since_append() {
                &topic.labels.appended
            } else {
                &topic.labels.created
            };
            self.queue_time
                .record(wait.duration().as_secs_f64(), labels);
            if wait.is_skewed() {
                self.clock_skews.add(1, labels);
            }
        }
        if let Some(missing) = missing {
            let reason = KeyValue::new(
                semconv::KAFKA_RECORD_MISSING_CONTEXT_REASON,
                missing.as_str(),
            );
            self.missing_contexts
                .add(1, &with(&topic.labels.process, reason));
        }
    }

    fn common(&self, operation: &'static str, topic: Option<&Arc<str>>) -> Vec<KeyValue> {
        let mut labels = vec![
            KeyValue::new(semconv::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation),
        ];
        if let Some(topic) = topic {
            let name = semconv::MESSAGING_DESTINATION_NAME;
            labels.push(KeyValue::new(name, Arc::clone(topic)));
        }
        if let Some(group) = &self.consumer_group {
            let name = semconv::MESSAGING_CONSUMER_GROUP_NAME;
            labels.push(KeyValue::new(name, Arc::clone(group)));
        }
        if let Some((address, port)) = &self.server {
            labels.push(KeyValue::new(semconv::SERVER_ADDRESS, Arc::clone(address)));
            labels.push(KeyValue::new(semconv::SERVER_PORT, i64::from(*port)));
        }
        labels
    }
}

/// The labels of one topic: all that is counted of a record has one of these sets.
#[derive(Default)]
pub(crate) struct Labels {
    send: Vec<KeyValue>,
    send_timed: Vec<KeyValue>,
    poll: Vec<KeyValue>,
    poll_timed: Vec<KeyValue>,
    process: Vec<KeyValue>,
    /// Waited since the client's time, or since the broker's.
    created: Vec<KeyValue>,
    appended: Vec<KeyValue>,
}

fn operation_type(operation: Operation) -> KeyValue {
    KeyValue::new(semconv::MESSAGING_OPERATION_TYPE, operation.kind)
}

fn with(labels: &[KeyValue], label: KeyValue) -> Vec<KeyValue> {
    let mut labels = labels.to_vec();
    labels.push(label);
    labels
}

/// Counts with `labels`, and what failed with its class too.
fn said(labels: &[KeyValue], error: Option<&Cow<'static, str>>, count: impl FnOnce(&[KeyValue])) {
    match error {
        None => count(labels),
        Some(error) => count(&with(
            labels,
            KeyValue::new(semconv::ERROR_TYPE, error.clone()),
        )),
    }
}
