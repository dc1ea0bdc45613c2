//! `bench hop`: what tracing costs a process that sends, and one that receives.
//!
//! *Paced*, both get records at one rate, and the processor time of each record is compared. *Flat
//! out*, they go as fast as they can, and the rates are compared.

use crate::bench::cluster::Cluster;
use crate::bench::mode::Mode;
use crate::bench::part::{PartArguments, PartProcess, Role, WARM_UP};
use crate::bench::run::{Process, Run, Spans};
use crate::bench::sink::SinkProcess;
use crate::bench::{Bench, Common};
use clap::Args;
use std::collections::BTreeMap;

/// Finished spans that may wait for the exporter: enough that a full queue is no measure of speed.
const SPAN_QUEUE: u32 = 262_144;

#[derive(Debug, Clone, Args)]
pub(crate) struct HopArguments {
    /// Records a second of the paced runs
    #[arg(long, value_name = "R", default_value_t = 20_000.0)]
    rate: f64,
    /// Records of each paced run
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    records: u64,
    /// Records of each run that goes as fast as it can; 0 leaves these runs out
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    flat_out_records: u64,
    /// What the runs that go as fast as they can trace; at 100 % they outrun the exporter and lose
    /// spans, which is said and fails
    #[arg(
        long,
        value_name = "MODE",
        value_delimiter = ',',
        default_value = "untraced,1%"
    )]
    flat_out_modes: Vec<Mode>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// One of the four things that are measured.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    role: Role,
    records: u64,
    rate: Option<f64>,
}

/// Runs all rounds; `bench` collects what each gives.
pub(crate) async fn run(arguments: &HopArguments, bench: &mut Bench) -> anyhow::Result<()> {
    let paced = (arguments.records, Some(arguments.rate));
    let flat_out = (arguments.flat_out_records, None);
    let scenarios = [
        ("produce, paced", Role::Produce, paced),
        ("consume, paced", Role::Consume, paced),
        ("produce, flat out", Role::Produce, flat_out),
        ("consume, flat out", Role::Consume, flat_out),
    ]
    .map(|(name, role, (records, rate))| Scenario {
        name,
        role,
        records,
        rate,
    });
    for round in 1..=arguments.common.rounds {
        for scenario in scenarios.iter().filter(|scenario| scenario.records > 0) {
            let modes = match scenario.rate {
                Some(_) => &arguments.common.modes,
                None => &arguments.flat_out_modes,
            };
            for mode in modes {
                bench.starts(scenario.name, *mode, round);
                let run = one(&arguments.common, bench, *scenario, *mode, round).await?;
                bench.took(run);
            }
        }
    }
    Ok(())
}

async fn one(
    common: &Common,
    bench: &Bench,
    scenario: Scenario,
    mode: Mode,
    round: u32,
) -> anyhow::Result<Run> {
    let (program, logs) = (bench.program(), bench.folder());
    let brokers = common.brokers.as_deref();
    let span_queue = common.span_queue.unwrap_or(SPAN_QUEUE);
    let cluster = Cluster::start(brokers, program, logs, scenario.records).await?;
    let sink = SinkProcess::start(program, logs, common.sink_forgets).await?;
    let part = |role: Role, records: u64, rate: Option<f64>| PartArguments {
        role,
        mode,
        brokers: cluster.brokers().to_owned(),
        topic: cluster.topic().to_owned(),
        records,
        rate,
        properties: match role {
            Role::Consume => cluster.consumer_properties().to_owned(),
            _ => String::new(),
        },
    };
    let start = async |role: Role, records: u64, rate: Option<f64>| {
        let arguments = part(role, records, rate);
        PartProcess::start(program, &arguments, sink.url(), span_queue).await
    };
    let Scenario { records, rate, .. } = scenario;
    let measured = match scenario.role {
        Role::Consume => {
            start(Role::Feed, WARM_UP, None).await?.result().await?;
            if rate.is_none() {
                start(Role::Feed, records, None).await?.result().await?;
            }
            let consumer = start(Role::Consume, records, None).await?;
            if rate.is_some() {
                start(Role::Feed, records, rate).await?.result().await?;
            }
            consumer.result().await?
        }
        _ => start(Role::Produce, records, rate).await?.result().await?,
    };
    let of_each = match scenario.role {
        Role::Produce => 2,
        _ => 1,
    };
    let expected = measured.sampled * of_each;
    let counts = sink.settled(expected).await?;
    sink.stop().await?;
    cluster.stop().await?;
    let records = scenario.records as f64;
    Ok(Run {
        scenario: scenario.name,
        mode,
        round,
        rate: records / measured.seconds,
        processes: vec![Process {
            name: "client",
            cpu: measured.cpu_seconds.map(|seconds| seconds * 1e6 / records),
            peak: measured.peak_bytes,
        }],
        spans: Spans {
            traces: scenario.records + WARM_UP,
            sampled: measured.sampled,
            expected,
            got: counts.spans,
            bytes: counts.bytes,
            requests: counts.requests,
        },
        latency: BTreeMap::new(),
    })
}
