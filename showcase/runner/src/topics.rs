//! Creates topics on a real broker, and deletes those of a bench.

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes sure that `names` exist at `brokers`; a new one gets `partitions` partitions and the
/// broker's own replication factor. A broker that has them all is not asked to create any, so that
/// the right to do so is not needed.
///
/// # Errors
/// A message that says what to do if no broker answers, or that names the topic it refuses.
pub(crate) async fn create(brokers: &str, names: &[&str], partitions: i32) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let existing = existing(config.clone(), brokers).await?;
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

async fn existing(config: ClientConfig, brokers: &str) -> anyhow::Result<Vec<String>> {
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create()?;
        client.fetch_metadata(None, TIMEOUT)
    });
    let metadata = asked.await?.with_context(|| {
        format!(
            "no Kafka broker answers at {brokers}; start one there, or leave --brokers out to use \
             the embedded one"
        )
    })?;
    Ok(metadata
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .collect())
}
