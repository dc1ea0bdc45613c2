//! An order as it comes in over HTTP: parsed into a value that is valid by its type, or refused
//! with every field at fault.

use order_events::Item;
use serde_json::{Map, Value};
use service::problem::FieldFault;

const MAX_ITEMS: usize = 100;
const MAX_QUANTITY: i64 = 1_000;
const MAX_UNIT_PRICE: i64 = 100_000_000;

/// An order that can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub customer: Customer,
    pub currency: String,
    pub payment_method: String,
    pub items: Vec<Item>,
}

/// Who orders. Name and e-mail address are personal: they go to the database of this service and
/// nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    pub id: String,
    pub name: String,
    pub email: String,
}

impl std::fmt::Debug for Customer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Customer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Order {
    /// Reads an order from the JSON of a request.
    ///
    /// # Errors
    /// Every field at fault, each with a JSON pointer and what it must be. Unknown fields are
    /// ignored.
    #[tracing::instrument(name = "validate order", skip_all)]
    pub(crate) fn parse(json: &Value) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Faults::default();
        let Some(root) = json.as_object() else {
            faults.add(String::new(), "must be an object");
            return Err(faults.0);
        };
        let customer = customer(root, &mut faults);
        let currency = text(
            root,
            "/currency",
            &mut faults,
            "must be three capital letters, an ISO 4217 code",
            |value| value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_uppercase()),
        );
        let payment_method = text(
            root,
            "/payment_method",
            &mut faults,
            "must be 1 to 64 of a-z, 0-9 and _",
            |value| is_token(value, |byte| byte.is_ascii_lowercase() || byte == b'_'),
        );
        let items = items(root, &mut faults);
        match (customer, currency, payment_method, items) {
            (Some(customer), Some(currency), Some(payment_method), Some(items))
                if faults.0.is_empty() =>
            {
                Ok(Self {
                    customer,
                    currency,
                    payment_method,
                    items,
                })
            }
            _ => Err(faults.0),
        }
    }
}

#[derive(Default)]
struct Faults(Vec<FieldFault>);

impl Faults {
    fn add(&mut self, pointer: String, detail: impl Into<String>) {
        self.0.push(FieldFault {
            pointer,
            detail: detail.into(),
        });
    }
}

fn customer(root: &Map<String, Value>, faults: &mut Faults) -> Option<Customer> {
    let Some(customer) = root.get("customer").and_then(Value::as_object) else {
        faults.add(
            "/customer".into(),
            "must be an object with id, name and email",
        );
        return None;
    };
    let id = text(
        customer,
        "/customer/id",
        faults,
        "must be 1 to 64 letters, digits, -, _ or .",
        is_identifier,
    );
    let name = text(
        customer,
        "/customer/name",
        faults,
        "must be 1 to 200 characters, none of them a control character",
        |value| {
            !value.trim().is_empty()
                && value.chars().count() <= 200
                && !value.chars().any(char::is_control)
        },
    );
    let email = text(
        customer,
        "/customer/email",
        faults,
        "must be an e-mail address of at most 254 bytes",
        is_email,
    );
    Some(Customer {
        id: id?,
        name: name?,
        email: email?,
    })
}

fn items(root: &Map<String, Value>, faults: &mut Faults) -> Option<Vec<Item>> {
    let Some(items) = root.get("items").and_then(Value::as_array) else {
        faults.add("/items".into(), "must be a list of items");
        return None;
    };
    if items.is_empty() || items.len() > MAX_ITEMS {
        faults.add("/items".into(), format!("must hold 1 to {MAX_ITEMS} items"));
        return None;
    }
    // Every item is looked at, so that every fault is named.
    let parsed: Vec<Option<Item>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| self::item(item, index, faults))
        .collect();
    parsed.into_iter().collect()
}

fn item(json: &Value, index: usize, faults: &mut Faults) -> Option<Item> {
    let Some(item) = json.as_object() else {
        faults.add(
            format!("/items/{index}"),
            "must be an object with sku, quantity and unit_price",
        );
        return None;
    };
    let sku = text(
        item,
        &format!("/items/{index}/sku"),
        faults,
        "must be 1 to 64 letters, digits, -, _ or .",
        is_identifier,
    );
    let quantity = integer(
        item,
        &format!("/items/{index}/quantity"),
        faults,
        1,
        MAX_QUANTITY,
    );
    let unit_price = integer(
        item,
        &format!("/items/{index}/unit_price"),
        faults,
        0,
        MAX_UNIT_PRICE,
    );
    Some(Item {
        sku: sku?,
        quantity: u32::try_from(quantity?).ok()?,
        unit_price: unit_price?,
    })
}

/// The field that `pointer` ends in, if it is a string that fits.
fn text(
    object: &Map<String, Value>,
    pointer: &str,
    faults: &mut Faults,
    rule: &str,
    fits: impl FnOnce(&str) -> bool,
) -> Option<String> {
    let value = field(object, pointer).and_then(Value::as_str);
    match value {
        Some(value) if fits(value) => Some(value.to_owned()),
        _ => {
            faults.add(pointer.to_owned(), rule);
            None
        }
    }
}

fn integer(
    object: &Map<String, Value>,
    pointer: &str,
    faults: &mut Faults,
    least: i64,
    most: i64,
) -> Option<i64> {
    match field(object, pointer).and_then(Value::as_i64) {
        Some(value) if (least..=most).contains(&value) => Some(value),
        _ => {
            faults.add(
                pointer.to_owned(),
                format!("must be an integer from {least} to {most}"),
            );
            None
        }
    }
}

fn field<'a>(object: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    pointer.rsplit('/').next().and_then(|name| object.get(name))
}

fn is_identifier(value: &str) -> bool {
    is_token(value, |byte| {
        byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.')
    })
}

fn is_token(value: &str, or_digit: impl Fn(u8) -> bool) -> bool {
    (1..=64).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || or_digit(byte))
}

fn is_email(value: &str) -> bool {
    value.len() <= 254
        && !value.chars().any(|c| c.is_whitespace() || c.is_control())
        && value
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid() -> Value {
        json!({
            "customer": {"id": "c-7", "name": "Ada Lovelace", "email": "ada@example.org"},
            "currency": "EUR",
            "payment_method": "pm_ok",
            "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
        })
    }

    fn pointers(json: &Value) -> Vec<String> {
        Order::parse(json)
            .unwrap_err()
            .into_iter()
            .map(|fault| fault.pointer)
            .collect()
    }

    #[test]
    fn a_valid_order_is_read_as_it_is() {
        let order = Order::parse(&valid()).unwrap();
        assert_eq!(order.customer.email, "ada@example.org");
        assert_eq!(
            order.items,
            [Item {
                sku: "book-1".into(),
                quantity: 2,
                unit_price: 1250
            }]
        );
    }

    #[test]
    fn every_field_at_fault_is_named() {
        assert_eq!(
            pointers(&json!({})),
            ["/customer", "/currency", "/payment_method", "/items"]
        );
        assert_eq!(
            pointers(&json!({
                "customer": {"id": "c 7", "email": "nobody"},
                "currency": "eur",
                "payment_method": "",
                "items": [{"sku": "", "quantity": 0, "unit_price": -1}, 5, {"sku": "a", "quantity": 1.5, "unit_price": "9"}]
            })),
            [
                "/customer/id",
                "/customer/name",
                "/customer/email",
                "/currency",
                "/payment_method",
                "/items/0/sku",
                "/items/0/quantity",
                "/items/0/unit_price",
                "/items/1",
                "/items/2/quantity",
                "/items/2/unit_price",
            ]
        );
        assert_eq!(pointers(&json!([])), [""]);
    }

    #[test]
    fn the_bounds_hold() {
        let mut json = valid();
        json["items"] = json!([]);
        assert_eq!(pointers(&json), ["/items"]);
        json["items"] = Value::Array(vec![valid()["items"][0].clone(); MAX_ITEMS + 1]);
        assert_eq!(pointers(&json), ["/items"]);
        json["items"] = json!([{"sku": "a", "quantity": 1_000, "unit_price": 100_000_000}]);
        assert!(Order::parse(&json).is_ok());
        json["items"] = json!([{"sku": "a", "quantity": u64::MAX, "unit_price": 1}]);
        assert_eq!(pointers(&json), ["/items/0/quantity"]);
    }

    #[test]
    fn a_customer_is_debug_printed_without_name_and_address() {
        let printed = format!("{:?}", Order::parse(&valid()).unwrap());
        assert!(printed.contains("c-7"));
        assert!(!printed.contains("Ada") && !printed.contains("example.org"));
    }
}
