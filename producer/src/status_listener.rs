//! Hears on `order-status` what became of orders, and updates their rows: the second asynchronous
//! hop of an order's trace.

use crate::config::Config;
use crate::store::Store;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue, global};
use order_events::{OrderStatusChanged, ParseError};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka_otel::{ErrorType, TracedConsumer};
use service::kafka::Membership;
use service::record_loop::{self, Settlement};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// The listener, subscribed.
pub(crate) struct StatusListener {
    consumer: TracedConsumer<Membership>,
    hearing: Hearing,
}

/// What hearing a status event takes.
struct Hearing {
    store: Store,
    /// From the order's acceptance to its end, whatever the clocks of the services differ by.
    duration: Histogram<f64>,
}

/// Why a status event had no effect.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// Nobody can do anything with it: skipped, so that it does not stop the partition. It stays
    /// on the topic, and its process span is in error.
    #[error("the record is not a status event: {0}")]
    Unreadable(#[from] ParseError),
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

impl ErrorType for ListenError {
    fn error_type(&self) -> Cow<'static, str> {
        match self {
            Self::Unreadable(_) => "invalid_event".into(),
            Self::Database(_) => "database_unavailable".into(),
        }
    }
}

impl Settlement for ListenError {
    fn is_settled(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

impl StatusListener {
    pub(crate) fn new(config: &Config, store: Store, membership: Membership) -> KafkaResult<Self> {
        let settings = config.kafka.consumer("orders-api", &config.group);
        let consumer = TracedConsumer::from_config_and_context(&settings, membership)?
            .with_parent(config.process_parent);
        consumer
            .consumer()
            .subscribe(&[&config.kafka.topics.order_status])?;
        let duration = global::meter("orders-api")
            .f64_histogram("app.order.duration")
            .with_unit("s")
            .with_description("From the acceptance of an order to its final status")
            .with_boundaries(vec![
                0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
            ])
            .build();
        Ok(Self {
            consumer,
            hearing: Hearing { store, duration },
        })
    }

    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { consumer, hearing } = self;
        let handle = async |record: &BorrowedMessage<'_>| hearing.hear(record).await;
        record_loop::run(consumer, handle, shutdown).await?;
        Ok(())
    }
}

impl Hearing {
    async fn hear(&self, record: &BorrowedMessage<'_>) -> Result<(), ListenError> {
        let event = OrderStatusChanged::from_json(record.payload())?;
        let order_id = event.order_id.to_string();
        Context::current().span().set_attributes([
            KeyValue::new("app.order.id", order_id.clone()),
            KeyValue::new("messaging.message.conversation_id", order_id),
        ]);
        if self.store.change_status(&event).await? {
            self.duration.record(
                seconds_since(event.placed_at),
                &[KeyValue::new("app.order.status", event.status.as_str())],
            );
            tracing::info!(order_id = %event.order_id, status = %event.status, "order ended");
        }
        Ok(())
    }
}

/// Never below zero: the clock may have been set back since.
fn seconds_since(unix_millis: i64) -> f64 {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default());
    SystemTime::now()
        .duration_since(then)
        .unwrap_or_default()
        .as_secs_f64()
}
