//! `bench`: what tracing costs, in processor time, in throughput and in memory, with the spans
//! counted where they arrive.
//!
//! Modes run in turn within a round and each is compared with the untraced run of its own round. A
//! run whose spans do not all arrive is told as failed: a fast rate with lost spans is no result.
//! Not here: times of single functions, which `shared/rdkafka-otel/benches` has.

pub(crate) mod mode;
pub(crate) mod part;
pub(crate) mod sink;
pub(crate) mod usage;

mod cluster;
mod consume;
mod feed;
mod hop;
mod machine;
mod pipeline;
mod produce;
mod report;
mod run;
mod soak;
mod span_count;
mod summary;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hop::HopArguments;
use mode::Mode;
use pipeline::PipelineArguments;
use run::Run;
use soak::SoakArguments;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One process that sends records and one that receives them: processor time a record at a
    /// constant rate, and how fast each can go
    Hop(HopArguments),
    /// The whole pipeline, HTTP to Kafka to payment to status: orders a second, and processor time
    /// an order of each service
    Pipeline(PipelineArguments),
    /// The pipeline at a constant rate for a long time: orders and traces lost, and memory that grows
    Soak(SoakArguments),
}

/// What both take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Use this Kafka instead of embedded brokers; topics are created and deleted
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// How often each mode runs; the modes take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What is traced: `untraced`, or a share
    #[arg(
        long,
        value_name = "MODE",
        value_delimiter = ',',
        default_value = "untraced,1%,100%"
    )]
    modes: Vec<Mode>,
    /// Finished spans that may wait for the exporter (OTEL_BSP_MAX_QUEUE_SIZE) [default: 262144 for
    /// hop, and for pipeline 16384, as the services have it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    span_queue: Option<u32>,
    /// Print JSON, every run included; the table goes to standard error then
    #[arg(long)]
    json: bool,
    /// Let the sink forget every Nth request, to see that it is noticed
    #[arg(long, hide = true, default_value_t = 0)]
    sink_forgets: u64,
}

/// A bench that is going on, and what it has so far.
pub(crate) struct Bench {
    program: PathBuf,
    folder: TempDir,
    runs: Vec<Run>,
}

pub(crate) async fn run(arguments: BenchArguments) -> anyhow::Result<()> {
    let shutdown = service::shutdown_on_signal();
    let mut bench = Bench {
        program: std::env::current_exe().context("cannot find this program to start it again")?,
        folder: tempfile::Builder::new()
            .prefix("throughline-bench-")
            .tempdir()?,
        runs: Vec::new(),
    };
    for warning in machine::warnings() {
        eprintln!("warning: {warning}");
    }
    let (common, of_what) = match &arguments.what {
        What::Hop(hop) => (hop.common.clone(), "hop"),
        What::Pipeline(pipeline) => (pipeline.common.clone(), "pipeline"),
        What::Soak(soak) => {
            return soak::run(soak, bench.program(), bench.folder(), shutdown).await;
        }
    };
    let outcome = tokio::select! {
        biased;
        // What is going on is dropped, and its processes with it.
        () = shutdown.cancelled() => Ok(()),
        outcome = async {
            match &arguments.what {
                What::Hop(arguments) => hop::run(arguments, &mut bench).await,
                What::Pipeline(arguments) => pipeline::run(arguments, &mut bench).await,
                What::Soak(_) => Ok(()),
            }
        } => outcome,
    };
    if let Err(error) = outcome {
        let folder = bench.folder.keep();
        return Err(error.context(format!("logs are in {}", folder.display())));
    }
    let report = report::Report::new(of_what, common.brokers.is_some(), bench.runs);
    let table = report.table();
    if common.json {
        eprintln!("{table}");
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{table}");
    }
    match report.complaints().len() {
        0 => Ok(()),
        1 => bail!("a run is no result; see above"),
        several => bail!("{several} complaints; see above"),
    }
}

impl Bench {
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Where the logs of its processes go.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn starts(&self, scenario: &str, mode: Mode, round: u32) {
        eprint!("round {round}  {scenario:<18} {:<9} ", mode.to_string());
    }

    fn took(&mut self, run: Run) {
        let cpu = run
            .cpu()
            .map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.2}"));
        eprintln!(
            "{:>9.0} /s  {cpu:>8} µs CPU each  {} of {} spans",
            run.rate, run.spans.got, run.spans.expected
        );
        for complaint in run.complaints() {
            eprintln!("  FAILED: {complaint}");
        }
        self.runs.push(run);
    }
}
