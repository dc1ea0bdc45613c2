//! Kafka client settings of the services: safe defaults, TLS and SASL (`security`), a first
//! connection that says what is wrong (`connection`), and a way to hand in librdkafka properties
//! that a particular broker needs.
//!
//! The defaults are right for Redpanda and Kafka. What the showcase's embedded broker needs comes
//! in from outside through the two `KAFKA_*_PROPERTIES` variables, and is never a default.

mod connection;
mod handshake;
mod protocol;
mod security;

pub use connection::{Connection, ConnectionError};
pub use security::{Security, VARIABLES as SECURITY_VARIABLES};

use crate::consumer_lag::ConsumerLag;
use crate::environment::Environment;
use order_events::Topics;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a consumer is told how far it is behind.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// How to reach the broker, and what the topics are called there.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// Bootstrap servers, `host:port[,host:port]`.
    pub brokers: String,
    /// The topics, prefix included.
    pub topics: Topics,
    /// How long a send may take, from enqueueing to the broker's acknowledgement.
    pub send_timeout: Duration,
    security: Security,
    prefix: String,
    consumer_properties: Properties,
    producer_properties: Properties,
}

impl KafkaSettings {
    /// Reads the settings.
    pub fn configure(environment: &mut Environment<'_>) -> Self {
        let brokers = environment.read(
            "KAFKA_BROKERS",
            String::from("127.0.0.1:9092"),
            "Kafka bootstrap servers, host:port[,host:port]",
        );
        let security = Security::configure(environment);
        let prefix = environment.read(
            "TOPIC_PREFIX",
            String::new(),
            "put before every topic name and group id, so that set-ups can share a broker",
        );
        let send_timeout = environment.milliseconds(
            "KAFKA_SEND_TIMEOUT_MS",
            Duration::from_secs(5),
            "longest time until the broker has acknowledged a record",
        );
        let consumer_properties = environment.read(
            "KAFKA_CONSUMER_PROPERTIES",
            Properties::default(),
            "further librdkafka properties for consumers, key=value[,key=value]",
        );
        let producer_properties = environment.read(
            "KAFKA_PRODUCER_PROPERTIES",
            Properties::default(),
            "further librdkafka properties for producers, key=value[,key=value]",
        );
        Self {
            brokers,
            topics: Topics::with_prefix(&prefix),
            prefix,
            security,
            send_timeout,
            consumer_properties,
            producer_properties,
        }
    }

    /// The group id for `name`, with the same prefix as the topics: a group that spans two set-ups
    /// would rebalance with each of them.
    pub fn group(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// For `client.id` `client`: an idempotent producer that waits for all replicas, so that an acknowledged record is one
    /// that was not lost and not doubled by a retry.
    pub fn producer(&self, client: &str) -> ClientConfig {
        let mut config = self.client(client);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Whoever sends here waits for the broker's answer before going on, so that little would
            // gather in librdkafka's five milliseconds but time.
            .set("linger.ms", "0")
            .set(
                "message.timeout.ms",
                self.send_timeout.as_millis().to_string(),
            )
            // Shorter than the send, or a topic that does not exist is reported as a timeout.
            .set(
                "topic.metadata.propagation.max.ms",
                (self.send_timeout / 2).as_millis().to_string(),
            );
        self.producer_properties.apply(&mut config);
        config
    }

    /// For `client.id` `client`: a consumer of `group` that commits what is settled and starts at the earliest record.
    pub fn consumer(&self, client: &str, group: &str) -> ClientConfig {
        let mut config = self.client(client);
        config
            .set("group.id", group)
            // Commits what the record loop has stored as settled, and nothing else. One commit for each
            // record costs the broker as much as the record does.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "250")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
        self.consumer_properties.apply(&mut config);
        config
    }

    /// The first connection of `client`, which tells whether these settings can work at all.
    ///
    /// # Errors
    /// Settings that librdkafka refuses.
    pub fn connection(&self, client: &str) -> Result<Connection, ConnectionError> {
        let mut config = self.client(client);
        self.consumer_properties.apply(&mut config);
        Connection::open(&config, &self.topics.orders)
    }

    fn client(&self, client: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client);
        self.security.apply(&mut config);
        config
    }
}

/// librdkafka properties as `key=value[,key=value]`.
#[derive(Clone, Default, PartialEq, Eq)]
struct Properties(Vec<(String, String)>);

impl Properties {
    fn apply(&self, config: &mut ClientConfig) {
        for (key, value) in &self.0 {
            config.set(key, value);
        }
    }
}

/// The names only: a value may be a password.
impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        formatter.write_str(&pairs.join(","))
    }
}

impl FromStr for Properties {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .enumerate()
            .map(|(index, pair)| match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    Ok((key.trim().to_owned(), value.trim().to_owned()))
                }
                // The text is not quoted: a property may be a password.
                _ => Err(format!("entry {} is not key=value", index + 1)),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The consumer context of the services: knows whether the group has taken this member in, and tells
/// how far it is behind.
#[derive(Clone)]
pub struct Membership {
    joined: Arc<AtomicBool>,
    lag: ConsumerLag,
}

impl Membership {
    /// For a member of `group`. Call it after telemetry is set up.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            joined: Arc::default(),
            lag: ConsumerLag::new(group.into()),
        }
    }

    /// Whether the member has been given its partitions (none counts too: a group may have more
    /// members than partitions).
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }
}

impl ClientContext for Membership {
    /// The record loop receives the same error, and says it.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports");
    }

    fn stats(&self, statistics: Statistics) {
        self.lag.record(&statistics);
    }
}

impl ConsumerContext for Membership {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.joined.store(true, Ordering::Relaxed);
                tracing::info!(
                    partitions = partitions.count() as i64,
                    "partitions assigned"
                );
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(partitions = partitions.count() as i64, "partitions revoked");
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<KafkaSettings, String> {
        let mut environment = Environment::from_fn(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let settings = KafkaSettings::configure(&mut environment);
        environment
            .finish(settings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn properties_from_outside_win() {
        let settings = settings(&[
            (
                "KAFKA_CONSUMER_PROPERTIES",
                "fetch.wait.max.ms=10, session.timeout.ms = 6000",
            ),
            ("KAFKA_PRODUCER_PROPERTIES", "acks=1"),
            ("TOPIC_PREFIX", "t1-"),
        ])
        .unwrap();
        let consumer = settings.consumer("c", "g");
        assert_eq!(consumer.get("fetch.wait.max.ms"), Some("10"));
        assert_eq!(consumer.get("session.timeout.ms"), Some("6000"));
        assert_eq!(consumer.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(settings.producer("p").get("acks"), Some("1"));
        assert_eq!(settings.topics.orders_dlq, "t1-orders.dlq");
    }

    #[test]
    fn a_broken_property_is_reported_without_its_text() {
        let error = settings(&[("KAFKA_PRODUCER_PROPERTIES", "a=b,hunter2")]).unwrap_err();
        assert!(error.contains("KAFKA_PRODUCER_PROPERTIES: entry 2 is not key=value"));
        assert!(!error.contains("hunter2"));
    }
}
