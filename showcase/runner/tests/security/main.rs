//! The pipeline on servers that do not take everybody: Kafka with TLS, SASL and access control,
//! PostgreSQL with TLS, a collector with TLS and a token. What is wrong is said at once, nothing is
//! lost, and no secret is shown.
//!
//! `.ci/full security` starts the servers and runs these; the feature `security` stands between them
//! and a plain `cargo test`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
