//! What producer and consumer share: the tracer, the instruments, the attributes that follow from a client's
//! configuration, and the order in which a span and its attributes come to be.
//!
//! Reads the configuration once, when the client is made. Knows neither records nor headers.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use rdkafka::{ClientConfig, Message};

use crate::metrics::Metrics;
use crate::propagation::Propagation;
use crate::semconv::{self, Operation};
use crate::topic::{Topic, Topics};

/// Kafka's port where a bootstrap server is given without one, as librdkafka assumes it.
const DEFAULT_PORT: u16 = 9092;

/// A key longer than this is not written to a span: keys of received records come from anyone, and
/// thousands of spans wait in memory for their export.
const LONGEST_KEY: usize = 1024;

/// The tracer of one Kafka client and what its spans have in common.
pub(crate) struct Client {
    tracer: BoxedTracer,
    /// There is no SDK, so no span is ever recorded.
    is_noop: bool,
    pub(crate) propagation: Propagation,
    pub(crate) metrics: Metrics,
    topics: Topics,
    client_id: Option<Arc<str>>,
    consumer_group: Option<Arc<str>>,
    server: Option<(Arc<str>, u16)>,
}

impl Client {
    pub(crate) fn from_config(config: &ClientConfig) -> Self {
        let scope = InstrumentationScope::builder("rdkafka-otel")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(semconv::SCHEMA_URL)
            .build();
        let consumer_group = config.get("group.id").map(Arc::from);
        let server = config
            .get("bootstrap.servers")
            .or_else(|| config.get("metadata.broker.list"))
            .and_then(only_server);
        let tracer = global::tracer_provider().tracer_with_scope(scope.clone());
        Self {
            propagation: Propagation::installed(),
            metrics: Metrics::new(&scope, consumer_group.as_ref(), server.as_ref()),
            topics: Topics::default(),
            is_noop: is_noop(&tracer),
            tracer,
            client_id: config.get("client.id").map(Arc::from),
            consumer_group,
            server,
        }
    }

    /// A topic with what all of its records share.
    pub(crate) fn topic(&self, name: &str) -> Arc<Topic> {
        self.topics.get(name, |name| self.metrics.labels(name))
    }

    /// Starts a span named after the operation and the topic. The attributes are there for the
    /// sampler, and are built, as the name is, only if they can matter: a parent that was not
    /// sampled nearly always decides, and then the span is asked before the work is done.
    pub(crate) fn start(
        &self,
        operation: Operation,
        topic: Option<&str>,
        mut builder: SpanBuilder,
        parent: &Context,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> BoxedSpan {
        let name = || match topic {
            Some(topic) => {
                let mut name = String::with_capacity(operation.name.len() + 1 + topic.len());
                name.push_str(operation.name);
                name.push(' ');
                name.push_str(topic);
                Cow::Owned(name)
            }
            None => Cow::Borrowed(operation.name),
        };
        let parent_span = parent.span();
        let parent_span = parent_span.span_context();
        if self.is_noop || (parent_span.is_valid() && !parent_span.is_sampled()) {
            builder.name = operation.name.into();
            let mut span = self.tracer.build_with_context(builder, parent);
            if span.is_recording() {
                span.update_name(name());
                span.set_attributes(attributes());
            }
            return span;
        }
        builder.name = name();
        self.tracer
            .build_with_context(builder.with_attributes(attributes()), parent)
    }

    /// The attributes of any operation, as far as they are known beforehand.
    pub(crate) fn attributes(&self, operation: Operation, record: &Record<'_>) -> Vec<KeyValue> {
        // Room for all that any span of this crate writes on its own.
        let mut attributes = Vec::with_capacity(16);
        attributes.extend([
            KeyValue::new(semconv::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation.name),
            KeyValue::new(semconv::MESSAGING_OPERATION_TYPE, operation.kind),
        ]);
        if let Some(topic) = record.topic {
            attributes.push(KeyValue::new(
                semconv::MESSAGING_DESTINATION_NAME,
                Arc::clone(&topic.name),
            ));
        }
        if let Some(partition) = record.partition {
            attributes.push(partition_id(partition));
        }
        if let Some(offset) = record.offset {
            attributes.push(KeyValue::new(semconv::MESSAGING_KAFKA_OFFSET, offset));
        }
        if let Some(group) = &self.consumer_group {
            attributes.push(KeyValue::new(
                semconv::MESSAGING_CONSUMER_GROUP_NAME,
                Arc::clone(group),
            ));
        }
        if let Some(client_id) = &self.client_id {
            attributes.push(KeyValue::new(
                semconv::MESSAGING_CLIENT_ID,
                Arc::clone(client_id),
            ));
        }
        let key = record.key.filter(|key| key.len() <= LONGEST_KEY);
        if let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) {
            attributes.push(KeyValue::new(
                semconv::MESSAGING_KAFKA_MESSAGE_KEY,
                key.to_owned(),
            ));
        }
        if record.is_tombstone {
            attributes.push(KeyValue::new(
                semconv::MESSAGING_KAFKA_MESSAGE_TOMBSTONE,
                true,
            ));
        }
        if let Some((address, port)) = &self.server {
            attributes.push(KeyValue::new(semconv::SERVER_ADDRESS, Arc::clone(address)));
            attributes.push(KeyValue::new(semconv::SERVER_PORT, i64::from(*port)));
        }
        attributes
    }
}

/// Whether this is the API's own tracer, which hands the parent's context on. An SDK gives a span an
/// id of its own, or none where telemetry is suppressed, as it is here so that nothing is recorded.
fn is_noop(tracer: &BoxedTracer) -> bool {
    let parent = SpanContext::new(
        TraceId::from(1),
        SpanId::from(1),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    );
    let suppressed = Context::new()
        .with_remote_span_context(parent.clone())
        .with_telemetry_suppressed();
    let span = tracer.build_with_context(SpanBuilder::default(), &suppressed);
    *span.span_context() == parent
}

/// The parts of a record, or of several, that become attributes.
#[derive(Default)]
pub(crate) struct Record<'a> {
    pub(crate) topic: Option<&'a Topic>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) is_tombstone: bool,
}

impl<'a> Record<'a> {
    /// A record that was received.
    pub(crate) fn of<M: Message>(message: &'a M, topic: &'a Topic) -> Self {
        Self {
            topic: Some(topic),
            partition: Some(message.partition()),
            offset: Some(message.offset()),
            key: message.key(),
            is_tombstone: message.payload().is_none(),
        }
    }
}

/// A string in the conventions, because other systems' partitions are not numbers.
pub(crate) fn partition_id(partition: i32) -> KeyValue {
    KeyValue::new(
        semconv::MESSAGING_DESTINATION_PARTITION_ID,
        partition.to_string(),
    )
}

/// Host and port, if the configuration names exactly one bootstrap server. With several, which of
/// them (or which broker that none of them names) takes the request is not known here, and a guess
/// would be taken for a fact.
fn only_server(servers: &str) -> Option<(Arc<str>, u16)> {
    let mut servers = servers
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    let (Some(server), None) = (servers.next(), servers.next()) else {
        return None;
    };
    // librdkafka takes `PLAINTEXT://host:port` too.
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            // Several colons without brackets: an IPv6 address on the default port.
            _ => (server, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => DEFAULT_PORT,
    };
    (!host.is_empty()).then(|| (Arc::from(host), port))
}

#[cfg(test)]
mod tests {
    use super::only_server;

    #[test]
    fn a_server_is_named_only_where_there_is_one() {
        let cases = [
            ("kafka:9093", Some(("kafka", 9093))),
            ("kafka", Some(("kafka", 9092))),
            (" kafka:9093 , ", Some(("kafka", 9093))),
            ("SASL_SSL://kafka:9093", Some(("kafka", 9093))),
            ("[::1]:9093", Some(("::1", 9093))),
            ("[::1]", Some(("::1", 9092))),
            ("::1", Some(("::1", 9092))),
            ("a:9092,b:9092", None),
            ("kafka:port", None),
            ("[::1", None),
            (":9092", None),
            ("", None),
        ];
        for (servers, expected) in cases {
            let found = only_server(servers);
            let found = found.as_ref().map(|(host, port)| (&**host, *port));
            assert_eq!(found, expected, "{servers:?}");
        }
    }
}
