//! The service as its callers see it: over HTTP, with the simulated gateway, or with one that each
//! test makes misbehave.
//!
//! Not here: the statements of the store, and what the service writes to a trace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod charging;
mod command_line;
mod gateways;
mod requests;
mod verifying;
mod world;
