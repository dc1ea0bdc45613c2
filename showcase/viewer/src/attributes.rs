//! Attributes as readers ask for them, a key or a key with its value as text, and an index that
//! says without a look at the spans that a group cannot have what is asked for.
//!
//! The index is made on arrival, outside the store's lock. It may say "perhaps" wrongly, never "no".

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, BuildHasherDefault};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::store::Group;

/// Hashes of the keys, and of the keys with their values, of all spans of a group; sorted. A sender
/// that aims at collisions only makes the spans be looked at.
#[derive(Debug)]
pub(crate) struct Index(Box<[u32]>);

impl Index {
    pub(crate) fn of(spans: &[Span]) -> Index {
        let mut hashes = Vec::new();
        for pair in spans.iter().flat_map(|span| &span.attributes) {
            hashes.push(hash(&pair.key, None));
            if let Some(value) = pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                hashes.extend(Scalar::of(value).map(|value| hash(&pair.key, Some(value))));
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        Index(hashes.into())
    }

    /// What it has allocated.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    fn has_any(&self, hashes: &[u32]) -> bool {
        let mut hashes = hashes.iter();
        hashes.any(|hash| self.0.binary_search(hash).is_ok())
    }
}

/// A value that can be asked for as text.
#[derive(Hash)]
enum Scalar<'a> {
    Text(&'a str),
    Truth(bool),
    Whole(i64),
    /// The bits of a number, of which zero has one sign.
    Real(u64),
}

impl Scalar<'_> {
    fn of(value: &Value) -> Option<Scalar<'_>> {
        match value {
            Value::StringValue(text) => Some(Scalar::Text(text)),
            Value::BoolValue(truth) => Some(Scalar::Truth(*truth)),
            Value::IntValue(number) => Some(Scalar::Whole(*number)),
            Value::DoubleValue(number) => Some(Scalar::Real((number + 0.0).to_bits())),
            _ => None,
        }
    }

    /// Every value that is written so.
    fn written(text: &str) -> impl Iterator<Item = Scalar<'_>> {
        let truth = text.parse().ok().map(Scalar::Truth);
        let whole = text.parse().ok().map(Scalar::Whole);
        let real = text.parse::<f64>().ok();
        let real = real.map(|number| Scalar::Real((number + 0.0).to_bits()));
        let typed = [truth, whole, real].into_iter().flatten();
        typed.chain([Scalar::Text(text)])
    }
}

fn hash(key: &str, value: Option<Scalar<'_>>) -> u32 {
    // Half of it tells apart well enough, in half of the memory.
    BuildHasherDefault::<DefaultHasher>::default().hash_one((key, value)) as u32
}

/// An attribute that is asked for: a key, and its value as text unless any will do.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    key: String,
    value: Option<String>,
    hashes: Vec<u32>,
}

impl Asked {
    pub(crate) fn new(key: &str, value: Option<&str>) -> Asked {
        let hashes = match value {
            None => vec![hash(key, None)],
            Some(text) => Scalar::written(text)
                .map(|value| hash(key, Some(value)))
                .collect(),
        };
        Asked {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            hashes,
        }
    }

    /// Whether one of the attributes is it.
    pub(crate) fn is_in(&self, attributes: &[KeyValue]) -> bool {
        let mut with_key = attributes.iter().filter(|pair| pair.key == self.key);
        with_key.any(|pair| match (&self.value, &pair.value) {
            (None, _) => true,
            (Some(wanted), Some(AnyValue { value: Some(found) })) => is_written(found, wanted),
            _ => false,
        })
    }

    /// Whether the resource of the group has it.
    pub(crate) fn is_in_resource(&self, group: &Group) -> bool {
        let resource = group.source.resource.as_ref();
        resource.is_some_and(|resource| self.is_in(&resource.attributes))
    }

    /// Whether some span of the group may have it.
    pub(crate) fn may_be_in_spans(&self, group: &Group) -> bool {
        group.index.has_any(&self.hashes)
    }

    /// Whether some span of the group, or its resource, has it.
    pub(crate) fn is_in_group(&self, group: &Group) -> bool {
        self.is_in_resource(group)
            || (self.may_be_in_spans(group)
                && group.spans.iter().any(|span| self.is_in(&span.attributes)))
    }
}

/// Whether a value is written so; strings, truth values and numbers.
pub(crate) fn is_written(value: &Value, text: &str) -> bool {
    match value {
        Value::StringValue(value) => value == text,
        Value::BoolValue(value) => text.parse() == Ok(*value),
        Value::IntValue(value) => text.parse() == Ok(*value),
        Value::DoubleValue(value) => text.parse() == Ok(*value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(value: Value) -> Span {
        Span {
            attributes: vec![KeyValue {
                key: "k".to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }],
            ..Span::default()
        }
    }

    #[test]
    fn the_index_has_all_that_the_spans_have_and_little_else() {
        let texts = [
            "", "x", "7", "+7", "007", "7.0", "0", "-0", "true", "NaN", "inf",
        ];
        let values = [
            Value::StringValue("7".to_owned()),
            Value::StringValue("x".to_owned()),
            Value::BoolValue(true),
            Value::IntValue(7),
            Value::IntValue(0),
            Value::DoubleValue(7.0),
            Value::DoubleValue(-0.0),
            Value::DoubleValue(f64::NAN),
            Value::DoubleValue(f64::INFINITY),
            Value::BytesValue(vec![55]),
        ];
        for value in values {
            let spans = [span(value)];
            let index = Index::of(&spans);
            let holds = |key: &str, value: Option<&str>| {
                let asked = Asked::new(key, value);
                let is_in = asked.is_in(&spans[0].attributes);
                (is_in, index.has_any(&asked.hashes))
            };
            assert_eq!(holds("k", None), (true, true), "{spans:?}");
            assert_eq!(holds("other", None), (false, false), "{spans:?}");
            for text in texts {
                let (is_in, may_be) = holds("k", Some(text));
                // A number that is none equals nothing, and has its bits all the same.
                assert_eq!(is_in, may_be && text != "NaN", "{text} in {spans:?}");
                assert_eq!(holds("other", Some(text)), (false, false));
            }
        }
    }
}
