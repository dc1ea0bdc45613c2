//! One record there and back on an embedded broker: the span that sends it and the span that
//! processes it are one trace.
//!
//! Needs nothing installed. The SDK prints its spans here; a service would export them.

use std::error::Error;
use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::FutureRecord;
use rdkafka_otel::{Parent, TracedConsumer, TracedProducer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    global::set_tracer_provider(provider);
    global::set_text_map_propagator(TraceContextPropagator::new());

    let broker = MockCluster::new(1)?;
    broker.create_topic("orders", 1, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());

    let producer = TracedProducer::from_config(&config)?;
    let record = FutureRecord::to("orders").key("c-7").payload("{}");
    producer
        .send(record, Duration::from_secs(5))
        .await
        .map_err(|(error, _record)| error)?;

    config
        .set("group.id", "example")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000");
    let consumer = TracedConsumer::from_config(&config)?.with_parent(Parent::CreationContext);
    consumer.consumer().subscribe(&["orders"])?;
    let record = consumer.recv().await?;
    consumer
        .process(&record, || async {
            let seen = KeyValue::new("app.seen", true);
            Context::current().span().set_attribute(seen);
            Ok::<_, std::io::Error>(())
        })
        .await?;

    for span in spans.get_finished_spans()? {
        println!(
            "trace {}  span {}  parent {}  {:?} {:?}",
            span.span_context.trace_id(),
            span.span_context.span_id(),
            span.parent_span_id,
            span.span_kind,
            span.name,
        );
    }
    Ok(())
}
