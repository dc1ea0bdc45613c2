//! What the tests of the services stand on: a database of their own, a broker that takes any bytes,
//! a service as its own process, a server that plays the part of another.
//!
//! Behind the feature `testing`; no service is built with it. Faults of the set-up panic, and
//! nothing here waits longer than [`PATIENCE`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call these, and a test that cannot be set up has failed"
)]

mod answer;
mod broker;
mod database;
mod process;
mod stand_in;

pub use answer::{Answer, answer};
pub use broker::{Broker, CONSUMER_PROPERTIES, Record, StoredRecord};
pub use database::{Lock, TestDatabase, databases};
pub use process::{Exit, ServiceProcess, run_to_end, variables_in_help};
pub use stand_in::{Asked, CannedAnswer, StandIn};

use crate::{Environment, Service};
use axum::Router;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Longest wait for anything that should happen within a second or a few; only a test that fails
/// waits as long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration of `S` when these are its environment.
///
/// # Panics
/// If a variable is at fault.
pub fn configuration<S: Service>(variables: &[(&str, &str)]) -> S::Config {
    let mut environment = Environment::from_fn(|name| {
        variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    });
    let config = S::configure(&mut environment);
    environment.finish(config).unwrap()
}

/// Serves `router` until the test's runtime ends, and gives its URL, without a slash at the end.
///
/// # Panics
/// If no port is free.
pub async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// An address on this machine where nothing listens.
///
/// # Panics
/// If no port is free.
pub fn nowhere() -> SocketAddr {
    let listener = std::net::TcpListener::bind(loopback()).unwrap();
    listener.local_addr().unwrap()
}

/// A free port of this machine, to be bound.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
