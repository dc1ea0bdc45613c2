//! The instruments of one Kafka client: the conventions' four, the queue wait, and what is counted
//! beside them. Only with the feature `metrics`; `no_metrics.rs` takes this file's place without.
//!
//! Recorded for every operation, whatever the sampler decided about its span. Labels are the
//! conventions' low-cardinality ones; no key, offset, partition or id is one of them.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{InstrumentationScope, KeyValue, Value, global};

use crate::propagation::Missing;
use crate::queue_wait::QueueWait;
use crate::semconv::{self, Operation};

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

/// When an operation began.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

pub(crate) struct Metrics {
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
    /// Whether topics must be kept for labels.
    pub(crate) const ARE_KEPT: bool = true;

    pub(crate) fn new(
        scope: &InstrumentationScope,
        consumer_group: Option<&Arc<str>>,
        server: Option<&(Arc<str>, u16)>,
    ) -> Self {
        let meter = global::meter_provider().meter_with_scope(scope.clone());
        Self {
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

    /// A send, a poll or a commit has ended.
    pub(crate) fn operation(
        &self,
        operation: Operation,
        topic: Option<&Arc<str>>,
        began: Stopwatch,
        error: Option<&Cow<'static, str>>,
    ) {
        let mut labels = self.labels(operation.name, topic, error);
        self.ended(operation, began, &mut labels);
    }

    /// A send has ended.
    pub(crate) fn sent(
        &self,
        topic: &Arc<str>,
        began: Stopwatch,
        error: Option<&Cow<'static, str>>,
    ) {
        let mut labels = self.labels(Operation::SEND.name, Some(topic), error);
        self.sent.add(1, &labels);
        self.ended(Operation::SEND, began, &mut labels);
    }

    fn ended(&self, operation: Operation, began: Stopwatch, labels: &mut Labels) {
        labels.push(semconv::MESSAGING_OPERATION_TYPE, operation.kind);
        let seconds = began.0.elapsed().as_secs_f64();
        self.operation_duration.record(seconds, labels);
    }

    /// A record was handed to the application.
    pub(crate) fn consumed(&self, topic: &Arc<str>) {
        let labels = self.labels(Operation::POLL.name, Some(topic), None);
        self.consumed.add(1, &labels);
    }

    pub(crate) fn processed(
        &self,
        topic: &Arc<str>,
        began: Stopwatch,
        error: Option<&Cow<'static, str>>,
    ) {
        let labels = self.labels(Operation::PROCESS.name, Some(topic), error);
        let seconds = began.0.elapsed().as_secs_f64();
        self.process_duration.record(seconds, &labels);
    }

    /// What a record says when its processing starts.
    pub(crate) fn arrived(
        &self,
        topic: &Arc<str>,
        wait: Option<&QueueWait>,
        missing: Option<Missing>,
    ) {
        if let Some(wait) = wait {
            let mut labels = self.labels(Operation::PROCESS.name, Some(topic), None);
            labels.add(wait.timestamp_type());
            let seconds = wait.duration().as_secs_f64();
            self.queue_time.record(seconds, &labels);
            if wait.is_skewed() {
                self.clock_skews.add(1, &labels);
            }
        }
        if let Some(missing) = missing {
            let mut labels = self.labels(Operation::PROCESS.name, Some(topic), None);
            labels.push(
                semconv::KAFKA_RECORD_MISSING_CONTEXT_REASON,
                missing.as_str(),
            );
            self.missing_contexts.add(1, &labels);
        }
    }

    fn labels(
        &self,
        operation: &'static str,
        topic: Option<&Arc<str>>,
        error: Option<&Cow<'static, str>>,
    ) -> Labels {
        let mut labels = Labels::new();
        labels.push(semconv::MESSAGING_SYSTEM, "kafka");
        labels.push(semconv::MESSAGING_OPERATION_NAME, operation);
        if let Some(topic) = topic {
            labels.push(semconv::MESSAGING_DESTINATION_NAME, Arc::clone(topic));
        }
        if let Some(group) = &self.consumer_group {
            labels.push(semconv::MESSAGING_CONSUMER_GROUP_NAME, Arc::clone(group));
        }
        if let Some((address, port)) = &self.server {
            labels.push(semconv::SERVER_ADDRESS, Arc::clone(address));
            labels.push(semconv::SERVER_PORT, i64::from(*port));
        }
        if let Some(error) = error {
            labels.push(semconv::ERROR_TYPE, error.clone());
        }
        labels
    }
}

/// The most labels that one point of this crate has.
const MOST_LABELS: usize = 8;

/// Labels on the stack: they are put together for every record, and dropped as soon as it is counted.
struct Labels {
    all: [KeyValue; MOST_LABELS],
    count: usize,
}

impl Labels {
    fn new() -> Self {
        Self {
            all: std::array::from_fn(|_| KeyValue::new("", false)),
            count: 0,
        }
    }

    fn push(&mut self, key: &'static str, value: impl Into<Value>) {
        self.add(KeyValue::new(key, value));
    }

    fn add(&mut self, label: KeyValue) {
        self.all[self.count] = label;
        self.count += 1;
    }
}

impl Deref for Labels {
    type Target = [KeyValue];

    fn deref(&self) -> &[KeyValue] {
        &self.all[..self.count]
    }
}
