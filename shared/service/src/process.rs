//! The life of a service process: read the environment, start telemetry, run until told to stop,
//! flush, leave with an exit code that says how it went.

mod healthcheck;

use crate::environment::Environment;
use std::process::ExitCode;
use telemetry::ServiceIdentity;
use tokio_util::sync::CancellationToken;

/// A service of the pipeline. `run` is where it lives; the rest is what a process needs to know.
pub trait Service {
    /// `service.name` in telemetry, and the name of the binary.
    const NAME: &'static str;
    /// `service.version` in telemetry.
    const VERSION: &'static str;
    /// One sentence for `--help`.
    const ABOUT: &'static str;
    /// What the environment is read into.
    type Config;

    /// Reads the configuration; faults are noted in `environment`.
    fn configure(environment: &mut Environment<'_>) -> Self::Config;

    /// Runs until `shutdown` is cancelled, then finishes what is in hand within a bounded time.
    ///
    /// # Errors
    /// Whatever keeps the service from starting or makes going on pointless.
    fn run(
        config: Self::Config,
        shutdown: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>>;
}

/// The whole of a service's `main`: `--help`, `--version`, `--healthcheck`, or else [`launch`] until
/// Ctrl-C or SIGTERM.
pub fn main<S: Service>() -> ExitCode {
    let arguments = clap::Command::new(S::NAME)
        .version(S::VERSION)
        .about(S::ABOUT)
        .arg(
            clap::Arg::new("healthcheck")
                .long("healthcheck")
                .action(clap::ArgAction::SetTrue)
                .help("Ask the service that runs with this environment whether it is ready; exit with 0 or 1"),
        )
        .after_help(variables_help::<S>())
        .get_matches();
    if arguments.get_flag("healthcheck") {
        return check_health::<S>();
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(async { launch::<S>(shutdown_on_signal()).await }),
        Err(error) => {
            eprintln!("{}: no runtime: {error}", S::NAME);
            ExitCode::FAILURE
        }
    }
}

/// Runs service `S` from the environment of this process until `shutdown` is cancelled, with
/// telemetry set up before and flushed after. Errors go to standard error; the exit code is 2 for
/// an environment that cannot be used, 1 for any other failure.
pub async fn launch<S: Service>(shutdown: CancellationToken) -> ExitCode {
    let mut environment = Environment::of_process();
    let config = S::configure(&mut environment);
    let config = match environment.finish(config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{}: {error}", S::NAME);
            return ExitCode::from(2);
        }
    };
    let identity = ServiceIdentity {
        name: S::NAME,
        version: S::VERSION,
    };
    let telemetry = match telemetry::init(identity) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{}: {error}", S::NAME);
            return ExitCode::from(2);
        }
    };
    tracing::info!(version = S::VERSION, "starting");
    let outcome = S::run(config, shutdown).await;
    match &outcome {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!("{} stops: {error:#}", S::NAME),
    }
    telemetry.shutdown().await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A token that is cancelled by the first Ctrl-C or SIGTERM.
///
/// # Panics
/// Outside a Tokio runtime: the task that listens is spawned on the current one.
pub fn shutdown_on_signal() -> CancellationToken {
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        token.cancel();
    });
    shutdown
}

#[cfg(unix)]
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard; Ctrl-C can");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() {
    let _ = tokio::signal::ctrl_c().await;
}

fn check_health<S: Service>() -> ExitCode {
    const VARIABLE: &str = "LISTEN_ADDR";
    let mut declared = Environment::from_fn(|_| None);
    S::configure(&mut declared);
    let default = declared
        .variables()
        .iter()
        .find(|variable| variable.name == VARIABLE)
        .map(|variable| variable.default.clone());
    let listen = Environment::of_process()
        .read_optional::<String>(VARIABLE, "")
        .or(default)
        .and_then(|address| address.parse().ok());
    let Some(listen) = listen else {
        eprintln!("{}: {VARIABLE} is not an address", S::NAME);
        return ExitCode::FAILURE;
    };
    match healthcheck::is_ready(listen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{}: not ready", S::NAME);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}: no answer from {listen}: {error}", S::NAME);
            ExitCode::FAILURE
        }
    }
}

fn variables_help<S: Service>() -> String {
    let mut environment = Environment::from_fn(|_| None);
    S::configure(&mut environment);
    let mut help = String::from("Environment:\n");
    for variable in environment.variables() {
        let default = match variable.default.as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        help.push_str(&format!(
            "  {:<32} {}{default}\n",
            variable.name, variable.about
        ));
    }
    help.push_str("\nLogging and telemetry: RUST_LOG, LOG_FORMAT and the standard OTEL_* variables (README.md).");
    help
}
