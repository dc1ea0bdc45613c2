//! What `payments` reads from its environment.

use service::database::Database;
use service::environment::HttpUrl;
use service::{Environment, Secret};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The database.
    pub database_url: Secret,
    /// The gateway; `None` starts the simulated one.
    pub gateway_url: Option<String>,
    /// Where the simulated gateway listens.
    pub simulated_gateway: SocketAddr,
    /// Longest time the gateway may take to answer.
    pub gateway_timeout: Duration,
}

impl Config {
    pub(crate) fn configure(environment: &mut Environment<'_>) -> Self {
        Self {
            listen: environment.read(
                "LISTEN_ADDR",
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8001)),
                "where the API listens; port 0 takes a free one",
            ),
            database_url: Database::configure(environment, "payments"),
            gateway_url: environment
                .read_optional(
                    "PAYMENT_GATEWAY_URL",
                    "the payment gateway; unset starts a simulated one",
                )
                .map(|HttpUrl(url)| url),
            simulated_gateway: environment.read(
                "SIMULATED_GATEWAY_ADDR",
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)),
                "where the simulated gateway listens",
            ),
            gateway_timeout: environment.milliseconds(
                "PAYMENT_GATEWAY_TIMEOUT_MS",
                Duration::from_secs(5),
                "longest time the gateway may take to answer",
            ),
        }
    }
}
