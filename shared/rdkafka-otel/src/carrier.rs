//! Kafka record headers as the carrier of a trace context, for any propagator: written on the way
//! out, read on the way in.
//!
//! Knows no header by meaning except that `tracestate` and `baggage` are lists; which headers are
//! written, and when, is the propagator's business (`propagation.rs`).
//!
//! Header content comes from anyone. Keys and values may be any bytes, repeated, null or huge;
//! nothing here panics on them, and memory is bounded by what the record itself holds.

use std::borrow::Cow;
use std::cell::OnceCell;

use opentelemetry::propagation::{Extractor, Injector};
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use crate::native::{self, Entry, HeaderValue};
use crate::w3c;

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
        remove_fields(self.headers, &[key]);
    }
}

/// Removes every header with one of these keys, in any mix of ASCII case, in one pass.
pub(crate) fn remove_fields(headers: &mut OwnedHeaders, keys: &[&str]) {
    // The usual case when a record is sent, and the shortest call that tells.
    if native::count(headers.as_borrowed()) == 0 {
        return;
    }
    let mut index = 0;
    while let Some(found) = native::at(headers.as_borrowed(), index) {
        let initial = found.initial();
        let is_field = |key: &&str| {
            let first = key.bytes().next().unwrap_or(0);
            first.eq_ignore_ascii_case(&initial) && is_same_key(&found, key)
        };
        if !keys.iter().any(is_field) {
            index += 1;
            continue;
        }
        // The headers before this one do not match, so the same index is now the next to look at.
        native::remove_like(headers, index);
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
/// `get` joins them with commas, leaving out values that are null or not UTF-8. What they may hold
/// is bounded as the specifications say: a `tracestate` of more than 32 entries is not given out,
/// one of more than 512 characters is shortened by whole entries, those over 128 characters first;
/// of `baggage` as many whole members are given out as fit 64 and 8192 bytes.
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
        self.last_bytes(key).and_then(text)
    }

    /// The value of the header that decides, if there is one.
    pub(crate) fn last_bytes(&self, key: &str) -> Option<HeaderValue<'a>> {
        let mut other_case = None;
        for found in self.in_order().rev() {
            if is_exactly(&found, key) {
                return Some(found.value);
            }
            if other_case.is_none() && is_same_key(&found, key) {
                other_case = Some(found.value);
            }
        }
        other_case
    }

    /// The readable values of this key in order: of its exact spelling if there is one header with
    /// it, of any spelling otherwise.
    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let has_exact = self.in_order().any(|found| is_exactly(&found, key));
        self.in_order()
            .filter(move |found| match has_exact {
                true => is_exactly(found, key),
                false => is_same_key(found, key),
            })
            .filter_map(|found| text(found.value))
    }

    fn in_order(&self) -> impl DoubleEndedIterator<Item = Entry<'a>> {
        let headers = self.headers;
        (0..native::count(headers)).filter_map(move |index| native::at(headers, index))
    }

    /// The values of a list in one, within its limits.
    fn list(&self, key: &str) -> Option<Cow<'a, str>> {
        let mut values = self.all(key);
        let first = values.next()?;
        let Some(second) = values.next() else {
            return bounded(key, first);
        };
        let mut list = [first, second].join(",");
        for value in values {
            list.push(',');
            list.push_str(value);
        }
        bounded(key, &list).map(|list| list.into_owned().into())
    }

    /// Where the value of a list is kept that no header holds as it is, for the keys that are lists.
    fn kept(&self, key: &str) -> Option<&OnceCell<String>> {
        match key {
            w3c::TRACESTATE => Some(&self.tracestate),
            w3c::BAGGAGE => Some(&self.baggage),
            _ => None,
        }
    }
}

fn bounded<'a>(key: &str, list: &'a str) -> Option<Cow<'a, str>> {
    if key == w3c::TRACESTATE {
        w3c::bounded_tracestate(list)
    } else {
        Some(w3c::bounded_baggage(list))
    }
}

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let Some(kept) = self.kept(key) else {
            return self.last(key);
        };
        if let Some(kept) = kept.get() {
            return Some(kept);
        }
        match self.list(key)? {
            Cow::Borrowed(value) => Some(value),
            Cow::Owned(value) => Some(kept.get_or_init(|| value)),
        }
    }

    /// Every key that is UTF-8, in order, as often as it occurs.
    fn keys(&self) -> Vec<&str> {
        self.in_order()
            .filter_map(|found| found.key().to_str().ok())
            .collect()
    }

    /// Every value of this key that is neither null nor broken UTF-8, in order.
    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values: Vec<_> = self.all(key).collect();
        (!values.is_empty()).then_some(values)
    }
}

/// The headers of the W3C's formats, found in one pass over the list.
#[derive(Default)]
pub(crate) struct TraceContext<'a> {
    /// The `traceparent` that decides: `None` without one, `Some(None)` if its value is null.
    pub(crate) traceparent: Option<HeaderValue<'a>>,
    tracestate: TraceStates<'a>,
    pub(crate) has_baggage: bool,
}

#[derive(Default)]
enum TraceStates<'a> {
    #[default]
    None,
    One(HeaderValue<'a>),
    Several(&'a BorrowedHeaders),
}

impl<'a> TraceContext<'a> {
    /// The same as [`HeaderExtractor`] gives for `tracestate`.
    pub(crate) fn tracestate(&self) -> Option<Cow<'a, str>> {
        match self.tracestate {
            TraceStates::None => None,
            TraceStates::One(value) => w3c::bounded_tracestate(text(value)?),
            TraceStates::Several(headers) => HeaderExtractor::new(headers).list(w3c::TRACESTATE),
        }
    }
}

/// Finds what [`HeaderExtractor`] would find, without looking at the list once for every key.
pub(crate) fn find_trace_context(headers: &BorrowedHeaders) -> TraceContext<'_> {
    let mut found = TraceContext::default();
    let mut has_exact = false;
    let mut index = 0;
    while let Some(header) = native::at(headers, index) {
        index += 1;
        match header.initial() {
            b't' => {}
            b'b' => {
                found.has_baggage |= is_same_key(&header, w3c::BAGGAGE);
                continue;
            }
            _ => continue,
        }
        let key = header.key().to_bytes();
        if key == w3c::TRACEPARENT.as_bytes() {
            has_exact = true;
            found.traceparent = Some(header.value);
        } else if key.eq_ignore_ascii_case(w3c::TRACESTATE.as_bytes()) {
            found.tracestate = match found.tracestate {
                TraceStates::None => TraceStates::One(header.value),
                _ => TraceStates::Several(headers),
            };
        } else if !has_exact && key.eq_ignore_ascii_case(w3c::TRACEPARENT.as_bytes()) {
            found.traceparent = Some(header.value);
        }
    }
    found
}

fn is_exactly(found: &Entry<'_>, key: &str) -> bool {
    found.key().to_bytes() == key.as_bytes()
}

fn is_same_key(found: &Entry<'_>, key: &str) -> bool {
    found.key().to_bytes().eq_ignore_ascii_case(key.as_bytes())
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
