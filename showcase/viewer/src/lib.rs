//! The viewer: OTLP in, whole traces and their logs in bounded memory; a live page and Jaeger's
//! query API v3 out.
//!
//! ```text
//! OTLP/HTTP -> otlp_http \                                   / page, live -> summary, join, topology
//!                          -> arrival -> store (bounded) ->
//! OTLP/gRPC -> otlp_grpc /               references          \ query -> parameters, otlp_json
//! ```
//!
//! Useful beside any services that send OTLP: of Kafka it knows what OpenTelemetry's conventions
//! say (`messaging`), and of orders nothing. It keeps what it holds in memory only. What reads a
//! real Jaeger reads this. It is not traced itself, since it would then be its own busiest sender.

mod arrival;
mod attributes;
mod config;
mod expansion;
mod host;
mod join;
mod json;
mod live;
mod messaging;
mod otlp_grpc;
mod otlp_http;
mod otlp_json;
mod page;
mod parameters;
mod query;
mod queue_wait;
mod record_context;
mod references;
mod server;
mod size;
mod store;
mod summary;
mod topology;

pub use config::Config;
pub use references::Place;
pub use server::{Error, Viewer, run};
pub use store::{Counts, Group, LogGroup, Received, Scope, Source, SpanId, Store, Trace, TraceId};
