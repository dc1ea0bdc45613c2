//! `bench pipeline`: what tracing costs the services, from the HTTP request to the status event.
//!
//! Each run starts the services anew, in one mode, warms them up and posts the same orders. The
//! broker, the sink and what sends the orders share the machine and are not in the figures.

use crate::bench::mode::Mode;
use crate::bench::run::{Process, Run, Spans};
use crate::bench::sink::SinkProcess;
use crate::bench::usage::Usage;
use crate::bench::{Bench, Common};
use crate::load::driver::{Driver, Outcome, Target};
use crate::load::schedule::{Limit, Pace, Plan as LoadPlan};
use crate::stack::{Broker, Plan, Ports, Stack};
use crate::topics;
use anyhow::bail;
use clap::Args;
use order_events::Topics;
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const SERVICES: [&str; 3] = ["orders-api", "order-processor", "payments"];
/// Spans of an order that is paid; `traces/joined.txt` has them all.
const SPANS: u64 = 16;
/// What the services have unless they are told otherwise.
const SPAN_QUEUE: u32 = 16_384;
/// How long processor time is counted on after the last order: longer than the time between two
/// exports, so that the last spans are in it. The same in every mode.
const TAIL: Duration = Duration::from_millis(1_500);

#[derive(Debug, Clone, Args)]
pub(crate) struct PipelineArguments {
    /// Orders of each run
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    orders: u64,
    /// Orders before that, which are not measured
    #[arg(long, value_name = "N", default_value_t = 500)]
    warm_up: u64,
    /// Orders at once, each from posting to its end
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: u32,
    /// Processes that share the topic of orders; each takes one order at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=12))]
    order_processors: u32,
    /// Orders a second instead, at a constant rate
    #[arg(long, value_name = "R", conflicts_with = "in_flight")]
    rate: Option<f64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Runs all rounds; `bench` collects what each gives.
pub(crate) async fn run(arguments: &PipelineArguments, bench: &mut Bench) -> anyhow::Result<()> {
    for round in 1..=arguments.common.rounds {
        for mode in &arguments.common.modes {
            bench.starts("pipeline", *mode, round);
            let run = one(arguments, bench, *mode, round).await?;
            bench.took(run);
        }
    }
    Ok(())
}

async fn one(
    arguments: &PipelineArguments,
    bench: &Bench,
    mode: Mode,
    round: u32,
) -> anyhow::Result<Run> {
    let common = &arguments.common;
    let sink = SinkProcess::start(bench.program(), bench.folder(), common.sink_forgets).await?;
    let data = TempDir::new_in(bench.folder())?;
    let topic_prefix = format!("throughline-bench-{}-", uuid::Uuid::new_v4().simple());
    let variables = mode.environment(sink.url(), common.span_queue.unwrap_or(SPAN_QUEUE));
    let plan = Plan {
        program: bench.program().to_owned(),
        broker: match &common.brokers {
            Some(brokers) => Broker::Real(brokers.clone()),
            None => Broker::Embedded,
        },
        topic_prefix: topic_prefix.clone(),
        data: data.path().to_owned(),
        ports: Ports::FREE,
        collector: Some(sink.url().to_owned()),
        environment: SERVICES
            .iter()
            .flat_map(|service| {
                variables
                    .iter()
                    .map(|(name, value)| ((*service).into(), (*name).into(), value.clone()))
            })
            .collect(),
    };
    let mut stack = Stack::start(plan, |_| {}).await?;
    for number in 2..=arguments.order_processors {
        stack.start_order_processor(number).await?;
    }
    let run = measure(arguments, &stack, &sink, &topic_prefix, mode, round).await;
    if run.is_err() {
        // Its logs are what explains it.
        let _kept = data.keep();
    }
    let run = run?;
    let complaints = stack.stop().await;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    sink.stop().await?;
    if let Some(brokers) = &common.brokers {
        topics::delete(brokers, &Topics::with_prefix(&topic_prefix).all()).await?;
    }
    Ok(run)
}

async fn measure(
    arguments: &PipelineArguments,
    stack: &Stack,
    sink: &SinkProcess,
    topic_prefix: &str,
    mode: Mode,
    round: u32,
) -> anyhow::Result<Run> {
    let target = Target {
        orders_api: stack.orders_api(),
        brokers: stack.brokers().to_owned(),
        topic_prefix: topic_prefix.to_owned(),
    };
    let post = async |orders: u64, pace: Pace| post(&target, orders, pace, mode).await;
    let warm_up = post(arguments.warm_up, Pace::InFlight(arguments.in_flight)).await?;
    tokio::time::sleep(TAIL).await;
    sink.settled(warm_up.sampled * SPANS).await?;

    let before = usages(stack, arguments.order_processors);
    let pace = match arguments.rate {
        Some(rate) => Pace::Rate(rate),
        None => Pace::InFlight(arguments.in_flight),
    };
    let outcome = post(arguments.orders, pace).await?;
    tokio::time::sleep(TAIL).await;
    let after = usages(stack, arguments.order_processors);
    let sampled = warm_up.sampled + outcome.sampled;
    let counts = sink.settled(sampled * SPANS).await?;

    let orders = arguments.orders as f64;
    let processes = before.into_iter().zip(after);
    let mut latency = BTreeMap::new();
    for (what, summary) in [
        (["accept p50", "accept p99"], outcome.accept.summary()),
        (
            ["end to end p50", "end to end p99"],
            outcome.end_to_end.summary(),
        ),
    ] {
        if let Some(summary) = summary {
            latency.insert(what[0], summary.p50);
            latency.insert(what[1], summary.p99);
        }
    }
    Ok(Run {
        scenario: "pipeline",
        mode,
        round,
        rate: orders / outcome.seconds,
        processes: processes
            .map(|((name, before), (_, after))| Process {
                name,
                cpu: before
                    .zip(after)
                    .map(|(before, after)| (after.cpu - before.cpu) * 1e6 / orders),
                peak: after.map(|usage| usage.peak),
            })
            .collect(),
        spans: Spans {
            traces: arguments.warm_up + arguments.orders,
            sampled,
            expected: sampled * SPANS,
            got: counts.spans,
            bytes: counts.bytes,
            requests: counts.requests,
        },
        latency,
    })
}

async fn post(target: &Target, orders: u64, pace: Pace, mode: Mode) -> anyhow::Result<Outcome> {
    let plan = LoadPlan {
        pace,
        limit: Limit {
            count: Some(orders),
            duration: None,
        },
        customers: 1_000,
        payment_methods: "pm_ok".parse().map_err(anyhow::Error::msg)?,
        sampling: mode.share(),
    };
    let driver = Driver::start(target, plan).await?;
    // A bench that is interrupted is dropped as a whole.
    let outcome = driver.run(CancellationToken::new()).await?;
    let paid = outcome.finished.get("paid").copied().unwrap_or_default();
    if paid != orders {
        bail!(
            "{paid} of {orders} orders were paid; refused: {:?}",
            outcome.refused
        );
    }
    Ok(outcome)
}

/// Of each service; those of several processes together, with the memory of the largest.
fn usages(stack: &Stack, order_processors: u32) -> Vec<(&'static str, Option<Usage>)> {
    let of = |name: &str| Usage::of(stack.child(name)?.id()?);
    let further = (2..=order_processors).map(|number| of(&format!("order-processor-{number}")));
    let processors = further.fold(of("order-processor"), |all, one| {
        let (all, one) = all.zip(one)?;
        Some(Usage {
            cpu: all.cpu + one.cpu,
            peak: all.peak.max(one.peak),
            resident: all.resident.max(one.resident),
        })
    });
    vec![
        ("orders-api", of("orders-api")),
        ("order-processor", processors),
        ("payments", of("payments")),
    ]
}
