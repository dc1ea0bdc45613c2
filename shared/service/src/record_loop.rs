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
use tokio_util::sync::CancellationToken;

/// First pause before a record that could not be settled is tried again; doubles up to
/// [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// How long the record in hand may still take once the service shuts down.
const GRACE: Duration = Duration::from_secs(10);

/// Whether a record whose processing failed is done with all the same.
pub trait Settlement: ErrorType {
    /// `true` if the failure was dealt with (dead-lettered, or nothing more to do): its offset is
    /// committed. `false` if the record must be tried again.
    fn is_settled(&self) -> bool;
}

/// Runs until `shutdown` is cancelled, and then finishes the record in hand, for up to 10 s.
/// Each try of a record is one `process` span.
///
/// # Errors
/// A fatal error of the Kafka client; anything less is logged and waited out.
pub async fn run<E: Settlement>(
    consumer: &TracedConsumer<Membership>,
    handle: impl AsyncFn(&BorrowedMessage<'_>) -> Result<(), E>,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    loop {
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
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
            break;
        }
        commit(consumer, &record);
    }
    commit_and_wait(consumer).await;
    Ok(())
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

/// The last commits were asynchronous; leaving without waiting would have their records come again.
async fn commit_and_wait(consumer: &TracedConsumer<Membership>) {
    let outcome =
        tokio::task::block_in_place(|| consumer.consumer().commit_consumer_state(CommitMode::Sync));
    match outcome {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => tracing::warn!(%error, "the last offsets may not be committed"),
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
