//! The whole pipeline, as people start it: real processes, a broker, traces read back through the
//! query API and compared, span by span, with the trees under `traces/`.
//!
//! On the embedded broker by default, on any other by `KAFKA_BROKERS=host:port cargo test`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod cardinality;
mod collector;
mod commands;
mod cost;
mod edge;
mod faults;
mod outcomes;
mod privacy;
mod readme;
mod signals;
mod world;
