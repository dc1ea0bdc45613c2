//! Kafka record headers as the carrier of a trace context, for any propagator: written on the way
//! out, read on the way in.
//!
//! Knows no header by meaning except that `tracestate` and `baggage` are lists; which headers are
//! written, and when, is the propagator's business (`propagation.rs`).
//!
//! Header content comes from anyone. Keys and values may be any bytes, repeated, null or huge;
//! nothing here panics on them, and memory is bounded by what the record itself holds.

use std::cell::OnceCell;
use std::ffi::CStr;

use opentelemetry::propagation::{Extractor, Injector};
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use crate::native::{self, HeaderValue};

/// Writes a propagator's fields into the headers of a record about to be sent.
///
/// A header list may hold a key more than once, and most readers take the last, some the first. So
/// that all of them see one truth, [`set`](Injector::set) replaces: it removes every header whose
/// key equals the given one, in any mix of ASCII case, and appends the new one. All other headers
/// keep their bytes and their order, null values and keys that are not UTF-8 included.
///
/// - An empty value removes and writes nothing: the SDK's W3C propagator sets an empty `tracestate`
///   whenever there is none.
/// - librdkafka ends keys at a NUL byte when it compares them: a header `traceparent\0…` is removed
///   with `traceparent`. A `set` whose own key holds a NUL byte does nothing at all.
///
/// ```
/// use opentelemetry::propagation::Injector;
/// use rdkafka::message::{Header, Headers, OwnedHeaders};
/// use rdkafka_otel::HeaderInjector;
///
/// let mut headers = OwnedHeaders::new()
///     .insert(Header { key: "Traceparent", value: Some("stale") })
///     .insert(Header { key: "tenant", value: Some("acme") });
/// HeaderInjector::new(&mut headers).set("traceparent", "fresh".to_owned());
///
/// let keys: Vec<_> = headers.iter().map(|header| header.key).collect();
/// assert_eq!(keys, ["tenant", "traceparent"]);
/// ```
pub struct HeaderInjector<'a> {
    headers: &'a mut OwnedHeaders,
}

impl<'a> HeaderInjector<'a> {
    /// An injector into these headers.
    pub fn new(headers: &'a mut OwnedHeaders) -> Self {
        Self { headers }
    }

    /// Removes every header that [`set`](Injector::set) with this key would replace.
    pub(crate) fn remove(&mut self, key: &str) {
        let mut index = 0;
        while let Some((found, _)) = native::at(self.headers.as_borrowed(), index) {
            if is_same_key(found, key) {
                // Owned, because removing destroys the string that was found. The headers before
                // this one do not match, so the same index is now the next to look at.
                let spelling = found.to_owned();
                native::remove(self.headers, &spelling);
            } else {
                index += 1;
            }
        }
    }
}

impl Injector for HeaderInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key.contains('\0') {
            return;
        }
        self.remove(key);
        if !value.is_empty() {
            native::append(self.headers, key.as_bytes(), Some(value.as_bytes()));
        }
    }
}

/// Reads a propagator's fields from the headers of a received record.
///
/// [`get`](Extractor::get) answers with the last header of that exact key, or, if there is none,
/// with the last whose key is the same but for ASCII case. That header alone decides: if its value
/// is null or not UTF-8 the answer is `None`, and no earlier one is dug out. Values are borrowed.
///
/// `tracestate` and `baggage` are lists that may be spread over several headers, which the W3C
/// specifications want combined in order. Only when they are repeated, and only then with a copy,
/// `get` joins them with commas, leaving out values that are null or not UTF-8.
pub struct HeaderExtractor<'a> {
    headers: &'a BorrowedHeaders,
    tracestate: OnceCell<String>,
    baggage: OnceCell<String>,
}

impl<'a> HeaderExtractor<'a> {
    /// An extractor from these headers.
    pub fn new(headers: &'a BorrowedHeaders) -> Self {
        Self {
            headers,
            tracestate: OnceCell::new(),
            baggage: OnceCell::new(),
        }
    }

    fn last(&self, key: &str) -> Option<&'a str> {
        let exact = native::with_c_key(key, |key| native::last(self.headers, key))?;
        exact
            .or_else(|| {
                self.in_order()
                    .rev()
                    .find(|(found, _)| is_same_key(found, key))
                    .map(|(_, value)| value)
            })
            .and_then(text)
    }

    /// The readable values of this key in order: of its exact spelling if there is one header with
    /// it, of any spelling otherwise.
    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let exact = native::with_c_key(key, |key| native::last(self.headers, key).is_some());
        self.in_order()
            .filter(move |(found, _)| match exact {
                Some(true) => found.to_bytes() == key.as_bytes(),
                Some(false) => is_same_key(found, key),
                None => false,
            })
            .filter_map(|(_, value)| text(value))
    }

    fn in_order(&self) -> impl DoubleEndedIterator<Item = (&'a CStr, HeaderValue<'a>)> {
        let headers = self.headers;
        (0..native::count(headers)).filter_map(move |index| native::at(headers, index))
    }

    /// Where the joined value of a list is kept, for the keys that are lists.
    fn joined(&self, key: &str) -> Option<&OnceCell<String>> {
        match key {
            "tracestate" => Some(&self.tracestate),
            "baggage" => Some(&self.baggage),
            _ => None,
        }
    }
}

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let Some(joined) = self.joined(key) else {
            return self.last(key);
        };
        if let Some(joined) = joined.get() {
            return Some(joined);
        }
        let mut values = self.all(key);
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(first);
        };
        Some(joined.get_or_init(|| {
            let mut list = [first, second].join(",");
            for value in values {
                list.push(',');
                list.push_str(value);
            }
            list
        }))
    }

    /// Every key that is UTF-8, in order, as often as it occurs.
    fn keys(&self) -> Vec<&str> {
        self.in_order()
            .filter_map(|(key, _)| key.to_str().ok())
            .collect()
    }

    /// Every value of this key that is neither null nor broken UTF-8, in order.
    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values: Vec<_> = self.all(key).collect();
        (!values.is_empty()).then_some(values)
    }
}

fn is_same_key(found: &CStr, key: &str) -> bool {
    found.to_bytes().eq_ignore_ascii_case(key.as_bytes())
}

fn text(value: HeaderValue<'_>) -> Option<&str> {
    std::str::from_utf8(value?).ok()
}

/// Headers that a trace context can be read from: those of a received record
/// ([`BorrowedHeaders`]) and those kept beyond it ([`OwnedHeaders`]). Not for other types.
pub trait RecordHeaders: sealed::Sealed {
    /// The headers as rdkafka lends them.
    fn as_borrowed(&self) -> &BorrowedHeaders;
}

impl RecordHeaders for BorrowedHeaders {
    fn as_borrowed(&self) -> &BorrowedHeaders {
        self
    }
}

impl RecordHeaders for OwnedHeaders {
    fn as_borrowed(&self) -> &BorrowedHeaders {
        OwnedHeaders::as_borrowed(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for rdkafka::message::BorrowedHeaders {}
    impl Sealed for rdkafka::message::OwnedHeaders {}
}

#[cfg(test)]
mod tests;
