//! `OrderStatusChanged`: how the payment of an order ended. Sent by `order-processor`, heard by
//! `orders-api`.

use crate::{EventId, OrderPlaced, ParseError};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// The payment was approved.
    Paid,
    /// The payment was declined: a result, not an error.
    Declined,
    /// The payment could not be made; the order is in the dead-letter topic.
    PaymentFailed,
}

impl OrderStatus {
    /// The name on the wire, in the databases and in telemetry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::PaymentFailed => "payment_failed",
        }
    }

    /// The status of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Paid, Self::Declined, Self::PaymentFailed]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The status of an order changed. Keyed by customer id like the event that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatusChanged {
    /// Derived from the id of the [`OrderPlaced`] event that caused it.
    pub event_id: EventId,
    /// The order.
    pub order_id: Uuid,
    /// Opaque id of the customer; the record's key.
    pub customer_id: String,
    /// What became of the order.
    pub status: OrderStatus,
    /// When the order was placed, copied from its cause: milliseconds since the Unix epoch.
    pub placed_at: i64,
}

impl OrderStatusChanged {
    /// The event that ends what `cause` began.
    pub fn caused_by(cause: &OrderPlaced, status: OrderStatus) -> Self {
        Self {
            event_id: EventId::derived(cause.event_id.as_uuid(), "order-status-changed"),
            order_id: cause.order_id,
            customer_id: cause.customer_id.clone(),
            status,
            placed_at: cause.placed_at,
        }
    }

    /// Reads the payload of a record.
    ///
    /// # Errors
    /// [`ParseError`] says where the payload departs from the contract.
    pub fn from_json(payload: Option<&[u8]>) -> Result<Self, ParseError> {
        Ok(serde_json::from_slice(payload.ok_or(ParseError::Empty)?)?)
    }

    /// The payload of the record.
    ///
    /// # Errors
    /// None that these types can cause; serde_json's signature has one.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../golden/order_status_changed.v1.json");
    const CAUSE: &str = include_str!("../golden/order_placed.v1.json");

    #[test]
    fn the_wire_format_is_the_golden_file() {
        let cause = OrderPlaced::from_json(Some(CAUSE.as_bytes())).unwrap();
        let event = OrderStatusChanged::caused_by(&cause, OrderStatus::PaymentFailed);
        let written: serde_json::Value = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(written, golden);
        assert_eq!(
            OrderStatusChanged::from_json(Some(GOLDEN.as_bytes())).unwrap(),
            event
        );
    }

    #[test]
    fn every_status_has_one_name() {
        for status in [
            OrderStatus::Paid,
            OrderStatus::Declined,
            OrderStatus::PaymentFailed,
        ] {
            assert_eq!(
                serde_json::to_value(status).unwrap(),
                serde_json::json!(status.as_str())
            );
            assert_eq!(OrderStatus::from_name(status.as_str()), Some(status));
        }
        assert_eq!(OrderStatus::from_name("pending"), None);
    }
}
