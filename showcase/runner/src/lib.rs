//! The showcase: the whole pipeline on one machine with one command, and the commands to use it.
//!
//! `cargo run` starts an embedded broker, the viewer and the services, each as a process of its
//! own, posts an order, prints its trace, and serves the controls of the live page. The other
//! commands post orders, print traces, show records, and put load on the pipeline and measure it.
//!
//! It is a library so that the end-to-end tests start the very stack that people start. Not here:
//! any behaviour of a service; what a demonstration needs is handed to it in its environment.

pub mod broker;
pub mod child;
pub mod cli;
pub mod query;
pub mod stack;

mod backlog;
mod bench;
mod control;
mod load;
mod order;
mod settings;
mod tail;
mod topics;
mod trace_view;
mod up;
