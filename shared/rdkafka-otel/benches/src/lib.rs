//! What is measured: this crate's ways, and beside each the ways that people use today, written as
//! they are found in public repositories.
//!
//! Used by the benchmarks of time, of instructions and of allocations. Measures nothing itself.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what is measured is what people wrote, unwraps included"
)]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::{ClientConfig, Message, Timestamp};
use rdkafka_otel::testing::send_span;
use rdkafka_otel::{Parent, ProcessTracer, Propagation, SendTracer};

/// A `traceparent` as it comes.
pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Application headers, and a `traceparent` behind them.
pub fn received(others: usize) -> OwnedHeaders {
    application(others).insert(Header {
        key: "traceparent",
        value: Some(TRACEPARENT),
    })
}

/// Application headers with stale fields of an earlier hop between them.
pub fn stale(total: usize) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for index in 0..total {
        headers = match index {
            1 => headers.insert(Header {
                key: "traceparent",
                value: Some(TRACEPARENT),
            }),
            3 => headers.insert(Header {
                key: "tracestate",
                value: Some("a=1"),
            }),
            _ => with_application(headers, index),
        };
    }
    headers
}

fn application(count: usize) -> OwnedHeaders {
    (0..count).fold(OwnedHeaders::new(), with_application)
}

fn with_application(headers: OwnedHeaders, index: usize) -> OwnedHeaders {
    headers.insert(Header {
        key: &format!("app-header-{index}"),
        value: Some("some value of a usual length"),
    })
}

/// A remote span context with these flags.
#[must_use]
pub fn span_context(flags: TraceFlags) -> SpanContext {
    SpanContext::new(
        TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        SpanId::from(0xb7ad_6b71_6920_3331),
        flags,
        true,
        TraceState::NONE,
    )
}

/// A context with it.
#[must_use]
pub fn context(flags: TraceFlags) -> Context {
    Context::new().with_remote_span_context(span_context(flags))
}

/// The SDK's own.
pub static SDK_PROPAGATOR: LazyLock<TraceContextPropagator> =
    LazyLock::new(TraceContextPropagator::new);

/// The 55 bytes, with the API's own conversions, where they are known to be in place.
pub fn bare_parse(text: &str) -> SpanContext {
    SpanContext::new(
        TraceId::from_hex(&text[3..35]).unwrap(),
        SpanId::from_hex(&text[36..52]).unwrap(),
        TraceFlags::new(u8::from_str_radix(&text[53..55], 16).unwrap()),
        true,
        TraceState::NONE,
    )
}

/// "Convert the headers to a map first": all of them are copied.
pub fn extract_by_map(headers: &OwnedHeaders) -> Context {
    let map: HashMap<String, String> = headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value.unwrap_or_default());
            (header.key.to_owned(), value.into_owned())
        })
        .collect();
    SDK_PROPAGATOR.extract_with_context(&Context::new(), &map)
}

/// The first match, by rdkafka's iterator.
struct FirstMatch<'a>(&'a OwnedHeaders);

impl Extractor for FirstMatch<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let header = self.0.iter().find(|header| header.key == key)?;
        std::str::from_utf8(header.value?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|header| header.key).collect()
    }
}

/// Extracts by the first match.
pub fn extract_by_first_match(headers: &OwnedHeaders) -> Context {
    SDK_PROPAGATOR.extract_with_context(&Context::new(), &FirstMatch(headers))
}

/// The snippet that most public code shares: every `set` rebuilds the whole list.
struct Rebuilding<'a>(&'a mut OwnedHeaders);

impl Injector for Rebuilding<'_> {
    fn set(&mut self, key: &str, value: String) {
        let mut rebuilt = OwnedHeaders::new().insert(Header {
            key,
            value: Some(&value),
        });
        for header in self.0.iter() {
            let value = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
            rebuilt = rebuilt.insert(Header {
                key: header.key,
                value: Some(&value),
            });
        }
        *self.0 = rebuilt;
    }
}

/// Injects by rebuilding.
pub fn inject_by_rebuilding(cx: &Context, headers: &mut OwnedHeaders) {
    SDK_PROPAGATOR.inject_context(cx, &mut Rebuilding(headers));
}

/// The other one: the list is taken out of an option and put back; nothing is replaced.
struct Taking<'a>(&'a mut Option<OwnedHeaders>);

impl Injector for Taking<'_> {
    fn set(&mut self, key: &str, value: String) {
        let headers = self.0.take().unwrap_or_default();
        *self.0 = Some(headers.insert(Header {
            key,
            value: Some(&value),
        }));
    }
}

/// Injects by taking.
pub fn inject_by_taking(cx: &Context, headers: OwnedHeaders) -> OwnedHeaders {
    let mut headers = Some(headers);
    SDK_PROPAGATOR.inject_context(cx, &mut Taking(&mut headers));
    headers.unwrap()
}

/// A span processor that keeps nothing, so that only the making of spans is measured.
#[derive(Debug)]
struct Discard;

impl opentelemetry_sdk::trace::SpanProcessor for Discard {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, _: opentelemetry_sdk::trace::SpanData) {}

    fn force_flush(&self) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(
        &self,
        _: std::time::Duration,
    ) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
}

/// One service's tracing: this crate's tracers, and what the bare API needs.
pub struct Service {
    send: SendTracer,
    process: ProcessTracer,
    bare: BoxedTracer,
    client_id: Arc<str>,
    address: Arc<str>,
    group: Arc<str>,
}

/// Where everything is sent to.
pub const TOPIC: &str = "orders";
const KEY: &[u8] = b"c-4711-0123456789-0123456789-0123456";

impl Service {
    /// With spans sampled by their parents, and roots as told.
    pub fn new(samples_roots: bool) -> Self {
        let root = match samples_roots {
            true => Sampler::AlwaysOn,
            false => Sampler::AlwaysOff,
        };
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_span_processor(Discard)
            .build();
        global::set_tracer_provider(provider);
        global::set_text_map_propagator(TraceContextPropagator::new());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", "localhost:9092")
            .set("client.id", "orders-api")
            .set("group.id", "order-processor");
        let scope = InstrumentationScope::builder("bare").build();
        Self {
            process: ProcessTracer::from_config(&config).with_parent(Parent::CreationContext),
            send: SendTracer::from_config(config.remove("group.id")),
            bare: global::tracer_provider().tracer_with_scope(scope),
            client_id: "orders-api".into(),
            address: "localhost".into(),
            group: "order-processor".into(),
        }
    }

    /// A `send` span by this crate.
    pub fn send(&self) -> Option<OwnedHeaders> {
        let mut headers = None;
        send_span(&self.send, TOPIC, KEY, 42, &mut headers);
        headers
    }

    /// The same span, attributes and header, by hand and without any choice.
    pub fn bare_send(&self) -> Option<OwnedHeaders> {
        let mut attributes = Vec::with_capacity(16);
        attributes.extend([
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", TOPIC.to_owned()),
            KeyValue::new("messaging.client.id", Arc::clone(&self.client_id)),
            KeyValue::new(
                "messaging.kafka.message.key",
                std::str::from_utf8(KEY).unwrap().to_owned(),
            ),
            KeyValue::new("server.address", Arc::clone(&self.address)),
            KeyValue::new("server.port", 9092),
        ]);
        let parent = Context::current();
        let builder = SpanBuilder::from_name(format!("send {TOPIC}"))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        let mut span = self.bare.build_with_context(builder, &parent);
        let cx = parent.with_remote_span_context(span.span_context().clone());
        let headers = inject_by_taking(&cx, OwnedHeaders::new());
        span.set_attribute(KeyValue::new(
            "messaging.destination.partition.id",
            0.to_string(),
        ));
        span.set_attribute(KeyValue::new("messaging.kafka.offset", 42));
        span.end();
        Some(headers)
    }

    /// A `process` span by this crate.
    pub fn process(&self, record: &OwnedMessage) {
        let span = self.process.start(record);
        span.finish(Ok::<_, std::io::Error>(())).unwrap();
    }

    /// The same span, attributes and link, by hand and without any choice.
    pub fn bare_process(&self, record: &OwnedMessage) {
        let carried = extract_by_first_match(record.headers().unwrap());
        let started = SystemTime::now();
        let mut attributes = Vec::with_capacity(16);
        attributes.extend([
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", record.topic().to_owned()),
            KeyValue::new(
                "messaging.destination.partition.id",
                record.partition().to_string(),
            ),
            KeyValue::new("messaging.kafka.offset", record.offset()),
            KeyValue::new("messaging.consumer.group.name", Arc::clone(&self.group)),
            KeyValue::new("messaging.client.id", Arc::clone(&self.client_id)),
            KeyValue::new(
                "messaging.kafka.message.key",
                std::str::from_utf8(record.key().unwrap())
                    .unwrap()
                    .to_owned(),
            ),
            KeyValue::new("server.address", Arc::clone(&self.address)),
            KeyValue::new("server.port", 9092),
            KeyValue::new("kafka.record.queue_time_ms", 17),
            KeyValue::new("kafka.record.timestamp_type", "CreateTime"),
        ]);
        let creation = carried.span().span_context().clone();
        let builder = SpanBuilder::from_name(format!("process {}", record.topic()))
            .with_kind(SpanKind::Consumer)
            .with_start_time(started)
            .with_links(vec![Link::with_context(creation)])
            .with_attributes(attributes);
        let span = self.bare.build_with_context(builder, &carried);
        let cx = carried.with_span(span);
        cx.span().end();
    }
}

/// A record with two application headers, sent by a span with these flags.
pub fn record(flags: TraceFlags) -> OwnedMessage {
    let mut headers = application(2);
    Propagation::w3c().inject(&context(flags), &mut headers);
    OwnedMessage::new(
        Some(vec![0; 512]),
        Some(KEY.to_vec()),
        TOPIC.to_owned(),
        Timestamp::CreateTime(1_700_000_000_000),
        3,
        42,
        Some(headers),
    )
}
