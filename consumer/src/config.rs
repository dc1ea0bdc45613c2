//! What `order-processor` reads from its environment.

use rdkafka_otel::Parent;
use service::database::Database;
use service::environment::HttpUrl;
use service::kafka::KafkaSettings;
use service::{Environment, Secret};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// The broker and the topics.
    pub kafka: KafkaSettings,
    /// Group id.
    pub group: String,
    /// What becomes the parent of a `process` span.
    pub process_parent: Parent,
    /// The database.
    pub database_url: Secret,
    /// Where `payments` is.
    pub payments_url: String,
    /// Longest time one try of a payment may take.
    pub payments_timeout: Duration,
    /// How often a payment is tried before its order is dead-lettered.
    pub payment_attempts: NonZeroU32,
    /// Pause before the second try; each further one doubles it.
    pub payment_backoff: Duration,
}

impl Config {
    pub(crate) fn configure(environment: &mut Environment<'_>) -> Self {
        let kafka = KafkaSettings::configure(environment);
        Self {
            listen: environment.read(
                "LISTEN_ADDR",
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8003)),
                "where the health routes are served; port 0 takes a free one",
            ),
            group: kafka.group("order-processor"),
            kafka,
            process_parent: environment.read(
                "PROCESS_PARENT",
                Parent::CreationContext,
                "parent of process spans: creation-context, link, auto or by-age:30s",
            ),
            database_url: Database::configure(environment, "order-processor"),
            payments_url: environment
                .read(
                    "PAYMENTS_URL",
                    HttpUrl("http://127.0.0.1:8001".into()),
                    "where payments is",
                )
                .0,
            payments_timeout: environment.milliseconds(
                "PAYMENTS_TIMEOUT_MS",
                Duration::from_secs(10),
                "longest time one try of a payment may take",
            ),
            payment_attempts: environment.read(
                "PAYMENT_ATTEMPTS",
                const { NonZeroU32::new(3).unwrap() },
                "how often a payment is tried before its order is dead-lettered",
            ),
            payment_backoff: environment.milliseconds(
                "PAYMENT_BACKOFF_MS",
                Duration::from_millis(100),
                "pause before the second try of a payment; each further one doubles it",
            ),
        }
    }
}
