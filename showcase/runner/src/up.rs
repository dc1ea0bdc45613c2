//! The main command: starts the stack, posts one order, prints its trace, and stays up until
//! Ctrl-C, doing what the live page's controls ask for.

use crate::backlog;
use crate::control::{Control, Wish};
use crate::order;
use crate::query::QueryApi;
use crate::settings::Settings;
use crate::stack::{Broker, Plan, Ports, Stack};
use anstyle::{AnsiColor, Style};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BOLD: Style = Style::new().bold();

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// Use this Kafka instead of the embedded broker; missing topics are created.
    /// KAFKA_SECURITY_PROTOCOL and what belongs to it count as for the services
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Folder for databases and logs, kept from run to run [default: a fresh one for each run]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    ports: Ports,
}

pub(crate) async fn run(arguments: UpArguments) -> anyhow::Result<()> {
    let shutdown = service::shutdown_on_signal();
    let data = DataFolder::open(arguments.data)?;
    let plan = Plan {
        program: std::env::current_exe().context("cannot find this program to start it again")?,
        broker: arguments.brokers.map_or(Broker::Embedded, Broker::Real),
        topic_prefix: String::new(),
        data: data.path(),
        ports: arguments.ports,
        collector: None,
        environment: Vec::new(),
    };
    let outcome = showcase(plan, &shutdown).await;
    if outcome.is_err() {
        data.keep();
    }
    outcome
}

async fn showcase(plan: Plan, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let embedded = plan.broker == Broker::Embedded;
    let control = Control::bind(plan.ports.control_port).await?;
    let mut plan = plan;
    plan.environment
        .push(("viewer".into(), "VIEWER_CONTROL_URL".into(), control.url()));
    println!(
        "Starting the pipeline; databases and logs are in {}\n",
        plan.data.display()
    );
    let start = Stack::start(plan, |ready| {
        anstream::println!(
            "  {GOOD}✓{GOOD:#} {:<16} {:<24} {:>6} ms",
            ready.name,
            ready.address,
            ready.took.as_millis()
        );
    });
    let mut stack = tokio::select! {
        started = start => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let addresses = Addresses {
        orders_api: stack.orders_api(),
        viewer: stack.viewer(),
        brokers: stack.brokers().to_owned(),
        embedded,
    };
    let mut wishes = control.serve(&addresses.viewer, &addresses.orders_api);
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        error = run_until_broken(&mut stack, &mut wishes) => Err(error),
        Err(error) = present(&addresses) => Err(error),
        () = warn_of_backlog(&addresses) => Ok(()),
    };
    println!("\nStopping: what is in hand is finished, and every span is sent.");
    let complaints = stack.stop().await;
    match (outcome, complaints.is_empty()) {
        (Ok(()), true) => Ok(()),
        (Ok(()), false) => bail!("{}", complaints.join("\n")),
        (Err(error), _) => Err(error),
    }
}

/// Does what the page asks for, until a child leaves of itself or cannot be started again.
async fn run_until_broken(stack: &mut Stack, wishes: &mut mpsc::Receiver<Wish>) -> anyhow::Error {
    let mut settings = Settings::default();
    loop {
        let wish = tokio::select! {
            ended = stack.child_ended() => return ended.into(),
            wish = wishes.recv() => wish,
        };
        let Some(wish) = wish else {
            return stack.child_ended().await.into();
        };
        if let Some(change) = wish.change
            && let Err(error) = settings.change(change, stack).await
        {
            _ = wish.answer.send(Err(format!("{error:#}")));
            return error;
        }
        // A page that was closed meanwhile needs no answer.
        _ = wish.answer.send(Ok(settings.clone()));
    }
}

struct Addresses {
    orders_api: String,
    viewer: String,
    brokers: String,
    embedded: bool,
}

/// Posts the sample order, shows its trace and says what can be done next; then it goes on for
/// ever.
///
/// # Errors
/// If the order is not accepted.
async fn present(addresses: &Addresses) -> anyhow::Result<()> {
    println!("\nPosting an order and waiting for its trace …");
    let posted = order::post(&addresses.orders_api, &order::sample()).await?;
    let query = QueryApi::new(&addresses.viewer)?;
    if let Err(error) = order::print_trace(&query, &posted).await {
        // Sampling may be off on purpose; the pipeline works all the same.
        eprintln!("{error:#}");
    }
    let Addresses {
        orders_api,
        viewer,
        brokers,
        ..
    } = addresses;
    anstream::println!(
        "
{BOLD}Live page{BOLD:#}    {viewer}
{BOLD}This trace{BOLD:#}   {viewer}/traces/{trace_id}
{BOLD}Orders API{BOLD:#}   {orders_api}
{BOLD}Kafka{BOLD:#}        {brokers}

Open the live page and post orders with a click, or here:

  curl -i {orders_api}/orders -H 'Content-Type: application/json' -d '{order}'

Or in another terminal:

  cargo run -- order --payment-method pm_fail_twice
  cargo run -- trace {trace_id}
  cargo run -- tail orders
",
        order = order::sample(),
        trace_id = posted.trace_id,
    );
    if addresses.embedded {
        println!(
            "The embedded broker is for trying things: in memory, about 5 MiB a partition.\n\
             --brokers HOST:PORT uses a real one."
        );
    }
    println!("\nCtrl-C stops everything.");
    std::future::pending().await
}

/// For ever; nothing to do on a real broker.
async fn warn_of_backlog(addresses: &Addresses) {
    if addresses.embedded {
        backlog::watch(&addresses.brokers, |warning| {
            anstream::eprintln!("{WARNING}warning:{WARNING:#} {warning}");
        })
        .await;
    }
    std::future::pending().await
}

/// Where databases and logs go.
enum DataFolder {
    Given(PathBuf),
    Fresh(TempDir),
}

impl DataFolder {
    fn open(given: Option<PathBuf>) -> anyhow::Result<Self> {
        match given {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot create the folder {}", folder.display()))?;
                Ok(Self::Given(std::path::absolute(folder)?))
            }
            None => Ok(Self::Fresh(
                tempfile::Builder::new().prefix("throughline-").tempdir()?,
            )),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Given(folder) => folder.clone(),
            Self::Fresh(folder) => folder.path().to_owned(),
        }
    }

    /// Leaves the logs of a run that failed where its messages say they are.
    fn keep(self) {
        if let Self::Fresh(folder) = self {
            let _kept = folder.keep();
        }
    }
}
