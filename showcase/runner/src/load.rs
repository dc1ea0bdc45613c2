//! `load`: orders at a constant rate, or a constant number at once, against a running pipeline, and
//! how long each took to be accepted and to end.
//!
//! The end of an order is heard on `order-status`, by a consumer of our own that reads beside the
//! services' group: asking the services would be a load of its own.

pub(crate) mod driver;
pub(crate) mod joined;
pub(crate) mod latency;
pub(crate) mod report;
pub(crate) mod schedule;

mod ledger;
mod mix;
mod statuses;

use anyhow::bail;
use clap::Args;
use driver::{Driver, Target};
use joined::JoinedCheck;
use mix::Mix;
use report::Report;
use schedule::{Limit, Pace, Plan};
use std::io::IsTerminal;
use std::time::Duration;

/// Between two lines of progress, on a terminal and elsewhere; the first always comes soon.
const PROGRESS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Orders a second, sent when they are due whatever became of those before; latency counts from
    /// then, so that a stall is not hidden [default: see --in-flight]
    #[arg(long, value_name = "R", conflicts_with = "in_flight", value_parser = positive)]
    rate: Option<f64>,
    /// Orders at once, from posting to the end of each; the next is sent when one ends [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: Option<u32>,
    /// How long orders are sent, such as 30s, 10m or 1h [default: 10s, unless --count is given]
    #[arg(long, value_name = "D", value_parser = schedule::duration)]
    duration: Option<Duration>,
    /// How many orders are sent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Different customers; an order's record is keyed by its customer
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    customers: u64,
    /// Payment methods with their shares, such as pm_ok=95,pm_declined=5
    #[arg(long, value_name = "MIX", default_value = "pm_ok")]
    payment_method: Mix,
    /// URL of the orders API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    orders_api: String,
    /// Where the status events are heard; localhost:19092 with docker compose.
    /// KAFKA_SECURITY_PROTOCOL and what belongs to it count as for the services
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// The TOPIC_PREFIX of the services
    #[arg(long, value_name = "TEXT", default_value = "")]
    topic_prefix: String,
    /// URL of the viewer, or of Jaeger, which is asked for up to 20 traces a second whether they
    /// joined; `none` asks nobody
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8010")]
    viewer: String,
    /// The share of traces that orders-api samples (OTEL_TRACES_SAMPLER_ARG), so that only those
    /// are asked for
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    sampling: f64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: LoadArguments) -> anyhow::Result<()> {
    let shutdown = service::shutdown_on_signal();
    let pace = match arguments.rate {
        Some(rate) => Pace::Rate(rate),
        None => Pace::InFlight(arguments.in_flight.unwrap_or(16)),
    };
    let limit = Limit {
        count: arguments.count,
        duration: match (arguments.duration, arguments.count) {
            (None, None) => Some(Duration::from_secs(10)),
            (duration, _) => duration,
        },
    };
    let target = Target {
        orders_api: arguments.orders_api,
        brokers: arguments.brokers,
        topic_prefix: arguments.topic_prefix,
    };
    let plan = Plan {
        pace,
        limit,
        customers: arguments.customers,
        payment_methods: arguments.payment_method,
        sampling: arguments.sampling,
    };
    let joined = match arguments.viewer.as_str() {
        "none" => None,
        viewer => JoinedCheck::start(viewer).await,
    };
    let mut driver = Driver::start(&target, plan).await?;
    if let Some(joined) = &joined {
        driver.tell_sampled(joined.questions());
    }
    let outcome = {
        let progress = driver.progress();
        let on_terminal = std::io::stderr().is_terminal();
        let [often, seldom] = PROGRESS;
        let telling = async move {
            let first = tokio::time::Instant::now() + often;
            let between = if on_terminal { often } else { seldom };
            let mut ticks = tokio::time::interval_at(first, between);
            loop {
                ticks.tick().await;
                let line = progress.line();
                if on_terminal {
                    eprint!("\r{line:<100}");
                } else {
                    eprintln!("{line}");
                }
            }
        };
        tokio::select! {
            outcome = driver.run(shutdown) => outcome?,
            () = telling => bail!("the progress ended"),
        }
    };
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let asked = match joined {
        Some(joined) => Some(joined.finish().await),
        None => None,
    };
    let report = Report::new(&outcome, asked);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    match report.complaint() {
        Some(complaint) => bail!("{complaint}"),
        None => Ok(()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("a number above 0, up to a million, is wanted".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("a number from 0 to 1 is wanted".to_owned()),
    }
}
