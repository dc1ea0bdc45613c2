//! The `process` span: its place, what it says of the record, and that it ends on every path.
//!
//! Records are made by hand, so that their timestamps and headers are known; no broker is needed.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod stage;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka_otel::{Parent, TracedConsumer};
use stage::{
    config, events, exception, linked, nowhere, remote, sdk, start_and_drop, under, unique,
    with_traceparent,
};
use tokio::sync::oneshot;
use tracing_subscriber::layer::SubscriberExt;

fn consumer(parent: Parent) -> TracedConsumer {
    sdk();
    let mut config = config(&nowhere());
    config.set("group.id", "workers");
    TracedConsumer::from_config(&config)
        .unwrap()
        .with_parent(parent)
}

fn record(topic: &str, headers: Option<OwnedHeaders>) -> OwnedMessage {
    record_at(topic, headers, Timestamp::NotAvailable)
}

fn record_at(topic: &str, headers: Option<OwnedHeaders>, timestamp: Timestamp) -> OwnedMessage {
    let (payload, key) = (Some(b"p".to_vec()), Some(b"k".to_vec()));
    OwnedMessage::new(payload, key, topic.to_owned(), timestamp, 3, 42, headers)
}

async fn nothing() -> Result<(), io::Error> {
    Ok(())
}

fn sampled(id: u64) -> SpanContext {
    remote(id, TraceFlags::SAMPLED)
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The attributes of a record without a timestamp.
fn attributes(topic: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("messaging.destination.partition.id", "3"),
        KeyValue::new("messaging.kafka.offset", 42_i64),
        KeyValue::new("messaging.consumer.group.name", "workers"),
        KeyValue::new("messaging.client.id", "tests"),
        KeyValue::new("messaging.kafka.message.key", "k"),
    ]
}

/// The same with what only this test's client or record has, where the span puts it.
fn attributes_with(span: &SpanData, more: &[KeyValue]) -> Vec<KeyValue> {
    let topic = span.name.strip_prefix("process ").unwrap();
    let mut all = attributes(topic);
    let server = span.attributes.iter();
    all.extend(
        server
            .filter(|one| one.key.as_str().starts_with("server."))
            .cloned(),
    );
    all.extend(more.iter().cloned());
    all
}

#[tokio::test]
async fn a_record_that_is_processed() {
    let topic = unique("processed");
    let servers = nowhere();
    sdk();
    let consumer =
        TracedConsumer::from_config(config(&servers).set("group.id", "workers")).unwrap();
    let creation = sampled(1);
    let headers = with_traceparent(&creation);

    let answer = consumer
        .process(&record(&topic, Some(headers)), || async {
            Context::current()
                .span()
                .set_attribute(KeyValue::new("app.seen", true));
            Ok::<_, io::Error>("answer")
        })
        .await;
    assert_eq!(answer.unwrap(), "answer");

    let span = sdk().only(&format!("process {topic}"));
    let mut expected = attributes(&topic);
    expected.extend(stage::server_attributes(&servers));
    expected.push(KeyValue::new("app.seen", true));
    assert_eq!(span.attributes, expected);
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_eq!(span.span_context.trace_id(), creation.trace_id());
    assert_eq!(span.parent_span_id, creation.span_id());
    assert!(span.parent_span_is_remote);
    assert_eq!(linked(&span), [creation]);
    assert_eq!(span.status, Status::Unset);
    assert_eq!(events(&span), []);
    let scope = &span.instrumentation_scope;
    assert_eq!(scope.name(), "rdkafka-otel");
    assert_eq!(
        scope.schema_url(),
        Some("https://opentelemetry.io/schemas/1.44.0")
    );
}

#[tokio::test]
async fn what_a_record_lacks_is_not_made_up() {
    let topic = unique("bare");
    sdk();
    let consumer = TracedConsumer::from_config(
        rdkafka::ClientConfig::new()
            .set("bootstrap.servers", "a:1,b:2")
            .set("group.id", "workers"),
    )
    .unwrap();
    let cases: [(Option<&[u8]>, Option<&'static str>); 4] = [
        (None, None),
        (Some(b"\xff"), None),
        (Some(b""), Some("")),
        (Some(&[b'k'; 1025]), None),
    ];
    for (index, (key, shown)) in cases.into_iter().enumerate() {
        let key = key.map(<[u8]>::to_vec);
        let record = OwnedMessage::new(
            None,
            key,
            topic.clone(),
            Timestamp::NotAvailable,
            3,
            42,
            None,
        );
        consumer.process(&record, nothing).await.unwrap();

        let mut expected = attributes(&topic);
        expected.truncate(7);
        if let Some(key) = shown {
            expected.push(KeyValue::new("messaging.kafka.message.key", key));
        }
        expected.push(KeyValue::new("messaging.kafka.message.tombstone", true));
        let span = &sdk().ended(&format!("process {topic}"))[index];
        assert_eq!(span.attributes, expected);
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        assert_eq!(linked(span), []);
    }
}

#[tokio::test]
async fn the_queue_wait_is_start_minus_timestamp() {
    let consumer = consumer(Parent::Auto);
    let now = millis(SystemTime::now());
    let skewed = KeyValue::new("kafka.record.clock_skew", true);
    let cases = [
        (Timestamp::CreateTime(now - 5_000), "CreateTime", None),
        (
            Timestamp::LogAppendTime(now - 86_400_000),
            "LogAppendTime",
            None,
        ),
        (Timestamp::CreateTime(0), "CreateTime", None),
        (
            Timestamp::CreateTime(now + 3_600_000),
            "CreateTime",
            Some(&skewed),
        ),
        (
            Timestamp::LogAppendTime(i64::MAX),
            "LogAppendTime",
            Some(&skewed),
        ),
    ];
    for (timestamp, kind, skew) in cases {
        let topic = unique("waited");
        consumer
            .process(&record_at(&topic, None, timestamp), nothing)
            .await
            .unwrap();

        let span = sdk().only(&format!("process {topic}"));
        let waited = millis(span.start_time) - timestamp.to_millis().unwrap();
        let mut more = vec![
            KeyValue::new("kafka.record.queue_time_ms", waited.max(0)),
            KeyValue::new("kafka.record.timestamp_type", kind),
        ];
        more.extend(skew.cloned());
        assert_eq!(span.attributes, attributes_with(&span, &more));
    }
    // What only a hostile sender writes: the age is larger than any duration in milliseconds.
    let topic = unique("ancient");
    let ancient = Timestamp::CreateTime(i64::MIN);
    consumer
        .process(&record_at(&topic, None, ancient), nothing)
        .await
        .unwrap();
    let span = sdk().only(&format!("process {topic}"));
    let waited = KeyValue::new("kafka.record.queue_time_ms", i64::MAX);
    assert!(span.attributes.contains(&waited));

    for none in [
        Timestamp::NotAvailable,
        Timestamp::CreateTime(-1),
        Timestamp::LogAppendTime(-1),
    ] {
        let topic = unique("timeless");
        consumer
            .process(&record_at(&topic, None, none), nothing)
            .await
            .unwrap();
        let span = sdk().only(&format!("process {topic}"));
        assert_eq!(span.attributes, attributes_with(&span, &[]));
    }
}

#[tokio::test]
async fn the_policy_places_the_span_and_links_the_rest() {
    let (creation, ambient) = (sampled(10), sampled(20));
    let limit = Parent::ByAge(Duration::from_secs(30));
    let young = Timestamp::CreateTime(millis(SystemTime::now()));
    let old = Timestamp::CreateTime(millis(SystemTime::now()) - 31_000);
    let ahead = Timestamp::CreateTime(millis(SystemTime::now()) + 60_000);
    let none = Timestamp::NotAvailable;
    let (c, a) = (Some(&creation), Some(&ambient));
    // Policy, timestamp, creation context, ambient span; parent, links.
    let cases = [
        (Parent::Auto, old, c, a, a, vec![&creation]),
        (Parent::Auto, old, c, None, c, vec![&creation]),
        (Parent::Auto, old, None, a, a, vec![]),
        (Parent::Auto, old, None, None, None, vec![]),
        (
            Parent::CreationContext,
            old,
            c,
            a,
            c,
            vec![&creation, &ambient],
        ),
        (Parent::CreationContext, old, c, None, c, vec![&creation]),
        (Parent::CreationContext, old, None, a, a, vec![]),
        (Parent::CreationContext, old, None, None, None, vec![]),
        (Parent::Link, young, c, a, a, vec![&creation]),
        (Parent::Link, young, c, None, None, vec![&creation]),
        (Parent::Link, young, None, a, a, vec![]),
        (Parent::Link, young, None, None, None, vec![]),
        (limit, young, c, a, c, vec![&creation, &ambient]),
        (limit, young, c, None, c, vec![&creation]),
        (limit, old, c, a, None, vec![&creation, &ambient]),
        (limit, old, c, None, None, vec![&creation]),
        (limit, old, None, a, a, vec![]),
        (limit, none, c, None, c, vec![&creation]),
        (limit, ahead, c, None, c, vec![&creation]),
        // The application made the record's context current itself.
        (Parent::Auto, young, c, c, c, vec![&creation]),
        (Parent::CreationContext, young, c, c, c, vec![&creation]),
        (limit, old, c, c, None, vec![&creation]),
        (Parent::Link, young, c, c, None, vec![&creation]),
    ];
    for (case, (policy, timestamp, creation, ambient, parent, links)) in
        cases.into_iter().enumerate()
    {
        let topic = unique("placed");
        let record = record_at(&topic, creation.map(with_traceparent), timestamp);
        let cx = ambient.map_or_else(Context::new, under);
        consumer(policy)
            .process(&record, nothing)
            .with_context(cx)
            .await
            .unwrap();

        let span = sdk().only(&format!("process {topic}"));
        let found = (span.span_context.trace_id(), span.parent_span_id);
        match parent {
            Some(parent) => {
                assert_eq!(found, (parent.trace_id(), parent.span_id()), "case {case}");
            }
            None => {
                assert_eq!(found.1, SpanId::INVALID, "case {case}");
                let others = [creation, ambient].into_iter().flatten();
                assert!(
                    others.into_iter().all(|other| other.trace_id() != found.0),
                    "case {case}"
                );
            }
        }
        assert_eq!(
            linked(&span),
            links.into_iter().cloned().collect::<Vec<_>>(),
            "case {case}"
        );
    }
}

#[tokio::test]
async fn headers_without_a_usable_context_place_nothing() {
    let too_long = "0".repeat(513);
    let garbage = [
        ("traceparent", Some("garbage"), Some("malformed")),
        ("TraceParent", Some(""), Some("malformed")),
        ("traceparent", None, Some("malformed")),
        ("traceparent", Some(&*too_long), Some("too_long")),
        ("tracestate", Some("a=1"), None),
        ("other", Some("\0"), None),
    ];
    for (key, value, reason) in garbage {
        let topic = unique("garbage");
        let headers = OwnedHeaders::new().insert(Header { key, value });
        let record = record(&topic, Some(headers));
        consumer(Parent::CreationContext)
            .process(&record, nothing)
            .await
            .unwrap();
        let span = sdk().only(&format!("process {topic}"));
        let reason =
            reason.map(|reason| KeyValue::new("kafka.record.missing_context.reason", reason));
        assert_eq!(span.attributes, attributes_with(&span, reason.as_slice()));
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        assert_eq!(linked(&span), []);
        assert_eq!(span.status, Status::Unset);
    }
}

#[tokio::test]
async fn an_error_ends_the_span_and_is_handed_on() {
    let topic = unique("error");
    let result = consumer(Parent::Auto)
        .process(&record(&topic, None), || async {
            tokio::task::yield_now().await;
            Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        })
        .await;
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

    let span = sdk().only(&format!("process {topic}"));
    assert_eq!(span.status, Status::error("connection refused"));
    assert_eq!(
        events(&span),
        exception("std::io::error::Error", "connection refused")
    );
    let error_type = KeyValue::new("error.type", "ConnectionRefused");
    assert_eq!(span.attributes, attributes_with(&span, &[error_type]));
}

#[tokio::test]
async fn a_panic_ends_the_span_and_goes_on() {
    let consumer = Arc::new(consumer(Parent::Auto));
    let name = unique("panic");
    let topics: Vec<_> = (0..4).map(|case| format!("{name}-{case}")).collect();
    let panics = topics.iter().cloned().enumerate().map(|(case, topic)| {
        let consumer = Arc::clone(&consumer);
        tokio::spawn(async move {
            let record = record(&topic, None);
            let handler = || {
                if case == 0 {
                    panic!("before the future");
                }
                async move {
                    tokio::task::yield_now().await;
                    match case {
                        1 => panic!("a text"),
                        2 => panic!("a text with {case}"),
                        _ => std::panic::panic_any(case),
                    }
                    #[allow(unreachable_code, reason = "gives the future its type")]
                    Ok::<(), io::Error>(())
                }
            };
            consumer.process(&record, handler).await
        })
    });
    let said = [
        "before the future",
        "a text",
        "a text with 2",
        "panicked with a payload that is not text",
    ];
    for ((panicking, topic), said) in panics.zip(&topics).zip(said) {
        assert!(panicking.await.unwrap_err().is_panic());
        let span = sdk().only(&format!("process {topic}"));
        assert_eq!(span.status, Status::error(said));
        assert_eq!(events(&span), exception("panic", said));
        let error_type = KeyValue::new("error.type", "panic");
        assert_eq!(span.attributes, attributes_with(&span, &[error_type]));
        assert!(!Context::current().has_active_span());
    }
}

#[tokio::test]
async fn a_handler_that_is_dropped_halfway() {
    let topic = unique("cancelled");
    let (_never, waiting) = oneshot::channel::<()>();
    let consumer = consumer(Parent::Auto);
    let record = record(&topic, None);
    start_and_drop(consumer.process(&record, || async {
        let _inner = sdk()
            .provider
            .tracer("tests")
            .start(format!("inner {topic}"));
        drop(waiting.await);
        Ok::<_, io::Error>(())
    }));

    let span = sdk().only(&format!("process {topic}"));
    assert_eq!(span.status, Status::error("dropped before it had finished"));
    assert_eq!(events(&span), []);
    let error_type = KeyValue::new("error.type", "cancelled");
    assert_eq!(span.attributes, attributes_with(&span, &[error_type]));
    // What the handler held goes first.
    let inner = sdk().only(&format!("inner {topic}"));
    assert_eq!(inner.parent_span_id, span.span_context.span_id());
    assert!(inner.end_time <= span.end_time);
    assert!(!Context::current().has_active_span());
}

#[tokio::test]
async fn a_future_that_is_never_polled_leaves_no_span() {
    let topic = unique("unpolled");
    let consumer = consumer(Parent::Auto);
    let record = record(&topic, None);
    drop(consumer.process(&record, nothing));
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 0);
}

#[tokio::test]
async fn a_context_that_outlives_the_handler_does_not_hold_the_span() {
    let topic = unique("outlived");
    let mut kept = None;
    consumer(Parent::Auto)
        .process(&record(&topic, None), || async {
            kept = Some(Context::current());
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    let span = sdk().only(&format!("process {topic}"));
    assert_eq!(kept.unwrap().span().span_context(), &span.span_context);
}

#[tokio::test]
async fn the_handler_sees_the_span_the_records_baggage_and_other_values() {
    #[derive(Debug, PartialEq)]
    struct Tenant(&'static str);

    let topic = unique("context");
    let headers = with_traceparent(&sampled(30)).insert(Header {
        key: "baggage",
        value: Some("from=record"),
    });
    let ambient = under(&sampled(31))
        .with_baggage([
            KeyValue::new("from", "worker"),
            KeyValue::new("more", "worker"),
        ])
        .with_value(Tenant("acme"));
    for headers in [Some(headers), None] {
        let has_baggage = headers.is_some();
        consumer(Parent::Auto)
            .process(&record(&topic, headers), || async {
                tokio::task::yield_now().await;
                let cx = Context::current();
                assert!(cx.span().is_recording());
                let baggage: Vec<_> = cx
                    .baggage()
                    .iter()
                    .map(|(key, (value, _))| (key.as_str(), value.as_str()))
                    .collect();
                if has_baggage {
                    assert_eq!(baggage, [("from", "record")]);
                } else {
                    assert_eq!(baggage, []);
                }
                assert_eq!(cx.get::<Tenant>(), Some(&Tenant("acme")));
                Ok::<_, io::Error>(())
            })
            .with_context(ambient.clone())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_unsampled_sender_leaves_no_span_and_passes_on_its_trace() {
    let topic = unique("unsampled");
    let creation = remote(40, TraceFlags::NOT_SAMPLED);
    let seen = consumer(Parent::Auto)
        .process(
            &record(&topic, Some(with_traceparent(&creation))),
            || async { Ok::<_, io::Error>(Context::current().span().span_context().clone()) },
        )
        .await
        .unwrap();
    assert_eq!(seen.trace_id(), creation.trace_id());
    assert!(!seen.is_sampled());
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 0);
}

#[tokio::test]
async fn suppressed_telemetry_runs_the_handler_and_nothing_else() {
    let topic = unique("suppressed");
    let ambient = under(&sampled(50)).with_telemetry_suppressed();
    let record = record(&topic, Some(with_traceparent(&sampled(51))));
    let seen = consumer(Parent::Auto)
        .process(&record, || async {
            Ok::<_, io::Error>(Context::current().span().span_context().clone())
        })
        .with_context(ambient)
        .await
        .unwrap();
    assert_eq!(seen, sampled(50));
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 0);
}

/// The worker of a service, with a span around its loop.
#[tracing::instrument(skip_all)]
async fn instrumented_worker(consumer: &TracedConsumer, record: &OwnedMessage) {
    consumer
        .process(record, || instrumented_step(record))
        .await
        .unwrap();
    tracing::info_span!("after the record").in_scope(|| ());
}

#[tracing::instrument(skip_all)]
async fn instrumented_step(_record: &OwnedMessage) -> Result<(), io::Error> {
    tokio::task::yield_now().await;
    let _inner = sdk().provider.tracer("tests").start("inside the step");
    Ok(())
}

#[tokio::test]
async fn tracing_spans_around_and_inside_join_in() {
    let tracer = sdk().provider.tracer("tracing");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(layer);
    let _default = tracing::subscriber::set_default(subscriber);

    let creation = sampled(60);
    for (turn, policy) in [Parent::CreationContext, Parent::Auto]
        .into_iter()
        .enumerate()
    {
        let topic = unique("instrumented");
        let record = record(&topic, Some(with_traceparent(&creation)));
        instrumented_worker(&consumer(policy), &record).await;

        let process = sdk().only(&format!("process {topic}"));
        let of_this_turn = |name: &str| {
            let spans = sdk().ended(name);
            assert_eq!(spans.len(), turn + 1, "{name}");
            spans[turn].clone()
        };
        let worker = of_this_turn("instrumented_worker");
        let step = of_this_turn("instrumented_step");
        let inner = of_this_turn("inside the step");
        let after = of_this_turn("after the record");

        let parent_of = |span: &SpanData| (span.span_context.trace_id(), span.parent_span_id);
        let as_parent = |cx: &SpanContext| (cx.trace_id(), cx.span_id());
        assert_eq!(parent_of(&step), as_parent(&process.span_context));
        assert_eq!(parent_of(&inner), as_parent(&step.span_context));
        assert_eq!(parent_of(&after), as_parent(&worker.span_context));
        assert_eq!(worker.parent_span_id, SpanId::INVALID);
        let worker = worker.span_context;
        if policy == Parent::Auto {
            assert_eq!(parent_of(&process), as_parent(&worker));
            assert_eq!(linked(&process), std::slice::from_ref(&creation));
        } else {
            assert_eq!(parent_of(&process), as_parent(&creation));
            assert_eq!(linked(&process), [creation.clone(), worker]);
        }
    }
}

#[test]
fn a_panic_in_a_blocking_caller_leaves_no_context_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let topic = unique("unwound");
    let unwound = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let handler = || async { panic!("unwinds through block_on") };
            let work = consumer(Parent::Auto);
            work.process::<_, (), io::Error, _, _>(&record(&topic, None), handler)
                .await
        })
    }));
    assert!(unwound.is_err());
    assert!(!Context::current().has_active_span());
    assert_eq!(sdk().ended(&format!("process {topic}")).len(), 1);
}
