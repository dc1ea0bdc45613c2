//! The viewer as a program of its own: options in, addresses printed, served until it is told to
//! stop. Everything else is in the library.

mod healthcheck;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use viewer::{Config, Viewer};

/// Spans are decoded on one thread and freed on another, many small pieces of them at a time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Takes traces and logs over OTLP, keeps them in memory, shows them on a live page, and answers
/// Jaeger's query API v3.
#[derive(Parser)]
#[command(name = "viewer", version)]
struct Command {
    #[command(flatten)]
    config: Config,
    /// Ask the viewer that runs with these options whether it answers; exit with 0 or 1
    #[arg(long)]
    healthcheck: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    if command.healthcheck {
        return match healthcheck::ask(command.config.listen) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                _ = writeln!(std::io::stderr(), "error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve(command.config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed standard error either.
            _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    // Before the addresses are printed: whoever reads them may send the signal at once.
    let shutdown = shutdown_signal()?;
    let viewer = Viewer::bind(config).await?;
    // A closed standard output is no reason not to serve.
    _ = write!(
        std::io::stdout(),
        "viewer listening on http://{}\n\
         viewer takes OTLP/HTTP on http://{}\n\
         viewer takes OTLP/gRPC on http://{}\n",
        viewer.listen_addr(),
        viewer.otlp_http_addr(),
        viewer.otlp_grpc_addr(),
    );
    viewer.serve(shutdown).await;
    Ok(())
}

/// Ctrl-C, and what service managers send.
#[cfg(unix)]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ctrl-C.
#[cfg(not(unix))]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        _ = tokio::signal::ctrl_c().await;
    })
}
