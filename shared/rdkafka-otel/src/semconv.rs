//! The attribute names of the OpenTelemetry messaging conventions, version 1.44, that this crate
//! writes, and the two names that the conventions do not have yet.
//!
//! Copied rather than imported: the published constants lag behind the conventions and hide the
//! messaging names behind an experimental feature. Nothing here decides when a name is written.

/// Names and meanings follow this version of the conventions.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

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
