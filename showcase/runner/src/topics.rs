//! The runner's own dealings with a broker: whether it can be reached, and the topics on a real one.

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use service::kafka::{Connection, Security};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the broker may take to answer; more than a connection takes to say what is wrong.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes sure that `names` exist at `brokers`; a new one gets `partitions` partitions and the
/// broker's own replication factor. A broker that has them all is not asked to create any, so that
/// the right to do so is not needed.
///
/// # Errors
/// A message that says what to do if no broker answers, or that names the topic it refuses.
pub(crate) async fn create(
    brokers: &str,
    security: &Security,
    names: &[&str],
    partitions: i32,
) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    security.apply(&mut config);
    let topic = names.first().copied().unwrap_or_default();
    let or_else = "start one there, or leave --brokers out to use the embedded one";
    reach(&config, topic, or_else).await?;
    let existing = existing(config.clone()).await?;
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !existing.iter().any(|topic| topic == name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(-1)))
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT));
    let created = admin
        .create_topics(&topics, &options)
        .await
        .with_context(|| format!("the broker at {brokers} does not create topics"))?;
    for outcome in created {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => {
                bail!("the broker at {brokers} does not create topic {topic}: {error}")
            }
        }
    }
    Ok(())
}

/// Deletes `names` at `brokers`.
///
/// # Errors
/// If the broker does not answer, or refuses.
pub(crate) async fn delete(brokers: &str, names: &[&str]) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let deleted = admin
        .delete_topics(names, &options)
        .await
        .with_context(|| format!("the broker at {brokers} does not delete topics"))?;
    for outcome in deleted {
        if let Err((topic, error)) = outcome {
            bail!("the broker at {brokers} does not delete topic {topic}: {error}");
        }
    }
    Ok(())
}

/// Waits until the broker of `config` has let a client in.
///
/// # Errors
/// A message that says what is wrong, or what to do if none answers in time.
pub(crate) async fn reach(config: &ClientConfig, topic: &str, or_else: &str) -> anyhow::Result<()> {
    let forever = CancellationToken::new();
    let connected = Connection::open(config, topic)?.established(&forever);
    match tokio::time::timeout(TIMEOUT, connected).await {
        Ok(connected) => Ok(connected?),
        Err(_) => bail!(
            "no Kafka broker answers at {}; {or_else}",
            config.get("bootstrap.servers").unwrap_or_default()
        ),
    }
}

async fn existing(config: ClientConfig) -> anyhow::Result<Vec<String>> {
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create()?;
        client.fetch_metadata(None, TIMEOUT)
    });
    let metadata = asked
        .await?
        .context("the broker does not tell its topics")?;
    Ok(metadata
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .collect())
}
