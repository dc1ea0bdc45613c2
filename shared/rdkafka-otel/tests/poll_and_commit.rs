//! The opt-in spans beside a record's story: `poll` and `commit`, each a trace of its own that
//! links what it covers.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::io;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{FutureExt, SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::FutureRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use rdkafka_otel::{CommitTracer, ProcessTracer, TracedConsumer, TracedProducer};
use stage::{
    Broker, WAIT, events, eventually, exception, linked, receive, sdk, server_attributes,
    start_and_drop,
};

/// Sends so many records and gives the contexts that they carry, and the time of the first.
async fn send(broker: &Broker, topic: &str, count: usize) -> Vec<SpanContext> {
    sdk();
    let producer = TracedProducer::from_config(&broker.config()).unwrap();
    for _ in 0..count {
        let record: FutureRecord<'_, str, str> = FutureRecord::to(topic);
        producer.send(record.key("k"), WAIT).await.unwrap();
    }
    let spans = sdk().ended(&format!("send {topic}"));
    let context = |span: SpanData| {
        let span = span.span_context;
        SpanContext::new(
            span.trace_id(),
            span.span_id(),
            span.trace_flags(),
            true,
            span.trace_state().clone(),
        )
    };
    spans.into_iter().map(context).collect()
}

async fn done() -> Result<(), io::Error> {
    Ok(())
}

fn assert_apart(span: &SpanData) {
    assert_eq!(span.span_kind, SpanKind::Client);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
}

#[tokio::test]
async fn a_poll_links_its_record_and_covers_the_wait() {
    let broker = Broker::any();
    let topic = broker.topic("polled", 1).await;
    let consumer = broker.consumer(&topic).with_poll_spans();
    let name = format!("poll {topic}");
    // A wait that is given up, and one that is rewarded.
    start_and_drop(consumer.recv());
    let asked = SystemTime::now();
    let (record, sent) = tokio::join!(receive(&consumer), send(&broker, &topic, 1));
    assert!(record.headers().is_some());

    let span = sdk().only(&name);
    assert_apart(&span);
    assert_eq!(linked(&span), sent);
    assert_eq!(span.status, Status::Unset);
    assert!(span.start_time.duration_since(asked).is_ok());
    let send = sdk().only(&format!("send {topic}"));
    assert!(span.start_time <= send.start_time && span.end_time >= send.start_time);
    let mut expected = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "poll"),
        KeyValue::new("messaging.operation.type", "receive"),
        KeyValue::new("messaging.destination.name", topic.clone()),
        KeyValue::new("messaging.destination.partition.id", "0"),
        KeyValue::new("messaging.kafka.offset", 0_i64),
        KeyValue::new("messaging.consumer.group.name", "tests"),
        KeyValue::new("messaging.client.id", "tests"),
        KeyValue::new("messaging.kafka.message.key", "k"),
        KeyValue::new("messaging.kafka.message.tombstone", true),
    ];
    expected.extend(server_attributes(&broker.servers));
    assert_eq!(span.attributes, expected);
}

#[tokio::test]
async fn a_poll_is_apart_from_what_is_around_it_and_off_by_default() {
    let broker = Broker::any();
    let topic = broker.topic("polled-inside", 1).await;
    send(&broker, &topic, 3).await;
    let name = format!("poll {topic}");

    let quiet = broker.consumer(&topic);
    receive(&quiet).await;
    assert_eq!(sdk().ended(&name).len(), 0);

    let consumer = broker.consumer(&topic).with_poll_spans();
    let ambient = stage::under(&stage::remote(1, opentelemetry::trace::TraceFlags::SAMPLED));
    receive(&consumer)
        .with_context(ambient.with_telemetry_suppressed())
        .await;
    assert_eq!(sdk().ended(&name).len(), 0);
    receive(&consumer).with_context(ambient).await;
    assert_apart(&sdk().only(&name));
}

#[tokio::test]
async fn a_poll_that_fails() {
    let broker = Broker::any();
    let topic = broker.topic("poll-fails", 1).await;
    sdk();
    let mut config = broker.group_config("polls-fail");
    config.set("auto.offset.reset", "error");
    let consumer = TracedConsumer::from_config(&config)
        .unwrap()
        .with_poll_spans();
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&topic, 0, Offset::Offset(1_000))
        .unwrap();
    consumer.consumer().assign(&assignment).unwrap();
    let error = tokio::time::timeout(WAIT, consumer.recv()).await.unwrap();
    let error = error.err().unwrap();

    let failed = |span: &&SpanData| {
        span.attributes.contains(&KeyValue::new(
            "messaging.consumer.group.name",
            "polls-fail",
        ))
    };
    let spans = sdk().ended("poll");
    let span = spans.iter().find(failed).unwrap();
    assert_apart(span);
    assert_eq!(span.status, Status::error(error.to_string()));
    let mut expected = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "poll"),
        KeyValue::new("messaging.operation.type", "receive"),
        KeyValue::new("messaging.consumer.group.name", "polls-fail"),
        KeyValue::new("messaging.client.id", "tests"),
    ];
    expected.extend(server_attributes(&broker.servers));
    expected.push(KeyValue::new("error.type", "_AUTO_OFFSET_RESET"));
    assert_eq!(span.attributes, expected);
}

/// The attributes of a commit of one partition.
fn commit_attributes(topic: &str, group: &str, last: i64, servers: &str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "commit"),
        KeyValue::new("messaging.operation.type", "settle"),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("messaging.destination.partition.id", "0"),
        KeyValue::new("messaging.kafka.offset", last),
        KeyValue::new("messaging.consumer.group.name", group.to_owned()),
        KeyValue::new("messaging.client.id", "tests"),
    ];
    attributes.extend(server_attributes(servers));
    attributes
}

fn commit_tracer(broker: &Broker, group: &str) -> CommitTracer {
    sdk();
    CommitTracer::from_config(&broker.group_config(group))
}

#[tokio::test]
async fn a_commit_links_the_records_that_it_settles() {
    let broker = Broker::any();
    let topic = broker.topic("committed", 1).await;
    let sent = send(&broker, &topic, 4).await;
    let consumer = broker
        .consumer(&topic)
        .with_commit_spans(commit_tracer(&broker, "tests"));
    let name = format!("commit {topic}");

    let mut records = Vec::new();
    for _ in 0..3 {
        let record = receive(&consumer).await;
        consumer.process(&record, done).await.unwrap();
        records.push(record);
    }
    // Tried again: still one record.
    consumer.process(&records[0], done).await.unwrap();
    // Inside a record's processing, where commits are often made.
    consumer
        .process(&records[1], || async {
            consumer.commit_message(&records[1], CommitMode::Sync)
        })
        .await
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(&topic, 0, Offset::Offset(3))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();

    let spans = sdk().ended(&name);
    assert_eq!(spans.len(), 2);
    for (span, (last, links)) in spans.iter().zip([(1, &sent[..2]), (2, &sent[2..3])]) {
        assert_apart(span);
        assert_eq!(linked(span), links);
        assert_eq!(span.status, Status::Unset);
        let expected = commit_attributes(&topic, "tests", last, &broker.servers);
        assert_eq!(span.attributes, expected);
    }
}

#[tokio::test]
async fn without_a_tracer_a_commit_is_a_commit() {
    let broker = Broker::any();
    let topic = broker.topic("uncovered", 1).await;
    send(&broker, &topic, 1).await;
    let consumer = broker.consumer(&topic);
    let record = receive(&consumer).await;
    consumer.process(&record, done).await.unwrap();
    consumer.commit_message(&record, CommitMode::Sync).unwrap();
    assert_eq!(sdk().ended(&format!("commit {topic}")).len(), 0);
    let committed = consumer.consumer().committed(WAIT).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(1));
}

#[tokio::test]
async fn commits_of_several_partitions_and_of_none() {
    let broker = Broker::any();
    let topic = broker.topic("several", 2).await;
    let other = broker.topic("several", 1).await;
    let group = format!("group-{topic}");
    let consumer = broker
        .consumer_with(&group, Plain, &topic)
        .with_commit_spans(commit_tracer(&broker, &group));
    let mut offsets = TopicPartitionList::new();
    for partition in 0..2 {
        offsets
            .add_partition_offset(&topic, partition, Offset::Offset(5))
            .unwrap();
    }
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    offsets
        .add_partition_offset(&other, 0, Offset::Offset(5))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    // Nothing was stored, so there is nothing to commit.
    let empty = consumer.commit_consumer_state(CommitMode::Sync);
    assert_eq!(
        empty,
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset))
    );

    let of_group = |name: &str| {
        let mut spans = sdk().ended(name);
        spans.retain(|span| {
            let group = KeyValue::new("messaging.consumer.group.name", group.clone());
            span.attributes.contains(&group)
        });
        assert_eq!(spans.len(), 1, "{name}");
        spans.remove(0)
    };
    let mut expected = commit_attributes(&topic, &group, 0, &broker.servers);
    expected.drain(4..6);
    assert_eq!(of_group(&format!("commit {topic}")).attributes, expected);
    expected.remove(3);
    assert_eq!(of_group("commit").attributes, expected);
}

/// A context without any use for callbacks.
struct Plain;

impl ClientContext for Plain {}

impl ConsumerContext for Plain {}

#[tokio::test]
async fn a_commit_that_fails() {
    let broker = Broker::mock();
    let topic = broker.topic("refused", 1).await;
    let sent = send(&broker, &topic, 1).await;
    let consumer = broker
        .consumer(&topic)
        .with_commit_spans(commit_tracer(&broker, "tests"));
    let record = receive(&consumer).await;
    consumer.process(&record, done).await.unwrap();
    broker.mock.as_ref().unwrap().request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED],
    );
    let error = consumer
        .commit_message(&record, CommitMode::Sync)
        .unwrap_err();
    consumer.commit_message(&record, CommitMode::Sync).unwrap();

    let spans = sdk().ended(&format!("commit {topic}"));
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].status, Status::error(error.to_string()));
    assert_eq!(
        events(&spans[0]),
        exception("rdkafka::error::KafkaError", &error.to_string())
    );
    let mut expected = commit_attributes(&topic, "tests", 0, &broker.servers);
    assert_eq!(spans[1].attributes, expected);
    expected.push(KeyValue::new("error.type", "GROUP_AUTHORIZATION_FAILED"));
    assert_eq!(spans[0].attributes, expected);
    // What was not settled is linked by the commit that settles it.
    assert_eq!(linked(&spans[0]), []);
    assert_eq!(linked(&spans[1]), sent);
}

#[tokio::test]
async fn commits_that_are_not_waited_for() {
    let broker = Broker::any();
    let topic = broker.topic("asynchronous", 1).await;
    let sent = send(&broker, &topic, 3).await;
    let group = format!("group-{topic}");
    let commits = commit_tracer(&broker, &group);
    // With the callback in place too: no commit may have two spans.
    let consumer = broker
        .consumer_with(&group, commits.clone(), &topic)
        .with_commit_spans(commits);
    for _ in 0..3 {
        let record = receive(&consumer).await;
        consumer.process(&record, done).await.unwrap();
        consumer.commit_message(&record, CommitMode::Async).unwrap();
    }
    // The answers have come once this has, and callbacks run while the consumer is polled.
    let committed = || {
        let committed = consumer.consumer().committed(WAIT).unwrap();
        committed.elements()[0].offset() == Offset::Offset(3)
    };
    tokio::select! {
        _ = consumer.recv() => unreachable!("no record is left"),
        () = eventually(committed) => {}
    }

    let spans = sdk().ended(&format!("commit {topic}"));
    assert_eq!(spans.len(), 3);
    for (index, span) in spans.iter().enumerate() {
        assert_apart(span);
        assert_eq!(linked(span), [sent[index].clone()]);
        let expected = commit_attributes(&topic, &group, index as i64, &broker.servers);
        assert_eq!(span.attributes, expected);
    }
}

/// An application's context that hands commits on.
struct Forwards(CommitTracer);

impl ClientContext for Forwards {}

impl ConsumerContext for Forwards {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.reported(&result, offsets);
    }
}

#[tokio::test]
async fn automatic_commits_are_seen_by_callback() {
    let broker = Broker::any();
    let topic = broker.topic("automatic", 1).await;
    let sent = send(&broker, &topic, 2).await;
    let group = format!("group-{topic}");
    let mut config = broker.group_config(&group);
    config
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "50");
    let commits = CommitTracer::from_config(&config);
    let tracer = ProcessTracer::from_config(&config).with_commits(commits.clone());
    let consumer = TracedConsumer::from_config_and_context(&config, Forwards(commits)).unwrap();
    consumer
        .consumer()
        .assign(&stage::beginning(&topic))
        .unwrap();
    // A consumer of one's own and a tracer beside it; the consumer here only receives.
    for _ in 0..2 {
        let record = receive(&consumer).await;
        tracer.process(&record, done).await.unwrap();
    }
    let name = format!("commit {topic}");
    let settled = || {
        let spans = sdk().ended(&name);
        spans.iter().flat_map(linked).collect::<Vec<_>>()
    };
    tokio::select! {
        _ = consumer.recv() => unreachable!("no record is left"),
        () = eventually(|| settled().len() >= 2) => {}
    }
    assert_eq!(settled(), sent);
    let spans = sdk().ended(&name);
    let last = spans.last().unwrap();
    let expected = commit_attributes(&topic, &group, 1, &broker.servers);
    assert_eq!(last.attributes, expected);
}

#[tokio::test]
async fn a_commit_of_the_consumers_own_state() {
    let broker = Broker::any();
    let topic = broker.topic("stored", 1).await;
    send(&broker, &topic, 1).await;
    let group = format!("group-{topic}");
    let mut config = broker.group_config(&group);
    config.set("enable.auto.offset.store", "false");
    let consumer = TracedConsumer::from_config(&config)
        .unwrap()
        .with_commit_spans(CommitTracer::from_config(&config));
    consumer
        .consumer()
        .assign(&stage::beginning(&topic))
        .unwrap();
    let record = receive(&consumer).await;
    consumer.process(&record, done).await.unwrap();
    consumer
        .consumer()
        .store_offset_from_message(&record)
        .unwrap();
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();

    let of_group = KeyValue::new("messaging.consumer.group.name", group.clone());
    let mut spans = sdk().ended("commit");
    spans.retain(|span| span.attributes.contains(&of_group));
    assert_eq!(spans.len(), 1);
    let mut expected = commit_attributes(&topic, &group, 0, &broker.servers);
    expected.drain(3..6);
    assert_eq!(spans[0].attributes, expected);
    assert_eq!(linked(&spans[0]), []);
}
