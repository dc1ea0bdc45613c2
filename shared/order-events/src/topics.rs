//! Names of the topics, with the prefix that lets several set-ups share one broker.

/// The three topics of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// [`OrderPlaced`](crate::OrderPlaced) events, keyed by customer id.
    pub orders: String,
    /// [`OrderStatusChanged`](crate::OrderStatusChanged) events, keyed by customer id.
    pub order_status: String,
    /// Records of `orders` that could not be handled, as they came, with the reason in headers.
    pub orders_dlq: String,
}

impl Topics {
    /// The topics with `prefix` in front of each name; an empty prefix gives the plain names.
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            orders: format!("{prefix}orders"),
            order_status: format!("{prefix}order-status"),
            orders_dlq: format!("{prefix}orders.dlq"),
        }
    }

    /// All of them, for whoever creates topics.
    pub fn all(&self) -> [&str; 3] {
        [&self.orders, &self.order_status, &self.orders_dlq]
    }
}
