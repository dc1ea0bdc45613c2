//! The broker of a bench: a fresh embedded one in a process of its own, or topics of its own on a
//! real one, which are deleted at the end.

use crate::broker;
use crate::child::{Child, Launch};
use crate::topics;
use anyhow::Context;
use service::kafka::Security;
use std::path::Path;

const NAME: &str = "broker";
/// What the embedded broker keeps of a partition, in bytes, with something to spare.
const PARTITION: u64 = 4_000_000;
/// A record of a hop on the wire, headers included.
const RECORD: u64 = 800;
const PARTITIONS: u64 = 12;

/// One topic, and where it is.
pub(crate) struct Cluster {
    brokers: String,
    topic: String,
    embedded: Option<Child>,
}

impl Cluster {
    /// A topic with room for `records`, on `brokers` or on an embedded broker.
    pub(crate) async fn start(
        brokers: Option<&str>,
        program: &Path,
        logs: &Path,
        records: u64,
    ) -> anyhow::Result<Self> {
        let topic = format!("throughline-bench-{}", uuid::Uuid::new_v4().simple());
        if let Some(brokers) = brokers {
            topics::create(brokers, &Security::default(), &[&topic], PARTITIONS as i32).await?;
            return Ok(Self {
                brokers: brokers.to_owned(),
                topic,
                embedded: None,
            });
        }
        let partitions = PARTITIONS.max(records * RECORD / PARTITION + 1);
        let child = Child::start(Launch {
            program: program.to_owned(),
            arguments: vec![
                "broker".into(),
                "--listen=127.0.0.1:0".into(),
                format!("--topic={topic}:{partitions}"),
            ],
            name: NAME.into(),
            environment: Vec::new(),
            announces: vec![NAME.into()],
            logs: logs.to_owned(),
        })
        .await?;
        let address = child.address(NAME).context("the broker has no address")?;
        Ok(Self {
            brokers: address.to_string(),
            topic,
            embedded: Some(child),
        })
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// What its consumers must set.
    pub(crate) fn consumer_properties(&self) -> &'static str {
        match self.embedded {
            Some(_) => broker::CONSUMER_PROPERTIES,
            None => "",
        }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.embedded {
            Some(child) => {
                child.stop().await?;
                Ok(())
            }
            None => topics::delete(&self.brokers, &[&self.topic]).await,
        }
    }
}
