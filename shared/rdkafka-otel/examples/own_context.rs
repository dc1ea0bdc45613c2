//! A producer whose delivery callback is the application's own: it keeps its context and its opaque,
//! and gets send spans.
//!
//! Needs nothing installed: the broker is librdkafka's mock.

use std::error::Error;
use std::time::Duration;

use rdkafka::message::DeliveryResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use rdkafka_otel::testing::{Capture, render};
use rdkafka_otel::{SendTraced, TracedContext};

/// Prints what became of each record, by a number that travels with it.
struct Printed;

impl ClientContext for Printed {}

impl ProducerContext for Printed {
    type DeliveryOpaque = Box<u32>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u32>) {
        match result {
            Ok(_) => println!("record {number} was delivered"),
            Err((error, _)) => println!("record {number} was lost: {error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let spans = Capture::install();
    let broker = MockCluster::new(1)?;
    broker.create_topic("orders", 1, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());

    let context = TracedContext::new(&config, Printed);
    let producer: ThreadedProducer<_> = config.create_with_context(context)?;
    for number in 1..=2 {
        let record = BaseRecord::with_opaque_to("orders", Box::new(number)).key("c-7");
        let record = record.payload("{}");
        producer.send_traced(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(5))?;
    print!("{}", render(&spans.trace("shop")));
    Ok(())
}
