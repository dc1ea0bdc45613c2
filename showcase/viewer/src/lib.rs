//! The viewer: OTLP in, whole traces in bounded memory, Jaeger's query API v3 out.
//!
//! ```text
//! OTLP/HTTP -> otlp_http \                       / query -> otlp_json
//!                          -> store (bounded) ->
//! OTLP/gRPC -> otlp_grpc /                       \ parameters, host
//! ```
//!
//! Useful beside any services that send OTLP: it knows nothing of orders or Kafka. It takes traces
//! only, keeps them in memory only, and answers one client's API: what reads a real Jaeger reads
//! this. It is not traced itself, since it would then be its own busiest sender.

mod config;
mod host;
mod otlp_grpc;
mod otlp_http;
mod otlp_json;
mod parameters;
mod query;
mod server;
mod size;
mod store;

pub use config::Config;
pub use server::{Error, Viewer, run};
pub use store::{Counts, Group, Received, Scope, Source, Store, Trace, TraceId};
