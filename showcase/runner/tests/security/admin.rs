//! Kafka's user who may do anything: topics, their settings, and rights.
//!
//! rdkafka has no interface for rights, so those go through librdkafka's own.

#![allow(unsafe_code)]

use crate::servers::{LIMIT, certificate, kafka, password};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::bindings::{
    rd_kafka_AclBinding_destroy, rd_kafka_AclBinding_new, rd_kafka_AclOperation_t,
    rd_kafka_AclPermissionType_t, rd_kafka_CreateAcls, rd_kafka_CreateAcls_result_acls,
    rd_kafka_ResourcePatternType_t, rd_kafka_ResourceType_t, rd_kafka_acl_result_error,
    rd_kafka_event_CreateAcls_result, rd_kafka_event_destroy, rd_kafka_event_error,
    rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_resp_err_t,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::ffi::CString;
use std::ptr;
use throughline::stack::PARTITIONS;

type Operation = rd_kafka_AclOperation_t;

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka("SASL_SSL"))
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", "admin")
        .set("sasl.password", password("admin"))
        .set("ssl.ca.location", certificate("ca.pem"));
    config
}

fn admin() -> AdminClient<DefaultClientContext> {
    config().create().expect("an admin client")
}

pub(crate) async fn delete_topic(name: &str) {
    let deleted = admin().delete_topics(&[name], &AdminOptions::new()).await;
    deleted.expect("an answer")[0]
        .as_ref()
        .expect("it is deleted");
}

pub(crate) async fn create_topic(name: &str) {
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let created = admin().create_topics(&[topic], &AdminOptions::new()).await;
    created.expect("an answer")[0]
        .as_ref()
        .expect("it is created");
}

/// The broker's own limit for a record of `topic`, in bytes.
pub(crate) async fn limit_records(topic: &str, bytes: u32) {
    let bytes = bytes.to_string();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &bytes);
    let changed = admin().alter_configs([&change], &AdminOptions::new()).await;
    changed.expect("an answer")[0]
        .as_ref()
        .expect("it is changed");
}

/// From now on `app` may read `topic` and not write to it: what has any rule is closed to whoever
/// has none.
pub(crate) async fn forbid_writing(topic: &str) {
    grant(topic, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE).await;
    grant(topic, Operation::RD_KAFKA_ACL_OPERATION_READ).await;
}

pub(crate) async fn allow_writing(topic: &str) {
    grant(topic, Operation::RD_KAFKA_ACL_OPERATION_WRITE).await;
}

/// Lets `app` do `operation` to `topic`.
async fn grant(topic: &str, operation: Operation) {
    let topic = topic.to_owned();
    let granted = tokio::task::spawn_blocking(move || create_rule(&topic, operation));
    granted.await.expect("it is granted");
}

fn create_rule(topic: &str, operation: Operation) {
    let text = |text: &str| CString::new(text).expect("no NUL byte");
    let (topic, principal, host) = (text(topic), text("User:app"), text("*"));
    let client = admin();
    let native = client.inner().native_ptr();
    // SAFETY: the client outlives everything made from it, the texts are NUL-terminated and copied
    // by librdkafka, no result is read after its event is destroyed, and each value is destroyed
    // once.
    unsafe {
        let mut rule = rd_kafka_AclBinding_new(
            rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
            rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
            principal.as_ptr(),
            host.as_ptr(),
            operation,
            rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            ptr::null_mut(),
            0,
        );
        assert!(!rule.is_null(), "no such rule");
        let queue = rd_kafka_queue_new(native);
        rd_kafka_CreateAcls(native, &mut rule, 1, ptr::null(), queue);
        let event = rd_kafka_queue_poll(queue, LIMIT.as_millis() as i32);
        assert!(!event.is_null(), "no answer");
        let error = rd_kafka_event_error(event);
        assert_eq!(error, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        let mut count = 0;
        let results =
            rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &mut count);
        assert_eq!(count, 1);
        assert!(rd_kafka_acl_result_error(*results).is_null(), "refused");
        rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
        rd_kafka_AclBinding_destroy(rule);
    }
}

/// How many records of `topic` `group` has committed, over all partitions.
pub(crate) async fn committed(group: &str, topic: &str) -> i64 {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config().set("group.id", group).create()?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&topic, 0, PARTITIONS - 1);
        consumer.committed_offsets(partitions, LIMIT)
    });
    let offsets = asked.await.expect("no panic").expect("an answer");
    let offsets = offsets.elements();
    offsets
        .iter()
        .map(|partition| match partition.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        })
        .sum()
}
