//! The W3C formats by example; what they have in common with the SDK's reading is held by property
//! in `propagation`.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{bounded_baggage, bounded_tracestate, format_traceparent, parse_traceparent};
use crate::propagation::Missing;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_traceparent_is_read_and_written() {
    for (flags, read) in [
        ("00", TraceFlags::NOT_SAMPLED),
        ("01", TraceFlags::SAMPLED),
        ("02", TraceFlags::NOT_SAMPLED),
        ("03", TraceFlags::SAMPLED),
        ("ff", TraceFlags::SAMPLED),
    ] {
        let text = format!("{}{flags}", &PARENT[..53]);
        let expected = (
            TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            SpanId::from(0xb7ad_6b71_6920_3331),
            read,
        );
        assert_eq!(parse_traceparent(text.as_bytes()), Ok(expected), "{text}");
        let span = SpanContext::new(expected.0, expected.1, read, true, TraceState::NONE);
        let sampled = if read.is_sampled() { "01" } else { "00" };
        let written = format!("{}{sampled}", &PARENT[..53]);
        assert_eq!(format_traceparent(&span), *written.as_bytes());
    }
}

#[test]
fn every_digit_is_written_in_every_place() {
    for digit in 0..16_u128 {
        let ones = u128::MAX / 15;
        let trace_id = TraceId::from((ones * digit) ^ (ones >> 64));
        let span_id =
            SpanId::from((u128::from(u64::MAX / 15) * digit) as u64 | 0x1234_5678_9abc_def0);
        let span = SpanContext::new(
            trace_id,
            span_id,
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        let expected = format!("00-{trace_id}-{span_id}-01");
        assert_eq!(format_traceparent(&span), *expected.as_bytes());
    }
}

#[test]
fn what_surrounds_or_follows_is_read_as_the_version_allows() {
    let later = PARENT.replacen("00", "cc", 1);
    let cases = [
        (format!(" \t{PARENT}\t "), true),
        (later.clone(), true),
        (format!("{later}-what.comes-then"), true),
        (format!("{later}-"), true),
        (format!("{later}."), false),
        (format!("{later}0"), false),
        (format!("{PARENT}-"), false),
        (format!("{PARENT}-x"), false),
        (format!("{PARENT}0"), false),
        (PARENT.replacen("00", "ff", 1), false),
    ];
    for (text, is_read) in cases {
        let read = parse_traceparent(text.as_bytes()).map(|(_, span_id, _)| span_id);
        let expected = if is_read {
            Ok(SpanId::from(0xb7ad_6b71_6920_3331))
        } else {
            Err(Missing::Malformed)
        };
        assert_eq!(read, expected, "{text:?}");
    }
}

#[test]
fn every_byte_counts() {
    for index in 0..PARENT.len() {
        let wrong = [
            b'g', b'A', b'F', b' ', b'\0', 0xff, b'/', b':', b'@', b'`', b'+',
        ];
        for byte in wrong {
            let mut text = PARENT.as_bytes().to_vec();
            text[index] = byte;
            assert_eq!(
                parse_traceparent(&text),
                Err(Missing::Malformed),
                "{byte} at {index}"
            );
        }
        assert_eq!(
            parse_traceparent(&PARENT.as_bytes()[..index]),
            Err(Missing::Malformed)
        );
    }
    for zeros in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ] {
        assert_eq!(parse_traceparent(zeros.as_bytes()), Err(Missing::Malformed));
    }
}

#[test]
fn a_traceparent_has_a_longest_length() {
    let longest = format!("cc{}-{}", &PARENT[2..], "x".repeat(512 - 56));
    assert_eq!(longest.len(), 512);
    assert!(parse_traceparent(longest.as_bytes()).is_ok());
    let longer = format!("{longest}x");
    assert_eq!(parse_traceparent(longer.as_bytes()), Err(Missing::TooLong));
    assert_eq!(
        parse_traceparent(&vec![b'0'; 1 << 20]),
        Err(Missing::TooLong)
    );
}

/// So many entries of so many characters each.
fn list(count: usize, length: usize) -> String {
    let entry = |index: usize| format!("k{index:02}={}", "v".repeat(length - 4));
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

#[test]
fn a_tracestate_is_kept_or_loses_whole_entries() {
    for text in ["", "a=1", " a=1 ,, b=2\t", &list(32, 10), &list(4, 127)] {
        assert_eq!(bounded_tracestate(text).as_deref(), Some(text));
    }
    assert_eq!(bounded_tracestate(&list(33, 5)), None);
    assert_eq!(bounded_tracestate(&vec!["a=1"; 1 << 16].join(",")), None);
    // Empty entries are none.
    let padded = format!("a=1{}b=2", ",".repeat(100));
    assert_eq!(bounded_tracestate(&padded).as_deref(), Some(&*padded));

    // 5 × 110 + 4 = 554: the last one goes.
    assert_eq!(
        bounded_tracestate(&list(5, 110)).as_deref(),
        Some(&*list(4, 110))
    );
    // A long entry goes before the short ones behind it, and of several only as many as needed.
    let (long, short) = (format!("long={}", "v".repeat(300)), list(4, 60));
    assert_eq!(
        bounded_tracestate(&format!("{long},{long},{short}")).as_deref(),
        Some(&*short)
    );
    let (middle, few) = (format!("m={}", "v".repeat(150)), list(2, 20));
    assert_eq!(
        bounded_tracestate(&format!("{long},{middle},{middle},{few}")).as_deref(),
        Some(&*format!("{long},{middle},{few}"))
    );
    assert_eq!(
        bounded_tracestate(&"x".repeat(1 << 20)).as_deref(),
        Some("")
    );
}

#[test]
fn baggage_is_cut_after_a_whole_member() {
    for text in ["", "a=1", " a=1;p=x ,b=2", &list(64, 127)] {
        assert_eq!(bounded_baggage(text), text);
    }
    assert_eq!(bounded_baggage(&list(65, 10)), list(64, 10));
    assert_eq!(bounded_baggage(&list(99, 10)), list(64, 10));
    // 64 × 128 + 63 commas is too much, 63 × 128 + 62 fits.
    assert_eq!(bounded_baggage(&list(64, 128)), list(63, 128));
    let fits = format!("a={}", "v".repeat(8190));
    assert_eq!(bounded_baggage(&fits), fits);
    assert_eq!(bounded_baggage(&format!("{fits}v")), "");
}
