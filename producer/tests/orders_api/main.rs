//! The service as its callers see it: orders over HTTP, records on the broker, status events back.
//!
//! Not here: the statements of the store, and the traces, which are the showcase's to test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod accepting;
mod command_line;
mod hearing;
mod looking_up;
mod refusing;
mod world;
