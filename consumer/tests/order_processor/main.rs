//! The service between a broker and a stand-in for payments: what becomes of each record.
//!
//! Not here: the statements of the store, and the traces of the whole pipeline, which are the
//! showcase's to test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod command_line;
mod dead_letters;
mod instrumented;
mod outcomes;
mod redelivery;
mod world;
