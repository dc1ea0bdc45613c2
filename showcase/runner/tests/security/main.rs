//! The pipeline on servers that do not take everybody: Kafka with TLS, SASL and access control,
//! PostgreSQL with TLS, a collector with TLS and a token. What is wrong is said at once, nothing is
//! lost, and no secret is shown.
//!
//! `.ci/full security` starts the servers and runs these; the feature `security` stands between them
//! and a plain `cargo test`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../../../shared/telemetry/tests/collector/mod.rs"]
#[allow(dead_code, reason = "it is shared with telemetry's tests")]
mod collector;
#[path = "../observability/expected.rs"]
#[allow(dead_code, reason = "it is shared with the tests of observability")]
mod expected;

mod admin;
mod collector_over_tls;
mod pipeline;
mod postgres;
mod refusals;
mod rights;
mod secrets;
mod servers;
mod ways_in;
