//! `order`: posts orders to a running showcase and prints their traces.

use crate::query::QueryApi;
use crate::trace_view;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for a trace: three tries at a gateway that hangs take 15 s.
const TRACE_LIMIT: Duration = Duration::from_secs(45);

#[derive(Debug, Args)]
pub(crate) struct OrderArguments {
    /// File with the order as JSON, `-` for standard input [default: a sample order]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Payment method, which chooses what the simulated gateway does: pm_ok, pm_declined,
    /// pm_fail_twice, pm_down, pm_hang, pm_slow or pm_many_methods
    #[arg(long, value_name = "TOKEN")]
    payment_method: Option<String>,
    /// How many orders to post
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// URL of the orders API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    orders_api: String,
    /// URL of the viewer
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8010")]
    viewer: String,
}

/// An order that was accepted.
pub(crate) struct Posted {
    pub order_id: String,
    pub trace_id: String,
}

/// The order that is posted unless another is given.
pub(crate) fn sample() -> Value {
    json!({
        "customer": {"id": "c-7", "name": "Ada Lovelace", "email": "ada@example.org"},
        "currency": "EUR",
        "payment_method": "pm_ok",
        "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
    })
}

pub(crate) async fn run(arguments: OrderArguments) -> anyhow::Result<()> {
    let mut order = match &arguments.json {
        None => sample(),
        Some(path) => read(path)?,
    };
    if let Some(token) = &arguments.payment_method {
        order["payment_method"] = json!(token);
    }
    let mut posted = Vec::new();
    for _ in 0..arguments.count {
        posted.push(post(&arguments.orders_api, &order).await?);
    }
    let query = QueryApi::new(&arguments.viewer)?;
    for order in &posted {
        print_trace(&query, order).await?;
    }
    Ok(())
}

fn read(path: &PathBuf) -> anyhow::Result<Value> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    let order: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    if !order.is_object() {
        bail!("{} does not hold a JSON object", path.display());
    }
    Ok(order)
}

/// Posts `order` and answers its ids.
pub(crate) async fn post(orders_api: &str, order: &Value) -> anyhow::Result<Posted> {
    let url = format!("{}/orders", orders_api.trim_end_matches('/'));
    let response = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()?
        .post(&url)
        .json(order)
        .send()
        .await
        .with_context(|| {
            format!("no orders API answers at {url}; start the showcase with `cargo run` first")
        })?;
    let status = response.status();
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url} answers {status}: {body}");
    }
    let body: Value = serde_json::from_str(&body)?;
    let field = |name: &str| {
        body[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("{url} answers without {name}; is OTEL_SDK_DISABLED set?"))
    };
    Ok(Posted {
        order_id: field("order_id")?,
        trace_id: field("trace_id")?,
    })
}

/// Waits until the trace of `posted` is whole, and prints it.
pub(crate) async fn print_trace(query: &QueryApi, posted: &Posted) -> anyhow::Result<()> {
    anstream::println!("\norder {}   trace {}\n", posted.order_id, posted.trace_id);
    match query.whole_trace(&posted.trace_id, TRACE_LIMIT).await? {
        Some(trace) => anstream::print!("{}", trace_view::render(&trace)),
        None => bail!(
            "the viewer has nothing of this trace after {TRACE_LIMIT:?}; is it sampled \
             (OTEL_TRACES_SAMPLER), and are traces exported (OTEL_TRACES_EXPORTER)?"
        ),
    }
    Ok(())
}

/// `trace`: prints any trace that the viewer has.
pub(crate) async fn print_any(viewer: &str, trace_id: &str) -> anyhow::Result<()> {
    match QueryApi::new(viewer)?.trace(trace_id).await? {
        Some(trace) => {
            anstream::print!("{}", trace_view::render(&trace));
            Ok(())
        }
        None => bail!(
            "the viewer at {viewer} has no trace {trace_id}; it may have been dropped for newer ones"
        ),
    }
}
