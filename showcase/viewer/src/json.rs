//! OTLP JSON into the protobuf crate's types. By protobuf's rules for JSON a number may be a text,
//! and `"NaN"`, `"Infinity"` and `"-Infinity"` have to be; the crate's own decoding refuses that where
//! a double is meant, and with it the whole request.
//!
//! What it takes in memory is bounded in `expansion`.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Decodes a request.
///
/// # Errors
/// When it is not JSON, or not such a request.
pub(crate) fn decode<Request: DeserializeOwned>(body: &[u8]) -> Result<Request, Error> {
    serde_json::from_slice(body).or_else(|error| {
        // The longer way is only for who needs it; its errors name no place.
        let spelled = Spelled::Json(serde_json::from_slice(body)?);
        Request::deserialize(spelled).map_err(|_| error)
    })
}

/// A value in which doubles may be spelled.
enum Spelled {
    Json(Value),
    Double(f64),
}

impl Spelled {
    /// By the name of the field and not by the type that is asked for: the crate reads values into
    /// something of serde's first, which asks for none.
    fn field(name: &str, value: Value) -> Spelled {
        let double = match (name, value.as_str()) {
            ("doubleValue", Some(text)) => double(text),
            _ => None,
        };
        double.map_or(Spelled::Json(value), Spelled::Double)
    }
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // As Rust reads a number, but for other names of those above.
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

impl<'de> Deserializer<'de> for Spelled {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Spelled::Double(number) => visitor.visit_f64(number),
            Spelled::Json(Value::Array(items)) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Spelled::Json)))
            }
            Spelled::Json(Value::Object(fields)) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = Spelled::field(&name, value);
                    (name, value)
                });
                visitor.visit_map(MapDeserializer::new(fields))
            }
            Spelled::Json(scalar) => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Spelled::Json(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Spelled {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
