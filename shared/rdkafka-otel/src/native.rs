//! The few calls into librdkafka that rdkafka's own interface has no safe form of: reading headers
//! whose keys may be anything, removing a header in place, and the name of an error.
//!
//! rdkafka's header iterator panics on a key that is not UTF-8, and anyone who may write to a topic
//! may write such a key, so received headers are read here as bytes. This is the only file with
//! `unsafe`; it decides nothing about propagation.
//!
//! librdkafka hands out keys as C strings. A key therefore ends at its first NUL byte for every
//! comparison made above this file, although librdkafka stores and sends it whole.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::{mem, ptr, slice};

use rdkafka::bindings::{
    rd_kafka_err2name, rd_kafka_header_add, rd_kafka_header_cnt, rd_kafka_header_get_all,
    rd_kafka_header_get_last, rd_kafka_header_remove, rd_kafka_headers_t, rd_kafka_resp_err_t,
};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

// rdkafka has no accessor for the native list. `&BorrowedHeaders` *is* its address: rdkafka makes
// the reference by casting a `*mut rd_kafka_headers_t` (`BorrowedHeaders::from_native_ptr`,
// `OwnedHeaders::as_borrowed`) and casts it back the same way for every call of its own. The type
// has no fields. Should a release give it some, the cast would be wrong, and this stops the build.
const _: () = assert!(mem::size_of::<BorrowedHeaders>() == 0);

const NO_ERROR: rd_kafka_resp_err_t = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

fn address(headers: &BorrowedHeaders) -> *const rd_kafka_headers_t {
    ptr::from_ref(headers).cast()
}

/// The value of a header: `None` for Kafka's null.
pub(crate) type HeaderValue<'a> = Option<&'a [u8]>;

/// A place for the value that one of the native getters fills in.
struct ValueSlot<'a> {
    start: *const c_void,
    length: usize,
    headers: PhantomData<&'a BorrowedHeaders>,
}

impl<'a> ValueSlot<'a> {
    /// The borrow ties what is read to the headers, whose contents cannot change while it lives.
    fn of(_headers: &'a BorrowedHeaders) -> Self {
        Self {
            start: ptr::null(),
            length: 0,
            headers: PhantomData,
        }
    }

    /// # Safety
    ///
    /// A native getter called on the same headers must have filled the slot and reported success.
    unsafe fn value(self) -> HeaderValue<'a> {
        if self.start.is_null() {
            return None;
        }
        // SAFETY: by contract the pointer and the length describe a value that librdkafka keeps,
        // unmoved, as long as the header list is neither changed nor destroyed.
        Some(unsafe { slice::from_raw_parts(self.start.cast(), self.length) })
    }
}

pub(crate) fn count(headers: &BorrowedHeaders) -> usize {
    // SAFETY: the address is a live header list, see the assertion above.
    unsafe { rd_kafka_header_cnt(address(headers)) }
}

/// The header at `index`, counted from 0, or `None` past the end.
pub(crate) fn at(headers: &BorrowedHeaders, index: usize) -> Option<(&CStr, HeaderValue<'_>)> {
    let mut key: *const c_char = ptr::null();
    let mut slot = ValueSlot::of(headers);
    // SAFETY: the address is a live header list and the out-pointers are valid for writing. On
    // success the key is a NUL-terminated string inside the list, which outlives the borrow.
    unsafe {
        let error = rd_kafka_header_get_all(
            address(headers),
            index,
            &mut key,
            &mut slot.start,
            &mut slot.length,
        );
        (error == NO_ERROR).then(|| (CStr::from_ptr(key), slot.value()))
    }
}

/// The last header whose key is exactly `key`. One call, without a look at the other headers.
pub(crate) fn last<'a>(headers: &'a BorrowedHeaders, key: &CStr) -> Option<HeaderValue<'a>> {
    let mut slot = ValueSlot::of(headers);
    // SAFETY: as in `at`; `key` is NUL-terminated.
    unsafe {
        let error = rd_kafka_header_get_last(
            address(headers),
            key.as_ptr(),
            &mut slot.start,
            &mut slot.length,
        );
        (error == NO_ERROR).then(|| slot.value())
    }
}

/// Removes every header with exactly this key (up to a NUL byte in it) and keeps the order of the
/// others, which are not copied.
pub(crate) fn remove(headers: &mut OwnedHeaders, key: &CStr) {
    // SAFETY: the exclusive borrow of the owner rules out a reference into the list, and an
    // `OwnedHeaders` is always a writable list. The result only says whether anything was removed.
    unsafe { rd_kafka_header_remove(address(headers.as_borrowed()).cast_mut(), key.as_ptr()) };
}

/// Appends a header, in place: `OwnedHeaders::insert` does it by value, and only for keys that are
/// UTF-8.
pub(crate) fn append(headers: &mut OwnedHeaders, key: &[u8], value: HeaderValue<'_>) {
    // No allocation of Rust is longer than `isize::MAX`, so neither length changes.
    let key_length = key.len() as isize;
    let value_length = value.map_or(0, <[u8]>::len) as isize;
    // SAFETY: exclusive access as in `remove`; librdkafka copies both byte ranges, whose lengths
    // are given, so neither needs a terminator. It refuses only lists that are not writable.
    unsafe {
        rd_kafka_header_add(
            address(headers.as_borrowed()).cast_mut(),
            key.as_ptr().cast(),
            key_length,
            value.map_or(ptr::null(), <[u8]>::as_ptr).cast(),
            value_length,
        )
    };
}

/// Runs `call` with `key` as a C string, or answers `None` if it holds a NUL byte. The keys of
/// propagators are short, so this rarely allocates.
pub(crate) fn with_c_key<R>(key: &str, call: impl FnOnce(&CStr) -> R) -> Option<R> {
    let mut buffer = [0_u8; 64];
    match buffer.get_mut(..key.len()) {
        Some(start) if key.len() < 64 => {
            start.copy_from_slice(key.as_bytes());
            let key = CStr::from_bytes_with_nul(&buffer[..=key.len()]).ok()?;
            Some(call(key))
        }
        _ => CString::new(key).ok().map(|key| call(&key)),
    }
}

/// librdkafka's name of an error, such as `_MSG_TIMED_OUT` or `UNKNOWN_TOPIC_OR_PART`: Kafka's own
/// names for what a broker reports, an underscore in front of what only the client knows.
pub(crate) fn error_name(code: RDKafkaErrorCode) -> String {
    match rd_kafka_resp_err_t::try_from(code as i32) {
        // SAFETY: librdkafka answers every code with a NUL-terminated string, static or kept per
        // thread until the next call; it is copied before that.
        Ok(code) => unsafe { CStr::from_ptr(rd_kafka_err2name(code)) }
            .to_string_lossy()
            .into_owned(),
        Err(_) => "UNKNOWN".to_owned(),
    }
}
