//! The contract between the services: what crosses Kafka, byte for byte.
//!
//! `orders-api` sends [`OrderPlaced`] on the topic `orders`; `order-processor` answers with
//! [`OrderStatusChanged`] on `order-status`, and puts what it cannot handle on `orders.dlq`.
//! The files under `golden/` pin the wire format; a test on each side of it reads and writes them.
//!
//! Not here: trace context (it travels in the record's headers, never in an event), the HTTP
//! representation of an order, and anything personal: a customer is an opaque id on the wire.

mod event_id;
mod order_placed;
mod order_status_changed;
mod parse_error;
mod topics;

pub use event_id::EventId;
pub use order_placed::{Item, OrderPlaced};
pub use order_status_changed::{OrderStatus, OrderStatusChanged};
pub use parse_error::ParseError;
pub use topics::Topics;
