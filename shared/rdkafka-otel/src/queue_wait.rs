//! How long a record waited: its timestamp, and which clock set it, against the start of processing.
//!
//! Milliseconds throughout, Kafka's own resolution; the start is cut to them first, so that the
//! wait plus the timestamp is the start that the span shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use rdkafka::Timestamp;

use crate::semconv;

/// How long a record waited between its timestamp and the start of its processing.
pub(crate) struct QueueWait {
    waited: Duration,
    is_skewed: bool,
    timestamp_type: &'static str,
}

impl QueueWait {
    pub(crate) const CREATE_TIME: &'static str = "CreateTime";
    pub(crate) const LOG_APPEND_TIME: &'static str = "LogAppendTime";

    /// `None` for a record without a timestamp.
    pub(crate) fn of(timestamp: Timestamp, now: SystemTime) -> Option<Self> {
        let millis = timestamp.to_millis()?;
        let timestamp_type = match timestamp {
            Timestamp::CreateTime(_) => Self::CREATE_TIME,
            Timestamp::LogAppendTime(_) => Self::LOG_APPEND_TIME,
            Timestamp::NotAvailable => return None,
        };
        // A clock before 1970 reads as 1970; the result is then a skew like any other.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let waited = now.saturating_sub(millis);
        Some(Self {
            waited: Duration::from_millis(u64::try_from(waited).unwrap_or(0)),
            is_skewed: waited < 0,
            timestamp_type,
        })
    }

    /// Zero if the clocks disagree.
    pub(crate) fn duration(&self) -> Duration {
        self.waited
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn is_skewed(&self) -> bool {
        self.is_skewed
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn is_since_append(&self) -> bool {
        self.timestamp_type == Self::LOG_APPEND_TIME
    }

    pub(crate) fn describe(&self, attributes: &mut Vec<KeyValue>) {
        let waited = i64::try_from(self.waited.as_millis()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new(semconv::KAFKA_RECORD_QUEUE_TIME_MS, waited));
        attributes.push(KeyValue::new(
            semconv::KAFKA_RECORD_TIMESTAMP_TYPE,
            self.timestamp_type,
        ));
        if self.is_skewed {
            attributes.push(KeyValue::new(semconv::KAFKA_RECORD_CLOCK_SKEW, true));
        }
    }
}
