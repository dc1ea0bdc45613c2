//! What happens to one order: recognised, paid, recorded, told.

use crate::dead_letter::DeadLetters;
use crate::payment::{PaymentClient, PaymentError};
use crate::status_publisher::StatusPublisher;
use crate::store::Store;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use order_events::{OrderPlaced, OrderStatus, ParseError};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka_otel::ErrorType;
use service::record_loop::Settlement;
use std::borrow::Cow;

/// Everything that processing an order needs.
pub(crate) struct Processor {
    pub store: Store,
    pub payments: PaymentClient,
    pub statuses: StatusPublisher,
    pub dead_letters: DeadLetters,
}

/// Why processing a record ended in error. The first two are dealt with when they are reported:
/// the record lies in the dead-letter topic. The others call for another try.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("the record is not an order: {0}")]
    Unreadable(ParseError),
    #[error("the order could not be paid: {0}")]
    Unpaid(PaymentError),
    #[error("the database does not answer: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the broker did not take a record: {0}")]
    Send(#[from] KafkaError),
}

impl ProcessError {
    /// The error types of what is dead-lettered.
    pub(crate) const DEAD_LETTERED: [&str; 4] = [
        INVALID_EVENT,
        PaymentError::Unavailable.error_type(),
        PaymentError::Timeout.error_type(),
        PaymentError::Refused.error_type(),
    ];
}

const INVALID_EVENT: &str = "invalid_event";

impl ErrorType for ProcessError {
    fn error_type(&self) -> Cow<'static, str> {
        match self {
            Self::Unreadable(_) => INVALID_EVENT.into(),
            Self::Unpaid(error) => error.error_type().into(),
            Self::Database(_) => "database_unavailable".into(),
            Self::Send(error) => error.error_type(),
        }
    }
}

impl Settlement for ProcessError {
    fn is_settled(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Unpaid(_))
    }
}

impl Processor {
    /// Processes one record. When this returns `Ok`, or an error that is settled, whatever the
    /// record calls for is durable; calling it again with the same record charges nothing, and
    /// tells the same outcome in an event with the same id.
    pub(crate) async fn process(&self, record: &BorrowedMessage<'_>) -> Result<(), ProcessError> {
        let order = match OrderPlaced::from_json(record.payload()) {
            Ok(order) => order,
            Err(error) => {
                let error = ProcessError::Unreadable(error);
                tracing::error!("{error}; it goes to the dead-letter topic");
                self.dead_letters.send(record, &error, &[]).await?;
                return Err(error);
            }
        };
        let identity = identity(&order);
        Context::current().span().set_attributes(identity.clone());

        if let Some(status) = self.store.status_of(order.event_id).await? {
            // The event came again: perhaps because the outcome was stored but never told.
            tracing::info!(order_id = %order.order_id, %status, "order was processed before");
            self.statuses.send(&order, status, &identity).await?;
            return Ok(());
        }
        let (status, failure) = match self.settle_payment(&order).await {
            Ok(status) => (status, None),
            Err(error) => (
                OrderStatus::PaymentFailed,
                Some(ProcessError::Unpaid(error)),
            ),
        };
        if let Some(failure) = &failure {
            self.dead_letters.send(record, failure, &identity).await?;
        }
        self.store.insert(&order, status).await?;
        self.statuses.send(&order, status, &identity).await?;
        failure.map_or(Ok(()), Err)
    }

    #[tracing::instrument(name = "settle payment", skip_all, fields(error.type))]
    async fn settle_payment(&self, order: &OrderPlaced) -> Result<OrderStatus, PaymentError> {
        let charged = self.payments.charge(order).await;
        match &charged {
            Ok(status) => tracing::info!(order_id = %order.order_id, %status, "payment settled"),
            Err(error) => {
                tracing::Span::current().record("error.type", error.error_type());
                tracing::error!(order_id = %order.order_id, "payment not settled: {error}");
            }
        }
        charged
    }
}

fn identity(order: &OrderPlaced) -> [KeyValue; 2] {
    let order_id = order.order_id.to_string();
    [
        KeyValue::new("app.order.id", order_id.clone()),
        KeyValue::new("messaging.message.conversation_id", order_id),
    ]
}
