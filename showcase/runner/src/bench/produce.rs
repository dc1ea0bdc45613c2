//! The sending half of a hop: records through rdkafka alone, or each in a root span and through
//! rdkafka-otel.
//!
//! The two loops differ in nothing else: same producer, same callback, same headers.

use crate::bench::part::{self, Measured, PartArguments, Records, WARM_UP};
use crate::bench::usage::Usage;
use anyhow::{Context as _, bail};
use opentelemetry::Context;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{TraceContextExt, Tracer};
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka_otel::{SendTraced, TracedContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Records that may be in the queue: fewer than librdkafka allows, so that it refuses none. A
/// refused one would have a span of its own.
const IN_FLIGHT: u64 = 90_000;
/// A broker that acknowledges nothing for this long has gone.
const STALLED: Duration = Duration::from_secs(30);

/// Counts delivery reports.
#[derive(Clone, Default)]
pub(crate) struct Deliveries {
    delivered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = match result {
            Ok(_) => &self.delivered,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Deliveries {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Waits until `count` records were delivered.
    ///
    /// # Errors
    /// If one failed, or if none is delivered for half a minute.
    pub(crate) async fn reach(&self, count: u64) -> anyhow::Result<()> {
        let (mut before, mut since) = (self.delivered(), Instant::now());
        loop {
            let now = self.delivered();
            if self.failed.load(Ordering::Relaxed) > 0 {
                bail!("records were not delivered");
            }
            if now >= count {
                return Ok(());
            }
            if now != before {
                (before, since) = (now, Instant::now());
            }
            if since.elapsed() > STALLED {
                bail!("the broker acknowledges nothing");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

/// The two ways to send.
enum Sender {
    Bare(ThreadedProducer<Deliveries>),
    Traced {
        producer: ThreadedProducer<TracedContext<Deliveries>>,
        tracer: BoxedTracer,
        sampled: u64,
    },
}

pub(crate) async fn run(arguments: &PartArguments) -> anyhow::Result<Measured> {
    let telemetry = arguments.telemetry()?;
    let deliveries = Deliveries::default();
    let config = arguments.config();
    let mut sender = if telemetry.is_some() {
        let context = TracedContext::new(&config, deliveries.clone());
        Sender::Traced {
            producer: ThreadedProducer::from_config_and_context(&config, context)?,
            tracer: global::tracer("throughline-bench"),
            sampled: 0,
        }
    } else {
        Sender::Bare(ThreadedProducer::from_config_and_context(
            &config,
            deliveries.clone(),
        )?)
    };
    let records = arguments.records();
    for record in 0..WARM_UP {
        sender.send(&arguments.topic, &records, record)?;
    }
    deliveries.reach(WARM_UP).await?;

    part::say_ready();
    let before = Usage::own();
    let (mut pace, mut ticks) = (arguments.pace(), part::ticks());
    let began = Instant::now();
    while !pace.is_over() {
        for record in pace.due() {
            sender.send(&arguments.topic, &records, record)?;
        }
        if !pace.is_flat_out() {
            ticks.tick().await;
        } else if pace.sent() + WARM_UP > deliveries.delivered() + IN_FLIGHT {
            let room = pace.sent() + WARM_UP - IN_FLIGHT;
            deliveries.reach(room).await?;
        }
    }
    deliveries.reach(WARM_UP + arguments.records).await?;
    let seconds = began.elapsed().as_secs_f64();
    let sampled = sender.sampled();
    let report = part::shut_down(telemetry).await;
    let measured = Measured::new(seconds, before, sampled, report);
    sender.flush()?;
    Ok(measured)
}

impl Sender {
    fn send(&mut self, topic: &str, records: &Records, number: u64) -> anyhow::Result<()> {
        let record = BaseRecord::to(topic)
            .key(records.key(number))
            .payload(&records.value)
            .headers(records.headers());
        let sent = match self {
            Self::Bare(producer) => producer.send(record),
            Self::Traced {
                producer,
                tracer,
                sampled,
            } => {
                let root = Context::current_with_span(tracer.start("place order"));
                *sampled += u64::from(root.span().span_context().is_sampled());
                let _current = root.attach();
                producer.send_traced(record)
            }
        };
        sent.map_err(|(error, _)| error)
            .context("librdkafka refuses a record")
    }

    fn sampled(&self) -> u64 {
        match self {
            Self::Bare(_) => 0,
            Self::Traced { sampled, .. } => *sampled,
        }
    }

    fn flush(&self) -> anyhow::Result<()> {
        match self {
            Self::Bare(producer) => producer.flush(STALLED)?,
            Self::Traced { producer, .. } => producer.flush(STALLED)?,
        }
        Ok(())
    }
}
