//! `payments`: charges an order once, and tells later whether that charge stands.
//!
//! ```text
//! http -> charge -> store
//!               \-> gateway (client) -> the third party
//! ```
//!
//! The third party is a real HTTP server. Unless `PAYMENT_GATEWAY_URL` names one, a simulated one
//! is started on a listener of its own; it knows nothing of tracing, as third parties do.
//!
//! Not here: what an order is, and any retry. Whoever asks for a charge repeats it with the same
//! idempotency key.

mod charge;
mod config;
mod gateway;
mod http;
mod simulated_gateway;
mod store;

pub use config::Config;

use gateway::Gateway;
use service::health::Readiness;
use service::http::{Api, Limits};
use service::{Environment, Service};
use store::Store;
use tokio_util::sync::CancellationToken;

/// The service, for `service::main` and the showcase's runner.
pub struct Payments;

impl Service for Payments {
    const NAME: &'static str = "payments";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Charges orders through a payment gateway, each once";
    type Config = Config;

    fn configure(environment: &mut Environment<'_>) -> Config {
        Config::configure(environment)
    }

    async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
        run(config, shutdown).await
    }
}

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
/// A listener that cannot be bound, a database that cannot be opened, or a server that breaks.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(config.database_url.expose()).await?;
    let simulation = match &config.gateway_url {
        Some(_) => None,
        None => Some(service::http::listen("payment gateway", config.simulated_gateway).await?),
    };
    let gateway_url = match (&config.gateway_url, &simulation) {
        (None, Some(listener)) => format!("http://{}", listener.local_addr()?),
        (url, _) => url.clone().unwrap_or_default(),
    };
    let listener = service::http::listen(Payments::NAME, config.listen).await?;
    let database = store.clone();
    let api = Api {
        router: http::routes(
            store.clone(),
            Gateway::new(&gateway_url, config.gateway_timeout)?,
        ),
        readiness: Readiness::default().check("database", move || {
            let store = database.clone();
            async move { store.ping().await.map_err(|error| error.to_string()) }
        }),
        trust_incoming_trace: true,
        limits: Limits::default(),
    };
    let simulate = async {
        match simulation {
            Some(listener) => simulated_gateway::serve(listener, shutdown.clone()).await,
            None => Ok(()),
        }
    };
    let ((), simulated) = tokio::join!(
        service::http::serve(listener, api, shutdown.clone()),
        simulate,
    );
    simulated?;
    store.close().await;
    Ok(())
}
