//! Somebody wraps the worker in `#[tracing::instrument]`: the trace of a record stays one.

use crate::world::{World, order};
use opentelemetry::global;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use order_processor::OrderProcessor;
use service::Service;
use service::testing::{Record, configuration};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tracing::instrument(skip_all)]
async fn wrapped(config: order_processor::Config, shutdown: CancellationToken) {
    OrderProcessor::run(config, shutdown).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_creation_context_stays_the_parent_and_the_ambient_span_is_linked() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("tested")))
        .init();

    let world = World::new().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    world.broker.send(
        "orders",
        &Record {
            payload: Some(order(1).to_json().unwrap()),
            headers: vec![(b"traceparent".to_vec(), Some(traceparent.into()))],
            ..Record::default()
        },
    );
    let mut variables = world.variables();
    variables.push(("LISTEN_ADDR", "127.0.0.1:0"));
    let config = configuration::<OrderProcessor>(&variables);
    let shutdown = CancellationToken::new();
    let stop = async {
        world.committed(1).await;
        shutdown.cancel();
    };
    tokio::join!(wrapped(config, shutdown.clone()), stop);

    let spans = exporter.get_finished_spans().unwrap();
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap();
        assert!(found.next().is_none(), "one {name}");
        span
    };
    let (process, ambient) = (named("process orders"), named("wrapped"));
    let ids = |context: &opentelemetry::trace::SpanContext| {
        format!("{}-{}", context.trace_id(), context.span_id())
    };
    let creation = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    assert_eq!(process.span_kind, SpanKind::Consumer);
    let parent = format!(
        "{}-{}",
        process.span_context.trace_id(),
        process.parent_span_id
    );
    assert_eq!(parent, creation);
    let links: Vec<_> = process
        .links
        .iter()
        .map(|link| ids(&link.span_context))
        .collect();
    assert_eq!(links, [creation.to_owned(), ids(&ambient.span_context)]);
    // What happens in the worker belongs to the record, not to the wrapper.
    for name in [
        "SELECT processed_orders",
        "settle payment",
        "INSERT processed_orders",
        "send order-status",
    ] {
        let span = named(name);
        assert_eq!(
            span.span_context.trace_id(),
            process.span_context.trace_id(),
            "{name}"
        );
        assert_eq!(
            span.parent_span_id,
            process.span_context.span_id(),
            "{name}"
        );
    }
    let charge = named("POST /payments");
    assert_eq!(
        charge.parent_span_id,
        named("settle payment").span_context.span_id()
    );
}
