//! The viewer from outside: OTLP sent over real sockets, answers read as any client reads them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of tests fails the test"
)]

mod fidelity;
mod grpc;
mod http;
mod lifecycle;
mod live;
mod logs;
mod page;
mod query;
mod running;
mod spans;
mod store;
