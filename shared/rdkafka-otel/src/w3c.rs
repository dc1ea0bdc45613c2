//! The W3C Trace Context format, read from and written to bytes without an allocation.
//!
//! The fast path of `propagation.rs` for the propagators that nearly everybody installs, and the
//! limits that the W3C sets to `tracestate` and `baggage`. Knows no header list. Follows
//! [Trace Context] and [Baggage]; it accepts no `traceparent` that the SDK's propagator refuses.
//!
//! [Trace Context]: https://www.w3.org/TR/trace-context/
//! [Baggage]: https://www.w3.org/TR/baggage/

use std::borrow::Cow;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId};

use crate::propagation::Missing;

pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";

/// The bytes of a `traceparent` of version 00, and the fewest of any later one.
pub(crate) const TRACEPARENT_LENGTH: usize = 55;

/// A longer `traceparent` is not looked at. No version needs more, and what is read here comes from
/// anyone.
pub(crate) const LONGEST_TRACEPARENT: usize = 512;

/// Reads a `traceparent` of any version that is readable as version 00. Like the SDK it keeps no
/// flag but `sampled`.
pub(crate) fn parse_traceparent(value: &[u8]) -> Result<(TraceId, SpanId, TraceFlags), Missing> {
    if value.len() > LONGEST_TRACEPARENT {
        return Err(Missing::TooLong);
    }
    let value = match value {
        // The common case: nothing around the 55 bytes.
        [b'0', .., b'0'..=b'9'] => value,
        _ => value.trim_ascii(),
    };
    parse_trimmed(value).ok_or(Missing::Malformed)
}

fn parse_trimmed(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (parent, rest) = value.split_first_chunk::<TRACEPARENT_LENGTH>()?;
    let dashes = [parent[2], parent[35], parent[52]];
    let version = hex::<2>(parent, 0)?;
    let is_readable = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|next| *next == b'-'),
    };
    let trace_id = hex::<32>(parent, 3)?;
    let span_id = hex::<16>(parent, 36)?;
    let flags = hex::<2>(parent, 53)?;
    if dashes != [b'-'; 3] || !is_readable || trace_id == 0 || span_id == 0 {
        return None;
    }
    Some((
        TraceId::from(trace_id),
        SpanId::from(span_id as u64),
        TraceFlags::new(flags as u8) & TraceFlags::SAMPLED,
    ))
}

/// The number that `LENGTH` digits from `start` on are: two, or a multiple of eight. Bad digits are
/// only looked for at the end, so that nothing branches on the way.
fn hex<const LENGTH: usize>(text: &[u8; TRACEPARENT_LENGTH], start: usize) -> Option<u128> {
    let digits = text.get(start..start + LENGTH)?;
    let (mut number, mut are_digits) = (0_u128, true);
    for some in digits.chunks(8) {
        let mut eight = [b'0'; 8];
        eight[8 - some.len()..].copy_from_slice(some);
        let (part, are) = eight_from_digits(u64::from_be_bytes(eight));
        number = number << 32 | u128::from(part);
        are_digits &= are;
    }
    are_digits.then_some(number)
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * EACH;

/// The number that eight digits side by side in one register are, and whether all of them are
/// lower-case hexadecimal digits.
fn eight_from_digits(digits: u64) -> (u32, bool) {
    // The high bit of each byte that is `least` or more, of those that have none of their own.
    let reaches = |least: u8| (digits & !HIGH) + u64::from(0x80 - least) * EACH;
    let numbers = reaches(b'0') & !reaches(b'9' + 1);
    let letters = reaches(b'a') & !reaches(b'f' + 1);
    let are_digits = (numbers | letters) & !digits & HIGH == HIGH;
    // `a` is 0x61: nine more than its low half byte.
    let mut halves = (digits & (0x0f * EACH)) + 9 * ((letters & HIGH) >> 7);
    halves = (halves | halves >> 4) & 0x00ff_00ff_00ff_00ff;
    halves = (halves | halves >> 8) & 0x0000_ffff_0000_ffff;
    halves = (halves | halves >> 16) & 0xffff_ffff;
    (halves as u32, are_digits)
}

/// Writes the `traceparent` of a span context.
pub(crate) fn format_traceparent(span: &SpanContext) -> [u8; TRACEPARENT_LENGTH] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let trace_id = u128::from_be_bytes(span.trace_id().to_bytes());
    let span_id = u64::from_be_bytes(span.span_id().to_bytes());
    let places = [3, 11, 19, 27, 36, 44];
    let numbers = [
        (trace_id >> 96) as u32,
        (trace_id >> 64) as u32,
        (trace_id >> 32) as u32,
        trace_id as u32,
        (span_id >> 32) as u32,
        span_id as u32,
    ];
    for (place, number) in places.into_iter().zip(numbers) {
        text[place..place + 8].copy_from_slice(&eight_digits(number).to_be_bytes());
    }
    if span.is_sampled() {
        text[54] = b'1';
    }
    text
}

/// The digits of a number side by side in one register: this runs for every record.
fn eight_digits(number: u32) -> u64 {
    // Each step halves what lies together, until every half byte has a byte of its own.
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte that holds ten or more: adding six carries into the next half byte.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)
}

/// Beyond this many entries a `tracestate` is not valid, and dropped whole.
const MOST_ENTRIES: usize = 32;
/// What the W3C asks everybody to pass on; what exceeds it is shortened by whole entries.
const LONGEST_TRACESTATE: usize = 512;
/// Entries longer than this go first.
const LONGEST_LASTING_ENTRY: usize = 128;

/// A combined `tracestate` within the limits: unchanged, or without its long entries, or without
/// its last ones. `None` if it has more entries than a `tracestate` may have.
pub(crate) fn bounded_tracestate(value: &str) -> Option<Cow<'_, str>> {
    let entries = || entries(value);
    if value.len() <= LONGEST_TRACESTATE && entries().count() <= MOST_ENTRIES {
        return Some(value.into());
    }
    if entries().nth(MOST_ENTRIES).is_some() {
        return None;
    }
    let mut kept: Vec<&str> = entries().collect();
    let length = |kept: &[&str]| {
        let entries: usize = kept.iter().map(|entry| entry.len() + 1).sum();
        entries.saturating_sub(1)
    };
    // From the end, so that of several long entries the one written last, the nearest, stays.
    for index in (0..kept.len()).rev() {
        if length(&kept) > LONGEST_TRACESTATE && kept[index].len() > LONGEST_LASTING_ENTRY {
            kept.remove(index);
        }
    }
    while length(&kept) > LONGEST_TRACESTATE {
        kept.pop();
    }
    Some(kept.join(",").into())
}

/// What every reader of `baggage` must be able to take, and no more.
const MOST_MEMBERS: usize = 64;
const LONGEST_BAGGAGE: usize = 8192;

/// A combined `baggage` within the limits: unchanged, or cut after the last whole member that fits.
pub(crate) fn bounded_baggage(value: &str) -> Cow<'_, str> {
    if value.len() <= LONGEST_BAGGAGE && entries(value).nth(MOST_MEMBERS).is_none() {
        return value.into();
    }
    let mut kept = String::new();
    for member in entries(value).take(MOST_MEMBERS) {
        let comma = usize::from(!kept.is_empty());
        if kept.len() + comma + member.len() > LONGEST_BAGGAGE {
            break;
        }
        if comma == 1 {
            kept.push(',');
        }
        kept.push_str(member);
    }
    kept.into()
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(|entry| entry.trim_matches([' ', '\t']))
        .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests;
