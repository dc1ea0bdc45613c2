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
    rd_kafka_header_remove, rd_kafka_headers_t, rd_kafka_resp_err_t,
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

/// A header in its list. Its key is measured only when it is asked for: most headers are told apart
/// by their first byte.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    key: *const c_char,
    pub(crate) value: HeaderValue<'a>,
}

impl<'a> Entry<'a> {
    /// The first byte of the key, in lower case; 0 if the key is empty.
    pub(crate) fn initial(&self) -> u8 {
        // SAFETY: the key is NUL-terminated, so it has a first byte.
        unsafe { self.key.cast::<u8>().read() }.to_ascii_lowercase()
    }

    pub(crate) fn key(&self) -> &'a CStr {
        // SAFETY: the key is a NUL-terminated string inside the list, which outlives the borrow.
        unsafe { CStr::from_ptr(self.key) }
    }
}

/// The header at `index`, counted from 0, or `None` past the end.
pub(crate) fn at(headers: &BorrowedHeaders, index: usize) -> Option<Entry<'_>> {
    let mut key: *const c_char = ptr::null();
    let mut slot = ValueSlot::of(headers);
    // SAFETY: the address is a live header list and the out-pointers are valid for writing. On
    // success they are filled.
    unsafe {
        let error = rd_kafka_header_get_all(
            address(headers),
            index,
            &mut key,
            &mut slot.start,
            &mut slot.length,
        );
        (error == NO_ERROR).then(|| Entry {
            key,
            value: slot.value(),
        })
    }
}

/// Removes the header at `index` and every other one with exactly its key (up to a NUL byte in it),
/// and keeps the order of the rest, which is not copied.
pub(crate) fn remove_like(headers: &mut OwnedHeaders, index: usize) {
    let list = address(headers.as_borrowed()).cast_mut();
    let Some(found) = at(headers.as_borrowed(), index) else {
        return;
    };
    // A copy, because removing destroys the string that was found.
    with_terminated(found.key().to_bytes(), |key| {
        // SAFETY: the exclusive borrow of the owner rules out any other reference into the list,
        // `found` is not used again, and an `OwnedHeaders` is always a writable list. The result
        // only says whether anything was removed.
        unsafe { rd_kafka_header_remove(list, key.as_ptr()) };
    });
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
pub(crate) fn with_terminated<R>(key: &[u8], call: impl FnOnce(&CStr) -> R) -> Option<R> {
    let mut buffer = [0_u8; 64];
    match buffer.get_mut(..key.len()) {
        Some(start) if key.len() < 64 => {
            start.copy_from_slice(key);
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
