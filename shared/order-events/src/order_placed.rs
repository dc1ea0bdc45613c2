//! `OrderPlaced`: an order was accepted and awaits payment. Sent by `orders-api`, processed by
//! `order-processor`.

use crate::{EventId, ParseError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An order was accepted. Keyed by [`customer_id`](Self::customer_id), so that the orders of one
/// customer stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// Derived from the order's id: a second copy on the wire has the same one.
    pub event_id: EventId,
    /// The order.
    pub order_id: Uuid,
    /// Opaque id of the customer. Name and e-mail stay in the database of `orders-api`.
    pub customer_id: String,
    /// ISO 4217 code, three capital letters.
    pub currency: String,
    /// Token of the payment method.
    pub payment_method: String,
    /// What was ordered; never empty.
    pub items: Vec<Item>,
    /// Sum over the items in minor units of the currency.
    pub total: i64,
    /// When `orders-api` accepted the order, in milliseconds since the Unix epoch.
    pub placed_at: i64,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Stock keeping unit.
    pub sku: String,
    /// How many; at least 1.
    pub quantity: u32,
    /// Price of one in minor units of the currency (cents).
    pub unit_price: i64,
}

impl OrderPlaced {
    /// The event for an order that was just accepted. `total` is summed here; it saturates at the
    /// bounds of `i64`, which no order that `orders-api` accepts can reach.
    pub fn new(
        order_id: Uuid,
        customer_id: String,
        currency: String,
        payment_method: String,
        items: Vec<Item>,
        placed_at: i64,
    ) -> Self {
        Self {
            event_id: EventId::derived(order_id, "order-placed"),
            order_id,
            customer_id,
            currency,
            payment_method,
            total: total(&items),
            items,
            placed_at,
        }
    }

    /// Reads the payload of a record.
    ///
    /// # Errors
    /// [`ParseError`] says where the payload departs from the contract; unknown fields are allowed,
    /// so that the contract can grow.
    pub fn from_json(payload: Option<&[u8]>) -> Result<Self, ParseError> {
        let event: Self = serde_json::from_slice(payload.ok_or(ParseError::Empty)?)?;
        if event.items.is_empty() {
            return Err(ParseError::Invalid { field: "items" });
        }
        if event.items.iter().any(|item| item.quantity == 0) {
            return Err(ParseError::Invalid { field: "quantity" });
        }
        if event.items.iter().any(|item| item.unit_price < 0) {
            return Err(ParseError::Invalid {
                field: "unit_price",
            });
        }
        if event.total != total(&event.items) {
            return Err(ParseError::Invalid { field: "total" });
        }
        Ok(event)
    }

    /// The payload of the record.
    ///
    /// # Errors
    /// None that these types can cause; serde_json's signature has one.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

fn total(items: &[Item]) -> i64 {
    items.iter().fold(0, |sum: i64, item| {
        sum.saturating_add(i64::from(item.quantity).saturating_mul(item.unit_price))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../golden/order_placed.v1.json");

    fn event() -> OrderPlaced {
        OrderPlaced::new(
            Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap(),
            "c-7".into(),
            "EUR".into(),
            "pm_ok".into(),
            vec![Item {
                sku: "book-1".into(),
                quantity: 2,
                unit_price: 1250,
            }],
            1_763_800_000_123,
        )
    }

    #[test]
    fn the_wire_format_is_the_golden_file() {
        let written: serde_json::Value =
            serde_json::from_slice(&event().to_json().unwrap()).unwrap();
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(written, golden);
        assert_eq!(
            OrderPlaced::from_json(Some(GOLDEN.as_bytes())).unwrap(),
            event()
        );
    }

    #[test]
    fn a_field_of_tomorrow_is_ignored() {
        let newer = GOLDEN.replacen('{', "{\"added_later\": [1],", 1);
        assert_eq!(
            OrderPlaced::from_json(Some(newer.as_bytes())).unwrap(),
            event()
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        let cases: [(Option<&str>, &str); 6] = [
            (None, "the record has no payload"),
            (Some(""), "not JSON at line 1 column 0"),
            (
                Some("{\"order_id\": eve@example.org"),
                "not JSON at line 1 column 14",
            ),
            (
                Some("\"eve@example.org\""),
                "not the expected event at line 1 column 17",
            ),
            (
                Some(&GOLDEN.replace("2500", "2501")),
                "field total breaks the rules of the event",
            ),
            (
                Some(&GOLDEN.replace("\"quantity\": 2", "\"quantity\": 0")),
                "field quantity breaks the rules of the event",
            ),
        ];
        for (payload, expected) in cases {
            let error = OrderPlaced::from_json(payload.map(str::as_bytes)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
