//! For any trace: its own text accepts it, and a trace that differs in one thing is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trace_tree::{Event, Kind, Link, Span, Status, Trace, Value, compare, render};

const TRACES: [&str; 2] = [
    "11111111111111111111111111111111",
    "22222222222222222222222222222222",
];

/// Texts near every mark of the format, beside arbitrary ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-> .:#!@=*\"|\\\\a\n\r\t(){}\\[\\],]{0,12}",
        prop::sample::select(vec![
            "",
            "*",
            "a: b",
            "another trace",
            "missing span",
            "x (parent)",
            "x (parent outside)",
            "SERVER",
            "->link x",
            "!ok",
            "!error x",
            ".k = 1",
            "@e k=1",
            "# c",
            "null",
            " | ",
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        text().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        "[A-Za-z0-9+/]{0,8}".prop_map(Value::Bytes),
    ];
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(text(), inner, 0..3).prop_map(Value::Map),
        ]
    });
    (nested.clone(), prop::option::weighted(0.1, nested)).prop_map(|(first, second)| match second {
        Some(second) => Value::Repeated(vec![first, second]),
        None => first,
    })
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map(text(), value(), 0..3)
}

/// Ids are drawn from a few, so that parents and links hit, miss and form rings.
fn span_id() -> impl Strategy<Value = String> {
    (1_u64..9).prop_map(|id| format!("{id:016x}"))
}

fn span() -> impl Strategy<Value = Span> {
    let link = (
        prop::sample::select(TRACES.to_vec()),
        span_id(),
        attributes(),
    )
        .prop_map(|(trace_id, span_id, attributes)| Link {
            trace_id: trace_id.to_owned(),
            span_id,
            attributes,
        });
    let event =
        (0_u64..3, text(), attributes()).prop_map(|(time_unix_nano, name, attributes)| Event {
            time_unix_nano,
            name,
            attributes,
        });
    let status = prop_oneof![
        Just(Status::Unset),
        Just(Status::Ok),
        text().prop_map(Status::Error)
    ];
    (
        (span_id(), prop::option::of(span_id()), text(), text()),
        (
            prop::sample::select(Kind::ALL.to_vec()),
            0_u64..5,
            attributes(),
            status,
        ),
        prop::collection::vec(event, 0..3),
        prop::collection::vec(link, 0..3),
    )
        .prop_map(
            |(
                (span_id, parent_span_id, name, service),
                (kind, start, attributes, status),
                events,
                links,
            )| Span {
                trace_id: TRACES[0].to_owned(),
                span_id,
                parent_span_id,
                name,
                service,
                kind,
                start_unix_nano: start,
                end_unix_nano: start + 1,
                attributes,
                resource: BTreeMap::new(),
                scope: String::new(),
                events,
                links,
                status,
            },
        )
}

fn trace() -> impl Strategy<Value = Trace> {
    prop::collection::vec(span(), 1..8).prop_map(|mut spans| {
        spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        spans.dedup_by(|a, b| a.span_id == b.span_id);
        Trace { spans }
    })
}

/// A change that must show in the text, whatever the span is.
fn change(span: &mut Span, which: usize) {
    match which {
        0 => span.name.push('x'),
        1 => span.service.push('x'),
        2 => {
            span.kind = if span.kind == Kind::Client {
                Kind::Server
            } else {
                Kind::Client
            }
        }
        3 => {
            _ = span
                .attributes
                .insert("a key that no strategy draws".to_owned(), Value::Empty)
        }
        4 => match &mut span.status {
            Status::Error(description) => description.push('x'),
            status => *status = Status::Error(String::new()),
        },
        5 => span.links.push(Link {
            trace_id: TRACES[1].to_owned(),
            span_id: "0000000000000001".to_owned(),
            attributes: BTreeMap::new(),
        }),
        6 => span.events.push(Event {
            time_unix_nano: 1,
            name: "x".to_owned(),
            attributes: BTreeMap::new(),
        }),
        7 => match span.attributes.values_mut().next() {
            Some(value) => *value = Value::Array(vec![value.clone()]),
            None => span.name.push('y'),
        },
        _ => {
            span.parent_span_id = match span.parent_span_id {
                Some(_) => None,
                None => Some("00000000000000ff".to_owned()),
            }
        }
    }
}

proptest! {
    #[test]
    fn a_trace_is_accepted_by_its_own_text(trace in trace()) {
        let text = render(&trace);
        let outcome = compare(&text, &trace);
        prop_assert!(outcome.is_ok(), "{:?}\n{text}", outcome);
    }

    #[test]
    fn every_span_is_in_the_text_once(trace in trace()) {
        let mut named = trace.clone();
        for (index, span) in named.spans.iter_mut().enumerate() {
            span.service = format!("span-{index}-");
        }
        let text = render(&named);
        for index in 0..named.spans.len() {
            let mark = format!("span-{index}-: ");
            let found = text.lines().filter(|line| line.trim_start().starts_with(&mark)).count();
            prop_assert_eq!(found, 1, "{}", text);
        }
    }

    #[test]
    fn a_change_of_one_thing_is_refused(trace in trace(), at in any::<prop::sample::Index>(), which in 0_usize..9) {
        let mut changed = trace.clone();
        let at = at.index(changed.spans.len());
        change(&mut changed.spans[at], which);
        prop_assert!(compare(&render(&trace), &changed).is_err(), "{which}: {}", render(&trace));
    }

    #[test]
    fn no_expected_text_panics(expected in "(?s).{0,200}", lines in prop::collection::vec(text(), 0..6)) {
        let trace = Trace::default();
        let _ = compare(&expected, &trace);
        let _ = compare(&format!("a: b SERVER\n  {}", lines.join("\n  ")), &trace);
    }
}
