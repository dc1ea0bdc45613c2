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
use tokio_util::sync::CancellationToken;

/// First pause before a record that could not be settled is tried again; doubles up to
/// [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
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
    loop {
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            received = consumer.recv() => match received {
                Ok(record) => record,
                Err(error) => {
                    wait_out(error, &shutdown).await?;
                    continue;
                }
            },
        };
        let grace = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let settled = tokio::select! {
            settled = settle(consumer, &record, &handle, &shutdown) => settled,
            () = grace => false,
        };
        if !settled {
            tracing::warn!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                "stopping before this record is settled; it will come again"
            );
            return Ok(());
        }
        commit(consumer, &record);
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

fn commit(consumer: &TracedConsumer<Membership>, record: &BorrowedMessage<'_>) {
    let committed = consumer
        .consumer()
        .store_offset_from_message(record)
        .and_then(|()| consumer.consumer().commit_consumer_state(CommitMode::Async));
    if let Err(error) = committed {
        // The partition may have moved on to another member, which then sees the record again.
        tracing::warn!(%error, "offset not committed");
    }
}

/// The commits so far were asynchronous; going without waiting would have their records come again.
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

async fn wait_out(error: KafkaError, shutdown: &CancellationToken) -> Result<(), KafkaError> {
    if let KafkaError::MessageConsumptionFatal(_) = error {
        return Err(error);
    }
    tracing::warn!(%error, "no record from the broker; trying on");
    tokio::select! {
        () = tokio::time::sleep(FIRST_BACKOFF) => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}
