//! `tail`: shows the records of a topic as they come, with their headers as they are and the
//! `traceparent` taken apart.
//!
//! Content is printed as data: what a terminal would act on is escaped.

use crate::broker;
use crate::topics;
use crate::trace_view::printable;
use anyhow::{Context, bail};
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, Timestamp, TopicPartitionList};
use rdkafka_otel::raw_headers;
use service::Environment;
use service::kafka::Security;
use std::pin::pin;
use std::time::Duration;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a payload or a header value that are shown.
const SHOWN: usize = 2_000;

#[derive(Debug, Args)]
pub(crate) struct TailArguments {
    /// Topic, such as orders, order-status or orders.dlq
    topic: String,
    /// Bootstrap servers; KAFKA_SECURITY_PROTOCOL and what belongs to it count as for the services
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Begin with the oldest record there is, instead of with the next one
    #[arg(long)]
    from_beginning: bool,
}

/// Runs until Ctrl-C.
pub(crate) async fn run(arguments: TailArguments) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &arguments.brokers)
        // Partitions are assigned by hand; a group id is only what the client insists on.
        .set("group.id", "throughline-tail")
        .set("enable.auto.commit", "false");
    for property in broker::CONSUMER_PROPERTIES.split(',') {
        if let Some((key, value)) = property.split_once('=') {
            config.set(key, value);
        }
    }
    let mut environment = Environment::of_process();
    let security = Security::configure(&mut environment);
    environment.finish(security)?.apply(&mut config);
    let or_else = "start the showcase with `cargo run`, or name another broker with --brokers";
    topics::reach(&config, &arguments.topic, or_else).await?;
    let partitions = partitions(config.clone(), &arguments).await?;
    let consumer: StreamConsumer = config.create()?;
    consumer.assign(&partitions)?;
    eprintln!(
        "{} partitions of {}; Ctrl-C ends",
        partitions.count(),
        arguments.topic
    );
    // One listener for all of it: between two of them a signal would be lost.
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            received = consumer.recv() => match received {
                Ok(record) => anstream::print!("{}", describe(&record)),
                Err(error) => eprintln!("{error}"),
            },
        }
    }
}

async fn partitions(
    config: ClientConfig,
    arguments: &TailArguments,
) -> anyhow::Result<TopicPartitionList> {
    let topic = arguments.topic.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create()?;
        client.fetch_metadata(Some(&topic), METADATA_TIMEOUT)
    });
    let metadata = asked
        .await?
        .with_context(|| format!("the broker does not tell of {}", arguments.topic))?;
    let start = if arguments.from_beginning {
        Offset::Beginning
    } else {
        Offset::End
    };
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics() {
        if let Some(error) = topic.error() {
            bail!("topic {}: {error:?}", arguments.topic);
        }
        for partition in topic.partitions() {
            list.add_partition_offset(topic.name(), partition.id(), start)?;
        }
    }
    Ok(list)
}

fn describe(record: &BorrowedMessage<'_>) -> String {
    let key = record.key().map_or_else(|| "none".to_owned(), shown);
    let timestamp = match record.timestamp() {
        Timestamp::NotAvailable => "none".to_owned(),
        Timestamp::CreateTime(millis) => format!("{millis} (CreateTime)"),
        Timestamp::LogAppendTime(millis) => format!("{millis} (LogAppendTime)"),
    };
    let mut text = format!(
        "\n{}[{}]@{}  key {key}  timestamp {timestamp}\n",
        record.topic(),
        record.partition(),
        record.offset()
    );
    if let Some(headers) = record.headers() {
        for (name, value) in raw_headers(headers) {
            let value_text = value.map_or_else(|| "null".to_owned(), shown);
            text.push_str(&format!("  {}: {value_text}\n", shown(name)));
            if name.eq_ignore_ascii_case(b"traceparent")
                && let Some(parts) = value.and_then(take_apart)
            {
                text.push_str(&format!("    {parts}\n"));
            }
        }
    }
    let payload = record.payload().map_or_else(|| "null".to_owned(), shown);
    text.push_str(&format!("  {payload}\n"));
    text
}

/// The fields of a W3C `traceparent` of version 00.
fn take_apart(value: &[u8]) -> Option<String> {
    let mut parts = std::str::from_utf8(value).ok()?.splitn(4, '-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sampled = u8::from_str_radix(flags.get(..2)?, 16).ok()? & 1 == 1;
    Some(printable(&format!(
        "version {version}  trace {trace}  span {span}  {}",
        if sampled { "sampled" } else { "not sampled" }
    )))
}

fn shown(bytes: &[u8]) -> String {
    let end = bytes.len().min(SHOWN);
    let text = printable(&String::from_utf8_lossy(&bytes[..end]));
    if bytes.len() > SHOWN {
        format!("{text} … ({} bytes)", bytes.len())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_taken_apart_and_anything_else_left_alone() {
        assert_eq!(
            take_apart(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").as_deref(),
            Some(
                "version 00  trace 0af7651916cd43dd8448eb211c80319c  span b7ad6b7169203331  sampled"
            )
        );
        for broken in [&b""[..], b"00-a-b", b"00-a-b-z", b"00-a-b-\xff", b"\xff"] {
            assert_eq!(take_apart(broken), None);
        }
    }

    #[test]
    fn content_is_shown_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[31mb"), "a\\u{1b}[31mb");
        assert_eq!(
            shown(&[b'x'; 3_000]),
            format!("{} … (3000 bytes)", "x".repeat(2_000))
        );
    }
}
