//! The trace as a text that people read and tests hold.
//!
//! A backend's answer (OTLP JSON) goes in as [`Trace::from_otlp_json`]; [`render`] writes the span
//! tree in one canonical form, and [`compare`] holds it against an expected text, kept in a file
//! that the README shows too (through [`outline`]). One source, so the picture cannot drift from
//! the program.
//!
//! ```text
//! orders-api: POST /orders SERVER
//!   .http.response.status_code = 202
//!   orders-api: send orders PRODUCER
//!     .messaging.destination.name = "orders"
//!     order-processor: process orders CONSUMER
//!       ->link send orders (parent)
//!       .messaging.kafka.offset = *
//!       !error payment_unavailable
//!       @exception exception.message=* exception.type="Timeout"
//! ```
//!
//! Under a span stand, two spaces deeper: its links in the order given, its attributes by key, its
//! status unless unset (`!ok`, or `!error` and the description), its events by time, its children
//! by start time. A link's own attributes stand under the link. Values are JSON literals, so that
//! `5` and `"5"` differ. A name that would read as something else is written as a JSON string.
//!
//! In an expected text `*` in the place of a value (or of an error's description) matches anything
//! that is there; lines starting with `#` and blank lines are comments. There are no other
//! patterns: whatever the trace has and the text has not is a mismatch, and the reverse.
//!
//! It does not fetch traces, wait for them, or print for a terminal. Ids, times, the resource
//! (beyond `service.name`) and the scope are in [`Span`] and not in the text: they differ between
//! runs, or are better asserted once than in every line.

mod compare;
mod expected;
mod literal;
mod otlp_json;
#[cfg(feature = "sdk")]
mod sdk;
mod text;
mod trace;
mod tree;

pub use compare::{Mismatch, compare};
pub use expected::{ExpectedError, outline};
pub use otlp_json::OtlpJsonError;
pub use trace::{Event, Kind, Link, Span, Status, Trace, Value};
pub use tree::render;
