//! What every service of the pipeline is made of, once: configuration from the environment, the
//! life of the process, a bounded HTTP server with problem+json errors and health routes, the
//! Kafka client settings, the loop that takes records one by one, and the database.
//!
//! A service is a library with `run(config, shutdown)` that implements [`Service`], and a
//! `main.rs` that calls [`main`]. The showcase's runner calls [`launch`] instead.
//!
//! Not here: anything about orders, and the telemetry set-up and edge spans, which are in
//! `telemetry` and `rdkafka-otel`.

mod connections;
mod consumer_lag;
pub mod database;
pub mod environment;
pub mod health;
pub mod http;
pub mod kafka;
pub mod problem;
mod process;
pub mod record_loop;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;

pub use environment::Environment;
pub use process::{Service, launch, main, shutdown_on_signal};
pub use secret::Secret;

/// What a setting that needs the feature `tls` is answered with in a build that lacks it.
pub(crate) const WITHOUT_TLS: &str =
    "this program was built without TLS: build it with --features tls";

/// jemalloc for Rust and, unprefixed, for librdkafka too: headers and spans are made on one thread
/// and freed on another, which is what glibc's arenas are slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
