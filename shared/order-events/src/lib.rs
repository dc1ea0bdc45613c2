//! order-events
