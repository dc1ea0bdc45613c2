//! The command line: what to do, and where output goes. Errors end here, as one message and exit
//! code 1.

use crate::bench::part::{self, PartArguments};
use crate::bench::sink::{self, SinkArguments};
use crate::bench::{self, BenchArguments};
use crate::broker::EmbeddedBroker;
use crate::load::{self, LoadArguments};
use crate::order::{self, OrderArguments};
use crate::tail::{self, TailArguments};
use crate::up::{self, UpArguments};
use clap::{Args, Parser, Subcommand};
use order_processor::OrderProcessor;
use orders_api::OrdersApi;
use payments::Payments;
use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use viewer::Viewer;

/// One trace, all the way through Kafka.
///
/// Without a command: starts an embedded broker, the viewer and the services, posts an order,
/// prints its trace, and stays up until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "throughline", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: UpArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Post orders to a running showcase and print their traces
    Order(OrderArguments),
    /// Print a trace that the viewer has
    Trace {
        /// Trace id, 32 hexadecimal digits
        trace_id: String,
        /// URL of the viewer
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8010")]
        viewer: String,
    },
    /// Show the records of a topic as they come, headers included
    Tail(TailArguments),
    /// Put load on a running pipeline, and tell how long orders take
    Load(LoadArguments),
    /// Measure what tracing costs
    Bench(BenchArguments),
    /// One half of a hop that is measured; leaves when its standard input closes
    #[command(hide = true)]
    Part(PartArguments),
    /// Takes spans and counts them; leaves when its standard input closes
    #[command(hide = true)]
    Sink(SinkArguments),
    /// The embedded broker as a process; leaves when its standard input closes
    #[command(hide = true)]
    Broker(BrokerArguments),
    /// One service as a process; leaves when its standard input closes
    #[command(subcommand, hide = true)]
    Service(Service),
}

#[derive(Debug, Args)]
struct BrokerArguments {
    #[arg(long)]
    listen: SocketAddr,
    /// NAME:PARTITIONS
    #[arg(long, value_parser = topic)]
    topic: Vec<(String, i32)>,
}

#[derive(Debug, Subcommand)]
enum Service {
    OrdersApi,
    OrderProcessor,
    Payments,
    Viewer(viewer::Config),
}

/// The whole of the program's `main`.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match runtime(&cli) {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    runtime.block_on(async {
        let outcome = match cli.command {
            None => up::run(cli.up).await,
            Some(Command::Order(arguments)) => order::run(arguments).await,
            Some(Command::Trace { trace_id, viewer }) => order::print_any(&viewer, &trace_id).await,
            Some(Command::Tail(arguments)) => tail::run(arguments).await,
            Some(Command::Load(arguments)) => load::run(arguments).await,
            Some(Command::Bench(arguments)) => bench::run(arguments).await,
            Some(Command::Part(arguments)) => {
                let shutdown = shutdown_with_parent();
                shutdown
                    .run_until_cancelled(part::run(arguments))
                    .await
                    .unwrap_or(Ok(()))
            }
            Some(Command::Sink(arguments)) => sink::serve(arguments, shutdown_with_parent()).await,
            Some(Command::Broker(arguments)) => broker(arguments).await,
            Some(Command::Service(service)) => return launch(service).await,
        };
        outcome.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
    })
}

fn runtime(cli: &Cli) -> std::io::Result<tokio::runtime::Runtime> {
    match cli.command {
        // One loop: a timer on another thread would wake two for each of its ticks.
        Some(Command::Part(_)) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Runtime::new(),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("throughline: {error:#}");
    ExitCode::FAILURE
}

async fn launch(service: Service) -> ExitCode {
    let shutdown = shutdown_with_parent();
    match service {
        Service::OrdersApi => service::launch::<OrdersApi>(shutdown).await,
        Service::OrderProcessor => service::launch::<OrderProcessor>(shutdown).await,
        Service::Payments => service::launch::<Payments>(shutdown).await,
        Service::Viewer(config) => view(config, shutdown)
            .await
            .map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS),
    }
}

async fn view(config: viewer::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let viewer = Viewer::bind(config).await?;
    println!("viewer listening on http://{}", viewer.listen_addr());
    println!("OTLP/HTTP listening on http://{}", viewer.otlp_http_addr());
    println!("OTLP/gRPC listening on http://{}", viewer.otlp_grpc_addr());
    viewer.serve(shutdown.cancelled_owned()).await;
    Ok(())
}

async fn broker(arguments: BrokerArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_with_parent();
    let broker = EmbeddedBroker::start(arguments.listen).await?;
    for (name, partitions) in &arguments.topic {
        broker.create_topic(name, *partitions)?;
    }
    println!("broker listening on {}", broker.address());
    shutdown.cancelled().await;
    Ok(())
}

/// Cancelled by a signal, or when standard input closes: whoever holds its other end is gone, or
/// wants us to leave.
fn shutdown_with_parent() -> CancellationToken {
    let shutdown = service::shutdown_on_signal();
    let token = shutdown.clone();
    // A thread of its own: the runtime would wait for a blocking read when it ends.
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
        token.cancel();
    });
    shutdown
}

fn topic(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = text.rsplit_once(':').ok_or("NAME:PARTITIONS is wanted")?;
    let partitions = partitions
        .parse()
        .map_err(|_| "the partitions are not a number")?;
    Ok((name.to_owned(), partitions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use service::Service as _;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_children_are_named_like_their_services() {
        for name in [
            OrdersApi::NAME,
            OrderProcessor::NAME,
            Payments::NAME,
            "viewer",
        ] {
            assert!(Cli::try_parse_from(["throughline", "service", name]).is_ok());
        }
    }
}
