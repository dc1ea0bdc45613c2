//! `bench soak`: the pipeline at a constant rate for a long time. Does it lose an order or a trace,
//! and does its memory grow?
//!
//! Unlike the other benches it sends spans to the viewer and asks there whether traces joined.

use crate::bench::machine::Machine;
use crate::bench::mode::Mode;
use crate::bench::usage::Usage;
use crate::load::driver::{Driver, Target};
use crate::load::joined::JoinedCheck;
use crate::load::report::Report as LoadReport;
use crate::load::schedule::{self, Limit, Pace, Plan as LoadPlan};
use crate::stack::{Broker, Plan, Ports, Stack};
use crate::topics;
use anyhow::{Context, bail};
use clap::Args;
use order_events::Topics;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at the memory.
const INTERVAL: Duration = Duration::from_secs(1);
/// In less than this a process still fills its caches, and growth says nothing.
const SHORTEST: Duration = Duration::from_secs(60);
/// Growth that is told, of what a process held a tenth of the way in: a share, and bytes.
const GROWTH: (f64, u64) = (0.1, 4_000_000);

#[derive(Debug, Clone, Args)]
pub(crate) struct SoakArguments {
    /// Orders a second
    #[arg(long, value_name = "R", default_value_t = 1_000.0)]
    rate: f64,
    /// How long
    #[arg(long, value_name = "D", default_value = "10m", value_parser = schedule::duration)]
    duration: Duration,
    /// What is traced: `untraced`, or a share
    #[arg(long, value_name = "MODE", default_value = "1%")]
    mode: Mode,
    /// Processes that share the topic of orders; each takes one order at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=12))]
    order_processors: u32,
    /// Use this Kafka instead of an embedded broker, whose partitions do not hold much
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct SoakReport<'a> {
    machine: Machine,
    mode: Mode,
    load: LoadReport<'a>,
    memory: Vec<Memory>,
    complaints: Vec<String>,
}

/// Bytes that one process held.
#[derive(Debug, Clone, Serialize, PartialEq)]
struct Memory {
    process: String,
    /// A tenth of the way in.
    early: u64,
    end: u64,
    peak: u64,
    /// Microseconds of processor time for an order.
    cpu: f64,
}

impl Memory {
    fn has_grown(&self) -> bool {
        let (share, bytes) = GROWTH;
        let allowed = (self.early as f64 * (1.0 + share)) as u64 + bytes;
        self.end > allowed
    }
}

pub(crate) async fn run(
    arguments: &SoakArguments,
    program: &Path,
    folder: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let topic_prefix = format!("throughline-bench-{}-", uuid::Uuid::new_v4().simple());
    let mut stack = Stack::start(plan(arguments, program, folder, &topic_prefix), |_| {}).await?;
    for number in 2..=arguments.order_processors {
        stack.start_order_processor(number).await?;
    }
    let outcome = soak(arguments, &stack, &topic_prefix, shutdown).await;
    let complaints = stack.stop().await;
    if let Some(brokers) = &arguments.brokers {
        topics::delete(brokers, &Topics::with_prefix(&topic_prefix).all()).await?;
    }
    outcome?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn plan(arguments: &SoakArguments, program: &Path, folder: &Path, topic_prefix: &str) -> Plan {
    let variables = arguments.mode.environment("", 16_384);
    let services = ["orders-api", "order-processor", "payments"];
    Plan {
        program: program.to_owned(),
        broker: match &arguments.brokers {
            Some(brokers) => Broker::Real(brokers.clone()),
            None => Broker::Embedded,
        },
        topic_prefix: topic_prefix.to_owned(),
        data: folder.to_owned(),
        ports: Ports::FREE,
        collector: None,
        environment: services
            .iter()
            .flat_map(|service| {
                variables
                    .iter()
                    // The viewer's is known when it runs.
                    .filter(|(name, _)| *name != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                    .map(|(name, value)| ((*service).into(), (*name).into(), value.clone()))
            })
            .collect(),
    }
}

async fn soak(
    arguments: &SoakArguments,
    stack: &Stack,
    topic_prefix: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let target = Target {
        orders_api: stack.orders_api(),
        brokers: stack.brokers().to_owned(),
        topic_prefix: topic_prefix.to_owned(),
    };
    let plan = LoadPlan {
        pace: Pace::Rate(arguments.rate),
        limit: Limit {
            count: None,
            duration: Some(arguments.duration),
        },
        customers: 1_000,
        payment_methods: "pm_ok".parse().map_err(anyhow::Error::msg)?,
        sampling: arguments.mode.share(),
    };
    let joined = JoinedCheck::start(&stack.viewer())
        .await
        .context("the viewer does not answer")?;
    let mut driver = Driver::start(&target, plan).await?;
    driver.tell_sampled(joined.questions());
    let progress = driver.progress();
    let mut watch = Watch::new(stack, arguments.order_processors);
    let watching = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        for tick in 0_u64.. {
            ticks.tick().await;
            watch.look();
            if tick % 10 == 9 {
                eprintln!("{}", progress.line());
            }
        }
    };
    let outcome = tokio::select! {
        outcome = driver.run(shutdown) => outcome?,
        () = watching => bail!("the watch ended"),
    };
    watch.look();
    let load = LoadReport::new(&outcome, Some(joined.finish().await));
    let memory = watch.memory(outcome.finished.values().sum());
    let mut complaints: Vec<String> = load.complaint().into_iter().collect();
    let is_long = arguments.duration >= SHORTEST;
    for process in memory.iter().filter(|it| is_long && it.has_grown()) {
        complaints.push(format!("the memory of {} grows", process.process));
    }
    let report = SoakReport {
        machine: Machine::this(),
        mode: arguments.mode,
        load,
        memory,
        complaints,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", text(&report));
    }
    if !report.complaints.is_empty() {
        bail!("{}", report.complaints.join("; "));
    }
    Ok(())
}

/// Looks at the memory of the services now and then.
struct Watch {
    processes: Vec<(String, u32)>,
    looks: Vec<Vec<Option<Usage>>>,
}

impl Watch {
    fn new(stack: &Stack, order_processors: u32) -> Self {
        let further = (2..=order_processors).map(|number| format!("order-processor-{number}"));
        let names = ["orders-api", "order-processor", "payments"].map(str::to_owned);
        let processes = names.into_iter().chain(further).filter_map(|name| {
            let id = stack.child(&name)?.id()?;
            Some((name, id))
        });
        Self {
            processes: processes.collect(),
            looks: Vec::new(),
        }
    }

    fn look(&mut self) {
        let ids = self.processes.iter();
        self.looks.push(ids.map(|(_, id)| Usage::of(*id)).collect());
    }

    /// Of those that are known; on a system without `/proc` of none.
    fn memory(&self, orders: u64) -> Vec<Memory> {
        let early = self.looks.get(self.looks.len() / 10);
        let each = self.processes.iter().enumerate();
        each.filter_map(|(index, (name, _))| {
            let of = |look: Option<&Vec<Option<Usage>>>| *look?.get(index)?;
            let (first, early, end) = (of(self.looks.first())?, of(early)?, of(self.looks.last())?);
            Some(Memory {
                process: name.clone(),
                early: early.resident,
                end: end.resident,
                peak: end.peak,
                cpu: (end.cpu - first.cpu) * 1e6 / orders.max(1) as f64,
            })
        })
        .collect()
    }
}

fn text(report: &SoakReport<'_>) -> String {
    let mut text = report.load.text();
    text.push_str(
        "\n| process | MB after a tenth | MB at the end | peak MB | CPU µs/order |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for Memory {
        process,
        early,
        end,
        peak,
        cpu,
    } in &report.memory
    {
        let megabytes = |bytes: &u64| *bytes as f64 / 1e6;
        // Writing to a `String` does not fail.
        let _ = writeln!(
            text,
            "| {process} | {:.1} | {:.1} | {:.1} | {cpu:.0} |",
            megabytes(early),
            megabytes(end),
            megabytes(peak)
        );
    }
    let _ = writeln!(
        text,
        "\nTraced: {}.\nMachine: {}.",
        report.mode, report.machine
    );
    for complaint in &report.complaints {
        let _ = writeln!(text, "\nFAILED: {complaint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_noticed_and_noise_is_not() {
        let grown = |early: u64, end: u64| {
            Memory {
                process: "orders-api".into(),
                early,
                end,
                peak: end,
                cpu: 0.0,
            }
            .has_grown()
        };
        assert!(!grown(30_000_000, 30_000_000));
        assert!(!grown(30_000_000, 36_900_000));
        assert!(grown(30_000_000, 37_100_000));
        assert!(!grown(30_000_000, 10_000_000));
    }
}
