//! Carries OpenTelemetry traces through Kafka records sent and received with rust-rdkafka.
//!
#![doc = include_str!("../README.md")]
//!
//! # Reading this crate
//!
//! A record leaves through `producer` and comes in through `consumer`. Between the two lie
//! `propagation` (context to headers and back) and `carrier` (how headers are written and read);
//! `raw_headers` shows them to code that does not propagate. `delivery` ends a send span; `parent`
//! and `queue_wait` tell where a process span belongs and how long its record waited. `error_type`
//! says what a failure is called, `client` which attributes a span gets, `semconv` how they are
//! named; `native` is all there is of `unsafe`. The crate knows the OpenTelemetry API and rdkafka,
//! and neither an SDK nor an exporter.

mod carrier;
mod client;
mod consumer;
mod delivery;
mod error_type;
mod native;
mod parent;
mod producer;
mod propagation;
mod queue_wait;
mod raw_headers;
mod semconv;

pub use carrier::{HeaderExtractor, HeaderInjector, RecordHeaders};
pub use consumer::TracedConsumer;
pub use error_type::ErrorType;
pub use parent::{Parent, ParseParentError};
pub use producer::TracedProducer;
pub use propagation::{extract, extract_with, inject, inject_with};
pub use raw_headers::raw_headers;
