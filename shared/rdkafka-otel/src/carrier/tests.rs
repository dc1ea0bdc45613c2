//! The carrier against headers that nobody would write on purpose, by table and by property.

use opentelemetry::propagation::{Extractor, Injector};
use rdkafka::message::OwnedHeaders;

use super::{HeaderExtractor, HeaderInjector};
use crate::{native, raw_headers};

type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

fn headers(pairs: &[Pair<'_>]) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in pairs {
        native::append(&mut headers, key, *value);
    }
    headers
}

fn pairs(headers: &OwnedHeaders) -> Vec<Pair<'_>> {
    raw_headers(headers.as_borrowed()).collect()
}

#[test]
fn set_replaces_its_own_key_and_touches_nothing_else() {
    let long_key = vec![b'k'; 100];
    // What is shown, the headers before, key and value, the headers after.
    type Case<'a> = (&'a str, Vec<Pair<'a>>, &'a str, &'a str, Vec<Pair<'a>>);
    let cases: [Case<'_>; 13] = [
        (
            "appends to an empty list",
            vec![],
            "traceparent",
            "new",
            vec![(b"traceparent", Some(b"new"))],
        ),
        (
            "replaces a duplicate at both ends, and the new one comes last",
            vec![
                (b"traceparent", Some(b"old")),
                (b"a", Some(b"1")),
                (b"traceparent", Some(b"older")),
            ],
            "traceparent",
            "new",
            vec![(b"a", Some(b"1")), (b"traceparent", Some(b"new"))],
        ),
        (
            "replaces every mix of case",
            vec![
                (b"TRACEPARENT", Some(b"old")),
                (b"a", Some(b"1")),
                (b"TraceParent", None),
                (b"TRACEPARENT", Some(b"older")),
                (b"traceParent", Some(b"")),
            ],
            "traceparent",
            "new",
            vec![(b"a", Some(b"1")), (b"traceparent", Some(b"new"))],
        ),
        (
            "keeps duplicates, nulls, empty values and empty keys of others, in order",
            vec![
                (b"b", None),
                (b"a", Some(b"")),
                (b"b", Some(b"2")),
                (b"", Some(b"no key")),
                (b"b", None),
            ],
            "traceparent",
            "new",
            vec![
                (b"b", None),
                (b"a", Some(b"")),
                (b"b", Some(b"2")),
                (b"", Some(b"no key")),
                (b"b", None),
                (b"traceparent", Some(b"new")),
            ],
        ),
        (
            "keeps keys and values that are not UTF-8",
            vec![(b"\xff\xfe", Some(b"\x80")), (b"ok", Some(b"\xc3\x28"))],
            "traceparent",
            "new",
            vec![
                (b"\xff\xfe", Some(b"\x80")),
                (b"ok", Some(b"\xc3\x28")),
                (b"traceparent", Some(b"new")),
            ],
        ),
        (
            "keeps NUL bytes in values",
            vec![(b"a", Some(b"x\0y"))],
            "traceparent",
            "n\0w",
            vec![(b"a", Some(b"x\0y")), (b"traceparent", Some(b"n\0w"))],
        ),
        (
            "keeps keys that only begin or end like its own",
            vec![(b"traceparents", Some(b"1")), (b"xtraceparent", Some(b"2"))],
            "traceparent",
            "new",
            vec![
                (b"traceparents", Some(b"1")),
                (b"xtraceparent", Some(b"2")),
                (b"traceparent", Some(b"new")),
            ],
        ),
        (
            "removes and writes nothing for an empty value",
            vec![(b"tracestate", Some(b"old")), (b"a", Some(b"1"))],
            "tracestate",
            "",
            vec![(b"a", Some(b"1"))],
        ),
        (
            "does nothing for a key with a NUL byte",
            vec![(b"trace", Some(b"1"))],
            "trace\0parent",
            "new",
            vec![(b"trace", Some(b"1"))],
        ),
        (
            "takes a key up to its first NUL byte for the whole",
            vec![(b"traceparent\0x", Some(b"old")), (b"a", None)],
            "traceparent",
            "new",
            vec![(b"a", None), (b"traceparent", Some(b"new"))],
        ),
        (
            "compares letters of ASCII only",
            vec![("TRACE\u{212a}".as_bytes(), Some(b"kelvin sign"))],
            "tracek",
            "new",
            vec![
                ("TRACE\u{212a}".as_bytes(), Some(b"kelvin sign")),
                (b"tracek", Some(b"new")),
            ],
        ),
        (
            "replaces an empty key by an empty key",
            vec![(b"", Some(b"old")), (b"a", None)],
            "",
            "new",
            vec![(b"a", None), (b"", Some(b"new"))],
        ),
        (
            "takes long keys",
            vec![(&long_key, Some(b"old")), (b"a", None)],
            std::str::from_utf8(&long_key).unwrap(),
            "new",
            vec![(b"a", None), (&long_key, Some(b"new"))],
        ),
    ];
    for (name, before, key, value, after) in &cases {
        let mut headers = headers(before);
        HeaderInjector::new(&mut headers).set(key, (*value).to_owned());
        assert_eq!(pairs(&headers), *after, "{name}");
    }
}

#[test]
fn get_answers_with_one_header_and_lists_are_joined() {
    // What is shown, the headers, the key, the answers of `get` and of `get_all`.
    type Values<'a> = Option<Vec<&'a str>>;
    type Case<'a> = (&'a str, Vec<Pair<'a>>, &'a str, Option<&'a str>, Values<'a>);
    let cases: [Case<'_>; 20] = [
        ("no headers", vec![], "traceparent", None, None),
        (
            "one",
            vec![(b"traceparent", Some(b"a"))],
            "traceparent",
            Some("a"),
            Some(vec!["a"]),
        ),
        (
            "the last one wins",
            vec![(b"traceparent", Some(b"a")), (b"traceparent", Some(b"b"))],
            "traceparent",
            Some("b"),
            Some(vec!["a", "b"]),
        ),
        (
            "another case will do",
            vec![(b"TraceParent", Some(b"a")), (b"TRACEPARENT", Some(b"b"))],
            "traceparent",
            Some("b"),
            Some(vec!["a", "b"]),
        ),
        (
            "the exact key wins over a later one in another case",
            vec![(b"traceparent", Some(b"a")), (b"Traceparent", Some(b"b"))],
            "traceparent",
            Some("a"),
            Some(vec!["a"]),
        ),
        (
            "a null value decides",
            vec![(b"traceparent", Some(b"a")), (b"traceparent", None)],
            "traceparent",
            None,
            Some(vec!["a"]),
        ),
        (
            "a null value decides before another case is looked for",
            vec![(b"Traceparent", Some(b"a")), (b"traceparent", None)],
            "traceparent",
            None,
            None,
        ),
        (
            "a value that is not UTF-8 decides",
            vec![
                (b"traceparent", Some(b"a")),
                (b"traceparent", Some(b"\xff")),
            ],
            "traceparent",
            None,
            Some(vec!["a"]),
        ),
        (
            "an empty value is a value",
            vec![(b"traceparent", Some(b"a")), (b"traceparent", Some(b""))],
            "traceparent",
            Some(""),
            Some(vec!["a", ""]),
        ),
        (
            "a NUL byte in a value stays",
            vec![(b"traceparent", Some(b"a\0b"))],
            "traceparent",
            Some("a\0b"),
            Some(vec!["a\0b"]),
        ),
        (
            "keys that are not UTF-8 are passed over",
            vec![
                (b"\xff\xff", Some(b"a")),
                (b"traceparent", Some(b"b")),
                (b"\x80", None),
            ],
            "traceparent",
            Some("b"),
            Some(vec!["b"]),
        ),
        (
            "a key with a NUL byte finds nothing",
            vec![(b"trace", Some(b"a"))],
            "trace\0parent",
            None,
            None,
        ),
        (
            "a key that goes on after a NUL byte is found when nothing else is",
            vec![(b"traceparent\0x", Some(b"a"))],
            "traceparent",
            Some("a"),
            Some(vec!["a"]),
        ),
        (
            "one tracestate",
            vec![(b"tracestate", Some(b"a=1"))],
            "tracestate",
            Some("a=1"),
            Some(vec!["a=1"]),
        ),
        (
            "several of tracestate, in order",
            vec![
                (b"tracestate", Some(b"a=1")),
                (b"x", None),
                (b"tracestate", Some(b"b=2,c=3")),
                (b"tracestate", Some(b"d=4")),
            ],
            "tracestate",
            Some("a=1,b=2,c=3,d=4"),
            Some(vec!["a=1", "b=2,c=3", "d=4"]),
        ),
        (
            "several of tracestate in other cases",
            vec![(b"TraceState", Some(b"a=1")), (b"TRACESTATE", Some(b"b=2"))],
            "tracestate",
            Some("a=1,b=2"),
            Some(vec!["a=1", "b=2"]),
        ),
        (
            "what cannot be read is left out of a list",
            vec![
                (b"tracestate", None),
                (b"tracestate", Some(b"a=1")),
                (b"tracestate", Some(b"\xff")),
            ],
            "tracestate",
            Some("a=1"),
            Some(vec!["a=1"]),
        ),
        (
            "a list that cannot be read at all",
            vec![(b"baggage", None), (b"baggage", Some(b"\xff"))],
            "baggage",
            None,
            None,
        ),
        (
            "several of baggage",
            vec![(b"baggage", Some(b"a=1")), (b"baggage", Some(b"b=2"))],
            "baggage",
            Some("a=1,b=2"),
            Some(vec!["a=1", "b=2"]),
        ),
        (
            "other keys are not lists",
            vec![(b"b3", Some(b"a")), (b"b3", Some(b"b"))],
            "b3",
            Some("b"),
            Some(vec!["a", "b"]),
        ),
    ];
    for (name, pairs, key, one, all) in &cases {
        let headers = headers(pairs);
        let extractor = HeaderExtractor::new(headers.as_borrowed());
        assert_eq!(extractor.get(key), *one, "get: {name}");
        assert_eq!(extractor.get(key), *one, "get again: {name}");
        assert_eq!(extractor.get_all(key), *all, "get_all: {name}");
    }
}

#[test]
fn a_value_is_borrowed_unless_a_list_is_repeated() {
    let headers = headers(&[
        (b"traceparent", Some(b"a")),
        (b"tracestate", Some(b"b=1")),
        (b"baggage", Some(b"c=1")),
        (b"baggage", Some(b"d=1")),
    ]);
    let within = pairs(&headers);
    let extractor = HeaderExtractor::new(headers.as_borrowed());
    let is_borrowed = |key| {
        let value = extractor.get(key).unwrap().as_ptr();
        within
            .iter()
            .any(|(_, stored)| stored.unwrap().as_ptr() == value)
    };
    assert!(is_borrowed("traceparent"));
    assert!(is_borrowed("tracestate"));
    assert!(!is_borrowed("baggage"));
}

#[test]
fn keys_are_those_that_are_utf_8() {
    let headers = headers(&[
        (b"a", None),
        (b"\xff", Some(b"1")),
        ("é".as_bytes(), Some(b"\xff")),
        (b"a", Some(b"2")),
        (b"", None),
    ]);
    let extractor = HeaderExtractor::new(headers.as_borrowed());
    assert_eq!(extractor.keys(), ["a", "é", "a", ""]);
}

#[test]
fn ten_thousand_headers_and_a_megabyte() {
    let megabyte = vec![b'x'; 1 << 20];
    let spellings: [&[u8]; 4] = [b"traceparent", b"TRACEPARENT", b"TraceParent", b"\xfftrace"];
    let mut many: Vec<Pair<'_>> = (0..10_000)
        .map(|index| (spellings[index % 4], Some(&b"v"[..])))
        .collect();
    many.push((b"large", Some(&megabyte)));
    many.push((b"traceparent", Some(&megabyte)));

    let mut headers = headers(&many);
    let extractor = HeaderExtractor::new(headers.as_borrowed());
    assert_eq!(extractor.get("traceparent").map(str::len), Some(1 << 20));
    assert_eq!(extractor.get("absent"), None);
    assert_eq!(
        extractor.get_all("traceparent").map(|all| all.len()),
        Some(2501)
    );
    assert_eq!(extractor.keys().len(), 7502);

    HeaderInjector::new(&mut headers).set("traceparent", "new".to_owned());
    let mut expected: Vec<Pair<'_>> = vec![(b"\xfftrace", Some(b"v")); 2500];
    expected.push((b"large", Some(&megabyte)));
    expected.push((b"traceparent", Some(b"new")));
    // Not `assert_eq`: what it would print on failure is megabytes long.
    assert!(pairs(&headers) == expected);
}
