//! The compose file's parts as real programs, with the very configuration files under `deploy/`: the
//! pipeline on Apache Kafka, its spans through the OpenTelemetry Collector to Jaeger and the viewer.
//! What arrives is compared with the trees under `traces/`, read by the same client.
//!
//! `.ci/full observability` builds the programs, starts Kafka and Postgres and runs these. They need
//! minutes, so the feature `observability` stands between them and a plain `cargo test`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod consumer_group;
mod containers;
mod durability;
mod expected;
mod metrics;
mod operations;
mod otlp;
mod pipeline;
mod programs;
mod prometheus;
mod redaction;
mod sampling;
mod storage;
