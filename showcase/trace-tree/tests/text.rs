//! The canonical text by example: what is written, what is accepted, what is refused and how that
//! is said.

#![allow(clippy::panic, reason = "a helper of tests fails the test")]

use std::collections::BTreeMap;

use trace_tree::{
    Event, Kind, Link, Mismatch, Span, Status, Trace, Value, compare, outline, render,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const POST: &str = "0000000000000001";
const SEND: &str = "0000000000000002";
const PROCESS: &str = "0000000000000003";

fn span(id: &str, parent: Option<&str>, service: &str, name: &str, kind: Kind, at: u64) -> Span {
    Span {
        trace_id: TRACE.to_owned(),
        span_id: id.to_owned(),
        parent_span_id: parent.map(str::to_owned),
        name: name.to_owned(),
        service: service.to_owned(),
        kind,
        start_unix_nano: at,
        end_unix_nano: at + 10,
        attributes: BTreeMap::new(),
        resource: BTreeMap::new(),
        scope: String::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
    }
}

fn link(trace_id: &str, span_id: &str) -> Link {
    Link {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        attributes: BTreeMap::new(),
    }
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> BTreeMap<String, Value> {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn order_trace() -> Trace {
    let mut post = span(POST, None, "orders-api", "POST /orders", Kind::Server, 100);
    post.attributes = map([
        ("http.response.status_code", Value::Int(202)),
        ("app.order.id", text("o-1")),
    ]);
    let mut send = span(
        SEND,
        Some(POST),
        "orders-api",
        "send orders",
        Kind::Producer,
        120,
    );
    send.attributes = map([("messaging.destination.name", text("orders"))]);
    let insert = span(
        "0000000000000004",
        Some(POST),
        "orders-api",
        "INSERT orders",
        Kind::Client,
        110,
    );
    let mut process = span(
        PROCESS,
        Some(SEND),
        "order-processor",
        "process orders",
        Kind::Consumer,
        130,
    );
    process.links = vec![link(TRACE, SEND)];
    process.attributes = map([("messaging.kafka.offset", Value::Int(7))]);
    process.status = Status::Error("payment_unavailable".to_owned());
    process.events = vec![Event {
        time_unix_nano: 131,
        name: "exception".to_owned(),
        attributes: map([
            ("exception.type", text("Timeout")),
            ("exception.message", text("after 2 s")),
        ]),
    }];
    Trace {
        spans: vec![process, send, post, insert],
    }
}

const EXPECTED: &str = r#"orders-api: POST /orders SERVER
  .app.order.id = "o-1"
  .http.response.status_code = 202
  orders-api: INSERT orders CLIENT
  orders-api: send orders PRODUCER
    .messaging.destination.name = "orders"
    order-processor: process orders CONSUMER
      ->link send orders (parent)
      .messaging.kafka.offset = 7
      !error payment_unavailable
      @exception exception.message="after 2 s" exception.type="Timeout"
"#;

#[track_caller]
fn differs(expected: &str, trace: &Trace) -> String {
    match compare(expected, trace) {
        Err(Mismatch::Different { diff }) => diff,
        other => panic!("expected a difference, got {other:?}"),
    }
}

#[test]
fn a_trace_is_written_in_one_form_and_accepted_in_it() {
    assert_eq!(render(&order_trace()), EXPECTED);
    assert_eq!(compare(EXPECTED, &order_trace()), Ok(()));
}

#[test]
fn stars_comments_blank_lines_and_the_order_of_attributes_are_free() {
    let expected = r#"
# the caller's half
orders-api: POST /orders SERVER
  .http.response.status_code = *
  .app.order.id = *

  orders-api: INSERT orders CLIENT
  orders-api: send orders PRODUCER
    .messaging.destination.name = *
    # the other half
    order-processor: process orders CONSUMER
      ->link send orders (parent)
      .messaging.kafka.offset = *
      !error *
      @exception exception.type="Timeout" exception.message=*
"#;
    assert_eq!(compare(expected, &order_trace()), Ok(()));
}

#[test]
fn a_star_is_only_a_star_alone_and_outside_quotes() {
    for near in [r#""*""#, r#""o-*""#, r#"["*"]"#] {
        let expected = EXPECTED.replace(r#""o-1""#, near);
        differs(&expected, &order_trace());
    }
    let error = compare(&EXPECTED.replace(r#""o-1""#, "[*]"), &order_trace());
    assert_eq!(
        error.unwrap_err().to_string(),
        "line 2 of the expected text: expected a value (`*`, a number, true, a text in quotes, …), \
         found `*`: `  .app.order.id = [*]`"
    );
}

#[test]
fn a_star_needs_the_key() {
    let mut trace = order_trace();
    trace.spans[0].attributes.clear();
    let expected = EXPECTED.replace("offset = 7", "offset = *");
    assert_eq!(
        differs(&expected, &trace),
        "  orders-api: POST /orders SERVER
  \x20 orders-api: INSERT orders CLIENT
  \x20 orders-api: send orders PRODUCER
  \x20   order-processor: process orders CONSUMER
  \x20     ->link send orders (parent)
- \x20     .messaging.kafka.offset = *
  \x20     !error payment_unavailable
  \x20     @exception exception.message=\"after 2 s\" exception.type=\"Timeout\"
"
    );
}

#[test]
fn a_difference_shows_the_tree_and_the_lines() {
    let expected = EXPECTED.replace("status_code = 202", "status_code = \"202\"");
    let mismatch = compare(&expected, &order_trace()).unwrap_err();
    assert_eq!(
        mismatch.to_string(),
        r#"the trace is not the expected one (- expected, + actual):
  orders-api: POST /orders SERVER
    .app.order.id = "o-1"
-   .http.response.status_code = "202"
+   .http.response.status_code = 202
    orders-api: INSERT orders CLIENT
    orders-api: send orders PRODUCER
      order-processor: process orders CONSUMER
"#
    );
}

#[test]
fn every_single_change_of_the_trace_is_a_difference() {
    type Change = (&'static str, fn(&mut Trace));
    let changes: [Change; 23] = [
        ("extra event attribute", |t| {
            _ = t.spans[0].events[0]
                .attributes
                .insert("z".to_owned(), Value::Empty);
        }),
        ("service", |t| t.spans[0].service = "payments".to_owned()),
        ("name", |t| t.spans[0].name = "process order".to_owned()),
        ("kind", |t| t.spans[0].kind = Kind::Internal),
        ("parent", |t| {
            t.spans[0].parent_span_id = Some(POST.to_owned())
        }),
        ("no parent", |t| t.spans[0].parent_span_id = None),
        ("parent outside", |t| {
            t.spans[2].parent_span_id = Some("00000000000000ff".to_owned())
        }),
        ("link gone", |t| t.spans[0].links.clear()),
        ("link twice", |t| t.spans[0].links.push(link(TRACE, SEND))),
        ("link to another span", |t| {
            t.spans[0].links[0].span_id = POST.to_owned()
        }),
        ("link to a missing span", |t| {
            t.spans[0].links[0].span_id = "00000000000000ff".to_owned()
        }),
        ("link to another trace", |t| {
            t.spans[0].links[0].trace_id = "f".repeat(32)
        }),
        ("link attribute", |t| {
            t.spans[0].links[0].attributes = map([("k", Value::Int(1))])
        }),
        ("value", |t| {
            t.spans[0].attributes = map([("messaging.kafka.offset", Value::Int(8))])
        }),
        ("type", |t| {
            t.spans[0].attributes = map([("messaging.kafka.offset", Value::Double(7.0))])
        }),
        ("twice", |t| {
            let twice = Value::Repeated(vec![Value::Int(7), Value::Int(7)]);
            t.spans[0].attributes = map([("messaging.kafka.offset", twice)]);
        }),
        ("extra attribute", |t| {
            _ = t.spans[0]
                .attributes
                .insert("z".to_owned(), Value::Bool(true))
        }),
        ("no error", |t| t.spans[0].status = Status::Unset),
        ("ok", |t| t.spans[1].status = Status::Ok),
        ("error without description", |t| {
            t.spans[0].status = Status::Error(String::new())
        }),
        ("event gone", |t| t.spans[0].events.clear()),
        ("event attribute", |t| {
            t.spans[0].events[0].attributes = map([("exception.type", text("Timeout"))])
        }),
        ("extra span", |t| {
            t.spans.push(span(
                "0000000000000005",
                Some(SEND),
                "x",
                "y",
                Kind::Client,
                140,
            ))
        }),
    ];
    for (change, apply) in changes {
        let mut trace = order_trace();
        apply(&mut trace);
        assert!(
            matches!(compare(EXPECTED, &trace), Err(Mismatch::Different { .. })),
            "{change}: {}",
            render(&trace)
        );
    }
    for index in 0..order_trace().spans.len() {
        let mut trace = order_trace();
        trace.spans.remove(index);
        differs(EXPECTED, &trace);
    }
}

#[test]
fn siblings_stand_by_start_time_and_events_by_time() {
    let mut trace = order_trace();
    trace.spans[3].start_unix_nano = 125;
    let diff = differs(EXPECTED, &trace);
    assert_eq!(diff.matches("- ").count(), 1, "{diff}");
    assert!(
        diff.contains("-   orders-api: INSERT orders CLIENT\n"),
        "{diff}"
    );

    trace = order_trace();
    let event = |time_unix_nano, name: &str| Event {
        time_unix_nano,
        name: name.to_owned(),
        attributes: BTreeMap::new(),
    };
    trace.spans = vec![trace.spans.remove(2)];
    trace.spans[0].attributes.clear();
    trace.spans[0].events = vec![event(3, "c"), event(1, "b"), event(3, "a")];
    assert_eq!(
        render(&trace),
        "orders-api: POST /orders SERVER\n  @b\n  @c\n  @a\n"
    );
}

#[test]
fn every_kind_of_link_is_told_apart() {
    let mut trace = order_trace();
    trace.spans.truncate(1);
    trace.spans[0].events.clear();
    trace.spans[0].links = vec![
        link(TRACE, SEND),
        link(TRACE, PROCESS),
        link(TRACE, "00000000000000ff"),
        link(&"f".repeat(32), PROCESS),
        // The parent's span id, in a trace where it is another span's.
        link(&"f".repeat(32), SEND),
    ];
    trace.spans[0].links[0].attributes = map([("k", Value::Int(1)), ("j", Value::Bool(false))]);
    let expected = "order-processor: process orders CONSUMER (parent outside)
  ->link missing span (parent)
    .j = false
    .k = 1
  ->link process orders
  ->link missing span
  ->link another trace
  ->link another trace
  .messaging.kafka.offset = 7
  !error payment_unavailable
";
    assert_eq!(render(&trace), expected);
    assert_eq!(compare(expected, &trace), Ok(()));
}

#[test]
fn every_type_of_value_has_its_own_form() {
    let nested = map([
        ("a b", Value::Array(vec![Value::Empty])),
        ("c", text("\"\n")),
    ]);
    let values = [
        (Value::Empty, "null"),
        (text(""), r#""""#),
        (text("5"), r#""5""#),
        (text("null"), r#""null""#),
        (text("é\u{0}\n\\\""), r#""é\u0000\n\\\"""#),
        (Value::Bool(true), "true"),
        (Value::Int(i64::MIN), "-9223372036854775808"),
        (Value::Double(5.0), "5.0"),
        (Value::Double(-0.0), "-0.0"),
        (Value::Double(1e300), "1e300"),
        (Value::Double(f64::NAN), "NaN"),
        (Value::Double(f64::INFINITY), "Infinity"),
        (Value::Double(f64::NEG_INFINITY), "-Infinity"),
        (Value::Bytes("AAE=".to_owned()), r#"base64"AAE=""#),
        (Value::Array(vec![]), "[]"),
        (
            Value::Array(vec![Value::Int(1), text("a, b")]),
            r#"[1, "a, b"]"#,
        ),
        (Value::Map(nested), r#"{"a b": [null], "c": "\"\n"}"#),
        (
            Value::Repeated(vec![Value::Int(1), text("1")]),
            r#"1 | "1""#,
        ),
    ];
    for (value, form) in &values {
        let mut trace = order_trace();
        trace.spans = vec![trace.spans.remove(2)];
        trace.spans[0].attributes = map([("k", value.clone())]);
        let expected = format!("orders-api: POST /orders SERVER\n  .k = {form}\n");
        assert_eq!(render(&trace), expected);
        assert_eq!(compare(&expected, &trace), Ok(()), "{form}");
        for (_, other) in values.iter().filter(|(_, other)| other != form) {
            differs(&expected.replace(form, other), &trace);
        }
    }
}

#[test]
fn names_that_would_read_as_something_else_are_quoted() {
    let names = [
        "",
        " padded ",
        "two\nlines",
        "\"quoted\"",
        "another trace",
        "send (parent)",
        "x SERVER",
        "x SERVER (parent outside)",
        "# no comment",
        "*",
        "a: b",
        ".k = 1",
        "tab\tbed",
        "\u{85}",
    ];
    for name in names {
        let mut trace = order_trace();
        trace.spans[1].name = name.to_owned();
        trace.spans[1].service = name.to_owned();
        trace.spans[0].status = Status::Error(name.to_owned());
        trace.spans[0].attributes = map([("k", text("v"))]);
        trace.spans[0]
            .attributes
            .insert(name.to_owned(), text(name));
        trace.spans[0].events[0].name = name.to_owned();
        trace.spans[0].events[0].attributes = trace.spans[0].attributes.clone();
        let rendered = render(&trace);
        assert_eq!(compare(&rendered, &trace), Ok(()), "{rendered}");
        assert_eq!(rendered.lines().count(), 12, "{rendered}");
    }
}

#[test]
fn spans_whose_parents_form_a_ring_are_shown_once() {
    let mut trace = order_trace();
    trace.spans.truncate(2);
    trace.spans[1].parent_span_id = Some(PROCESS.to_owned());
    trace.spans[0].links.clear();
    trace.spans[0].events.clear();
    assert_eq!(
        render(&trace),
        "orders-api: send orders PRODUCER (in a cycle)
  .messaging.destination.name = \"orders\"
  order-processor: process orders CONSUMER
    .messaging.kafka.offset = 7
    !error payment_unavailable
"
    );
    assert_eq!(compare(&render(&trace), &trace), Ok(()));

    trace.spans.truncate(1);
    trace.spans[0].parent_span_id = Some(PROCESS.to_owned());
    assert!(render(&trace).starts_with("order-processor: process orders CONSUMER (in a cycle)\n"));
}

#[test]
fn a_chain_of_thousands_does_not_exhaust_the_stack() {
    let id = |n: u64| format!("{n:016x}");
    let spans = (1..=3000).map(|n| {
        let parent = (n > 1).then(|| id(n - 1));
        span(&id(n), parent.as_deref(), "s", "n", Kind::Internal, n)
    });
    let trace = Trace {
        spans: spans.collect(),
    };
    assert_eq!(render(&trace).lines().count(), 3000);
    assert_eq!(compare(&render(&trace), &trace), Ok(()));
}

#[test]
fn traces_too_different_to_align_are_shown_whole() {
    let id = |n: u64| format!("{n:016x}");
    let spans = (1..=3000).map(|n| span(&id(n), None, "s", &format!("n{n}"), Kind::Internal, n));
    let trace = Trace {
        spans: spans.collect(),
    };
    let expected = render(&trace).replace("s: n", "s: m");
    let diff = differs(&expected, &trace);
    assert_eq!(
        diff.lines().filter(|line| line.starts_with("- ")).count(),
        3000
    );
    assert_eq!(
        diff.lines().filter(|line| line.starts_with("+ ")).count(),
        3000
    );
}

#[test]
fn an_expected_text_that_cannot_be_read_is_refused_with_its_line() {
    let cases = [
        (
            "  a: b SERVER",
            "line 1",
            "the text must begin with a span that is not indented",
        ),
        (
            "# c\n\n.k = 1",
            "line 3",
            "the text must begin with a span that is not indented",
        ),
        (
            "a: b SERVER\n .k = 1",
            "line 2",
            "indent by two spaces a level",
        ),
        (
            "a: b SERVER\n\t.k = 1",
            "line 2",
            "indent by two spaces a level",
        ),
        (
            "a: b SERVER\n    c: d CLIENT",
            "line 2",
            "a span stands at most one level deeper",
        ),
        (
            "a: b SERVER\n    .k = 1",
            "line 2",
            "this belongs one level under its span",
        ),
        (
            "a: b SERVER\n.k = 1",
            "line 2",
            "this belongs one level under its span",
        ),
        (
            "a: b SERVER\n  c: d CLIENT\n  .k = 1",
            "line 3",
            "this belongs one level under its span",
        ),
        (
            "a: b SERVER\n  .k = 1\n    .l = 1",
            "line 3",
            "this belongs one level under its span",
        ),
        (
            "a b SERVER",
            "line 1",
            "a span is written `service: name KIND`",
        ),
        ("a: b", "line 1", "a span is written `service: name KIND`"),
        ("a: b SERVRE", "line 1", "`SERVRE` is no span kind"),
        ("a: \"b\" c SERVER", "line 1", "` c` is too much"),
        (
            "a: b SERVER\n  .k",
            "line 2",
            "an attribute is written `.key = value`",
        ),
        (
            "a: b SERVER\n  .k=1",
            "line 2",
            "an attribute is written `.key = value`",
        ),
        (
            "a: b SERVER\n  .k = ",
            "line 2",
            "an attribute is written `.key = value`",
        ),
        ("a: b SERVER\n  .k = one", "line 2", "expected a value"),
        ("a: b SERVER\n  .k = +5", "line 2", "expected a value"),
        (
            "a: b SERVER\n  .k = 99999999999999999999",
            "line 2",
            "expected a value",
        ),
        ("a: b SERVER\n  .k = 1 2", "line 2", "` 2` is too much"),
        (
            "a: b SERVER\n  .k = \"v",
            "line 2",
            "expected a text in quotes",
        ),
        (
            "a: b SERVER\n  .k = \"\\ud800\"",
            "line 2",
            "expected a text in quotes",
        ),
        ("a: b SERVER\n  .k = [1", "line 2", "expected `,` or `]`"),
        (
            "a: b SERVER\n  .k = {1: 2}",
            "line 2",
            "expected a text in quotes",
        ),
        (
            "a: b SERVER\n  .k = {\"a\" 2}",
            "line 2",
            "expected `:` after the key",
        ),
        ("a: b SERVER\n  . = 1", "line 2", "a name is missing"),
        (
            "a: b SERVER\n  @e k",
            "line 2",
            "an event's attribute is written `key=value`",
        ),
        ("a: b SERVER\n  @", "line 2", "a name is missing"),
        (
            "a: b SERVER\n  ->link ",
            "line 2",
            "a span is written `service: name KIND`",
        ),
        (
            "a: b SERVER\n  !errors x",
            "line 2",
            "a span is written `service: name KIND`",
        ),
    ];
    for (expected, line, problem) in cases {
        let message = compare(expected, &order_trace()).unwrap_err().to_string();
        let start = format!("{line} of the expected text: {problem}");
        assert!(message.starts_with(&start), "{expected:?} gave {message}");
    }
    let deep = format!("a: b SERVER\n  .k = {}", "[".repeat(100_000));
    let message = compare(&deep, &order_trace()).unwrap_err().to_string();
    assert!(message.contains("nests less deeply"));
}

#[test]
fn an_empty_text_expects_nothing() {
    assert_eq!(compare("# nothing\n", &Trace::default()), Ok(()));
    assert_eq!(differs("", &order_trace()).lines().count(), 11);
    assert_eq!(differs(EXPECTED, &Trace::default()).lines().count(), 11);
    assert_eq!(render(&Trace::default()), "");
}

#[test]
fn an_outline_has_the_shape_and_nothing_else() {
    assert_eq!(
        outline(&format!("# comment\n\n{EXPECTED}")),
        "orders-api: POST /orders SERVER
  orders-api: INSERT orders CLIENT
  orders-api: send orders PRODUCER
    order-processor: process orders CONSUMER
      ->link send orders (parent)
      !error payment_unavailable
"
    );
}

#[test]
fn roots_children_and_missing_parents_are_found() {
    let trace = order_trace();
    let names = |spans: Vec<&Span>| -> Vec<String> {
        spans.into_iter().map(|span| span.name.clone()).collect()
    };
    assert_eq!(names(trace.roots()), ["POST /orders"]);
    assert_eq!(
        names(trace.children(POST)),
        ["INSERT orders", "send orders"]
    );
    assert_eq!(names(trace.children(PROCESS)), [""; 0]);
    assert_eq!(names(trace.missing_parents()), [""; 0]);
    assert_eq!(trace.span(SEND).unwrap().name, "send orders");
    assert_eq!(trace.span("00000000000000ff"), None);

    let mut torn = trace;
    torn.spans.retain(|span| span.span_id != SEND);
    assert_eq!(names(torn.roots()), ["POST /orders", "process orders"]);
    assert_eq!(names(torn.missing_parents()), ["process orders"]);
}

#[test]
fn several_traces_come_apart_and_do_not_share_parents() {
    let mut mixed = order_trace();
    let mut other = span(PROCESS, Some(POST), "a", "earlier", Kind::Client, 1);
    other.trace_id = "f".repeat(32);
    mixed.spans.push(other);
    assert_eq!(
        mixed.missing_parents().len(),
        1,
        "same span id, another trace"
    );
    let traces = mixed.into_traces();
    assert_eq!(traces.len(), 2);
    assert_eq!(render(&traces[0]), "a: earlier CLIENT (parent outside)\n");
    assert_eq!(render(&traces[1]), EXPECTED);
}
