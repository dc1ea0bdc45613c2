//! Takes the records of a group's share one at a time: process, settle, commit.
//!
//! An offset is committed only when its record is settled: its effect is durable, or it lies in
//! the dead-letter topic. What cannot be settled now (the database or the broker is away) is tried
//! again in place, so no record behind it overtakes it. Concurrency by key can take this loop's
//! place without a change to the handlers.

use crate::kafka::Membership;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_otel::{ErrorType, TracedConsumer};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First pause before a record that could not be settled is tried again; doubles up to
/// [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// How often the same error is said while there are no records.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long the record in hand may still take once the service shuts down.
const GRACE: Duration = Duration::from_secs(10);

/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a record whose processing failed is done with all the same.
pub trait Settlement: ErrorType {
    /// `true` if the failure was dealt with (dead-lettered, or nothing more to do): its offset is
    /// committed. `false` if the record must be tried again.
    fn is_settled(&self) -> bool;
}

/// Runs until `shutdown` is cancelled, then finishes the record in hand, for up to 10 s, and leaves
/// the group, for up to 5 s. Each try of a record is one `process` span.
///
/// # Errors
/// A fatal error of the Kafka client; anything less is logged and waited out.
pub async fn run<E: Settlement>(
    consumer: TracedConsumer<Membership>,
    handle: impl AsyncFn(&BorrowedMessage<'_>) -> Result<(), E>,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    let outcome = take_records(&consumer, handle, shutdown).await;
    leave(consumer).await;
    outcome
}

async fn take_records<E: Settlement>(
    consumer: &TracedConsumer<Membership>,
    handle: impl AsyncFn(&BorrowedMessage<'_>) -> Result<(), E>,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    let mut errors = Errors::default();
    loop {
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            received = consumer.recv() => match received {
                Ok(record) => record,
                Err(error) => {
                    errors.wait_out(error, &shutdown).await?;
                    continue;
                }
            },
        };
        let grace = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let is_settled = tokio::select! {
            settled = settle(consumer, &record, &handle, &shutdown) => settled,
            () = grace => false,
        };
        if !is_settled {
            tracing::warn!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                "stopping before this record is settled; it will come again"
            );
            return Ok(());
        }
        settled(consumer, &record);
    }
}

/// Processes `record` until it is settled; `false` if the service shuts down first.
async fn settle<E: Settlement>(
    consumer: &TracedConsumer<Membership>,
    record: &BorrowedMessage<'_>,
    handle: &impl AsyncFn(&BorrowedMessage<'_>) -> Result<(), E>,
    shutdown: &CancellationToken,
) -> bool {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match consumer.process(record, || handle(record)).await {
            Ok(()) => return true,
            Err(error) if error.is_settled() => return true,
            Err(error) => {
                tracing::warn!(
                    topic = record.topic(),
                    partition = record.partition(),
                    offset = record.offset(),
                    "cannot settle this record yet ({error}); trying again in {backoff:?}"
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = shutdown.cancelled() => return false,
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Lets the record's offset be committed, which the client does every 250 ms.
fn settled(consumer: &TracedConsumer<Membership>, record: &BorrowedMessage<'_>) {
    if let Err(error) = consumer.consumer().store_offset_from_message(record) {
        // The partition may have moved on to another member, which then sees the record again.
        tracing::warn!(%error, "offset not committed");
    }
}

/// The last offsets may not be committed yet; going without that would have their records come again.
async fn leave(consumer: TracedConsumer<Membership>) {
    let (left, leaving) = oneshot::channel();
    // A thread of its own, because both steps block, and without a broker for as long as a session
    // may last. Should it not come to its end, it ends with the process.
    std::thread::spawn(move || {
        match consumer.consumer().commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::warn!(%error, "the last offsets may not be committed"),
        }
        drop(consumer);
        // Nobody may be waiting any more.
        let _ = left.send(());
    });
    if tokio::time::timeout(LEAVE_TIMEOUT, leaving).await.is_err() {
        tracing::warn!(
            "the broker does not answer; the last offsets may not be committed, \
             and their records come again"
        );
    }
}

/// The errors that come in the place of records.
///
/// librdkafka queues one for each partition and try, faster than they would be taken with a pause
/// for each: the records behind them would come hours late.
#[derive(Default)]
struct Errors {
    pause_ended: Option<Instant>,
    said: Option<(KafkaError, Instant)>,
}

impl Errors {
    async fn wait_out(
        &mut self,
        error: KafkaError,
        shutdown: &CancellationToken,
    ) -> Result<(), KafkaError> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(error);
        }
        if self.calls_for_a_pause(Instant::now()) {
            if self.is_news(&error, Instant::now()) {
                tracing::warn!(%error, "no record from the broker; trying on");
            }
            tokio::select! {
                () = tokio::time::sleep(FIRST_BACKOFF) => {}
                () = shutdown.cancelled() => {}
            }
            self.pause_ended = Some(Instant::now());
        }
        Ok(())
    }

    /// After a pause everything that is queued is taken at once, for as long as the pause was.
    fn calls_for_a_pause(&self, now: Instant) -> bool {
        self.pause_ended
            .is_none_or(|ended| now.duration_since(ended) >= FIRST_BACKOFF)
    }

    /// Whether `error` is another than the last one, or has not been said for a while.
    fn is_news(&mut self, error: &KafkaError, now: Instant) -> bool {
        let is_known = self
            .said
            .as_ref()
            .is_some_and(|(said, at)| said == error && now.duration_since(*at) < SAID_AGAIN_AFTER);
        if !is_known {
            self.said = Some((error.clone(), now));
        }
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::MessageConsumption(code)
    }

    #[test]
    fn an_error_is_said_when_it_is_new_and_now_and_then() {
        let missing = error(RDKafkaErrorCode::UnknownTopicOrPartition);
        let down = error(RDKafkaErrorCode::AllBrokersDown);
        let start = Instant::now();
        let mut errors = Errors::default();
        assert!(errors.is_news(&missing, start));
        assert!(!errors.is_news(&missing, start + SAID_AGAIN_AFTER / 2));
        assert!(errors.is_news(&missing, start + SAID_AGAIN_AFTER));
        assert!(errors.is_news(&down, start + SAID_AGAIN_AFTER));
        assert!(errors.is_news(&missing, start + SAID_AGAIN_AFTER));
    }

    #[tokio::test(start_paused = true)]
    async fn many_errors_cost_one_pause() {
        let shutdown = CancellationToken::new();
        let mut errors = Errors::default();
        let start = Instant::now();
        for _ in 0..1_000 {
            let missing = error(RDKafkaErrorCode::UnknownTopicOrPartition);
            errors.wait_out(missing, &shutdown).await.unwrap();
        }
        assert_eq!(start.elapsed(), FIRST_BACKOFF);
    }
}
