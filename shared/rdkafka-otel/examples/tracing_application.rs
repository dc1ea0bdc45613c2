//! An application of `tracing` spans: `#[instrument]` around and inside, and one trace through Kafka.
//!
//! tracing-opentelemetry makes the OpenTelemetry span of a `tracing` span the current one, so the
//! `send` span finds its parent there, and what the handler does finds the `process` span. Needs
//! nothing installed: the broker is librdkafka's mock.

use std::error::Error;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::FutureRecord;
use rdkafka_otel::testing::{Capture, render};
use rdkafka_otel::{Parent, TracedConsumer, TracedProducer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tracing::instrument(skip(producer))]
async fn place_order(producer: &TracedProducer, customer: &str) -> Result<(), KafkaError> {
    let record = FutureRecord::to("orders").key(customer).payload("{}");
    let sent = producer.send(record, Duration::from_secs(5)).await;
    sent.map(drop).map_err(|(error, _record)| error)
}

#[tracing::instrument]
async fn settle_payment() -> Result<(), KafkaError> {
    tokio::task::yield_now().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let spans = Capture::install();
    let tracer = spans.provider().tracer("shop");
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false);
    tracing_subscriber::registry().with(layer).init();

    let broker = MockCluster::new(1)?;
    broker.create_topic("orders", 1, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());
    place_order(&TracedProducer::from_config(&config)?, "c-7").await?;

    config
        .set("group.id", "example")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000");
    let consumer = TracedConsumer::from_config(&config)?.with_parent(Parent::CreationContext);
    consumer.consumer().subscribe(&["orders"])?;
    let record = consumer.recv().await?;
    consumer.process(&record, settle_payment).await?;

    print!("{}", render(&spans.trace("shop")));
    Ok(())
}
