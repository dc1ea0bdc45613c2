//! The headers of a record as bytes, for whoever shows or forwards them.
//!
//! Propagation reads through `carrier`; this is for everything else that would otherwise use
//! rdkafka's iterator, which panics on a key that is not UTF-8.

use rdkafka::message::BorrowedHeaders;

use crate::native;

/// Every header in order as key and value, without a panic whatever they hold: a key may be any
/// bytes (up to a NUL), a value any bytes or Kafka's null, which is `None`.
///
/// # Examples
///
/// ```
/// use rdkafka::message::{Header, OwnedHeaders};
///
/// let headers = OwnedHeaders::new()
///     .insert(Header { key: "tenant", value: Some("a") })
///     .insert(Header { key: "empty", value: None::<&str> });
/// let read: Vec<_> = rdkafka_otel::raw_headers(headers.as_borrowed()).collect();
/// assert_eq!(read, [(&b"tenant"[..], Some(&b"a"[..])), (b"empty", None)]);
/// ```
pub fn raw_headers(headers: &BorrowedHeaders) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    (0..native::count(headers))
        .map_while(|index| native::at(headers, index))
        .map(|header| (header.key().to_bytes(), header.value))
}
