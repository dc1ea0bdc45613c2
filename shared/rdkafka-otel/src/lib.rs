//! Carries OpenTelemetry traces through Kafka records sent and received with rust-rdkafka.
//!
#![doc = include_str!("../README.md")]
//!
//! # Reading this crate
//!
//! A record leaves through `producer` and comes in through `consumer`. Between the two lie
//! `propagation` (context to headers and back), `carrier` (how headers are written and read) and
//! `w3c` (the format, without an allocation); `raw_headers` shows headers to code that does not
//! propagate.
//!
//! `send` has the span of a record on its way out, `delivery` lets it travel to the delivery report,
//! `future_producer` does without that. `process` has the span of a record's processing; `parent`
//! and `queue_wait` tell where it belongs and how long its record waited; `commit` settles.
//! `error_type` says what a failure is called, `client` which attributes a span gets, `semconv` how
//! they are named, `metrics` what is counted, `topic` what a topic's records share; `native` is all
//! there is of `unsafe`. The crate knows the OpenTelemetry API and rdkafka, and neither an SDK nor an
//! exporter, but for `testing`.

#![deny(missing_docs)]
#![allow(
    clippy::result_large_err,
    clippy::type_complexity,
    reason = "rdkafka gives a record that was not sent back within the error, and so does this crate"
)]

mod carrier;
mod client;
mod commit;
mod consumer;
mod delivery;
mod error_type;
mod future_producer;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod native;
mod parent;
mod process;
mod producer;
mod propagation;
mod queue_wait;
mod raw_headers;
mod semconv;
mod send;
#[cfg(feature = "testing")]
pub mod testing;
mod topic;
mod w3c;

pub use carrier::{HeaderExtractor, HeaderInjector, RecordHeaders};
pub use commit::CommitTracer;
pub use consumer::TracedConsumer;
pub use delivery::{InFlight, SendTraced, TracedContext};
pub use error_type::ErrorType;
pub use parent::{Parent, ParseParentError};
pub use process::{ProcessSpan, ProcessTracer};
pub use producer::{DeliveryFuture, TracedProducer};
pub use propagation::{Missing, Propagation, extract, extract_with, inject, inject_with};
pub use raw_headers::raw_headers;
pub use send::SendTracer;
