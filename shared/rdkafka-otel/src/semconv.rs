//! The attribute names of the OpenTelemetry messaging conventions, version 1.44, that this crate
//! writes, and the names that the conventions do not have yet.
//!
//! Copied rather than imported: the published constants lag behind the conventions and hide the
//! messaging names behind an experimental feature. Nothing here decides when a name is written.

/// Names and meanings follow this version of the conventions.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// What a client does to records, by the conventions' name and type.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
}

impl Operation {
    pub(crate) const SEND: Self = Self {
        name: "send",
        kind: "send",
    };
    pub(crate) const POLL: Self = Self {
        name: "poll",
        kind: "receive",
    };
    pub(crate) const PROCESS: Self = Self {
        name: "process",
        kind: "process",
    };
    pub(crate) const COMMIT: Self = Self {
        name: "commit",
        kind: "settle",
    };
}

pub(crate) const MESSAGING_SYSTEM: &str = "messaging.system";
pub(crate) const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
pub(crate) const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub(crate) const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
pub(crate) const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
pub(crate) const MESSAGING_CLIENT_ID: &str = "messaging.client.id";
pub(crate) const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
pub(crate) const MESSAGING_KAFKA_MESSAGE_KEY: &str = "messaging.kafka.message.key";
pub(crate) const MESSAGING_KAFKA_MESSAGE_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
pub(crate) const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const ERROR_TYPE: &str = "error.type";

pub(crate) const EXCEPTION_EVENT: &str = "exception";
pub(crate) const EXCEPTION_TYPE: &str = "exception.type";
pub(crate) const EXCEPTION_MESSAGE: &str = "exception.message";

/// Milliseconds between the record's timestamp and the start of its processing. Not in the
/// conventions; the Java instrumentation's name without its `experimental` marker.
pub(crate) const KAFKA_RECORD_QUEUE_TIME_MS: &str = "kafka.record.queue_time_ms";
/// Which clock the queue time counts from: `CreateTime` or `LogAppendTime`.
pub(crate) const KAFKA_RECORD_TIMESTAMP_TYPE: &str = "kafka.record.timestamp_type";
/// `true` when the record's timestamp lies after the start of its processing.
pub(crate) const KAFKA_RECORD_CLOCK_SKEW: &str = "kafka.record.clock_skew";

/// A `send` span's event: librdkafka's queue had no room for the record.
pub(crate) const QUEUE_FULL_EVENT: &str = "kafka.queue.full";
/// How often the record has been offered so far.
pub(crate) const KAFKA_QUEUE_ATTEMPT: &str = "kafka.queue.attempt";

/// Why a record gave no trace context. A label; on a span only where there was a header for it.
pub(crate) const KAFKA_RECORD_MISSING_CONTEXT_REASON: &str = "kafka.record.missing_context.reason";
