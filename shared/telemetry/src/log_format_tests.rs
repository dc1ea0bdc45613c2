//! Lines as they come out, under API spans and `#[instrument]` spans, with any content.

use std::io;
use std::sync::{Arc, Mutex};

use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

use super::*;
use crate::subscriber::subscriber;
use crate::subscriber::tests::with_only;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs, line by line.
pub(crate) fn lines(
    format: LogFormat,
    colour: bool,
    provider: Option<&SdkTracerProvider>,
    work: impl FnOnce(),
) -> Vec<String> {
    let output = Output::default();
    let line_format = LineFormat::new(format, "orders-api".to_owned(), colour);
    let writer = output.clone();
    let subscriber = subscriber("info", line_format, move || writer.clone(), provider, None);
    with_only(subscriber, work);
    let bytes = output.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn json_line(work: impl FnOnce()) -> Value {
    let lines = lines(LogFormat::Json, false, None, work);
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

fn assert_is_now(timestamp: &str) {
    let today: String = {
        let mut text = String::new();
        SystemTime.format_time(&mut Writer::new(&mut text)).unwrap();
        text
    };
    assert_eq!(timestamp.len(), "2026-01-02T03:04:05.123456Z".len());
    assert!(timestamp.ends_with('Z'));
    assert!(timestamp <= today.as_str());
}

#[test]
fn a_json_line_has_these_members_in_this_order() {
    let lines = lines(LogFormat::Json, false, None, || {
        tracing::warn!(order = 7_u64, paid = true, share = 0.5, "two\nlines");
    });
    let (start, rest) = lines[0].split_at(r#"{"timestamp":""#.len());
    let (timestamp, rest) = rest.split_once('"').unwrap();
    assert_eq!(start, r#"{"timestamp":""#);
    assert_is_now(timestamp);
    assert_eq!(
        rest,
        r#","level":"WARN","service":"orders-api","target":"telemetry::log_format::tests","message":"two\nlines","fields":{"order":7,"paid":true,"share":0.5}}"#
    );
}

#[test]
fn a_pretty_line_without_and_with_colour() {
    let work = || tracing::info!(order = 7_u64, name = "a b", "taken");
    let plain = lines(LogFormat::Pretty, false, None, work);
    let (timestamp, rest) = plain[0].split_once(' ').unwrap();
    assert_is_now(timestamp);
    assert_eq!(
        rest,
        " INFO telemetry::log_format::tests: taken name=a b order=7"
    );
    let coloured = lines(LogFormat::Pretty, true, None, work);
    assert!(coloured[0].starts_with("\x1b[2m"));
    assert!(coloured[0].contains(" \x1b[32m INFO\x1b[0m "));
}

#[tracing::instrument]
fn settle_payment() -> SpanContext {
    tracing::info!("settling");
    Context::map_current(|context| context.span().span_context().clone())
}

#[test]
fn a_line_has_the_ids_of_the_innermost_span_of_either_kind() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let mut inner = None;
    let lines = lines(LogFormat::Json, false, Some(&provider), || {
        let tracer = provider.tracer("edge");
        let span = tracer.start("process orders");
        let context = Context::new().with_span(span);
        {
            let _active = context.clone().attach();
            tracing::info!("before");
            inner = Some(settle_payment());
            tracing::info!("after");
        }
        tracing::info!("outside");
    });
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 2);
    let (business, edge) = (&spans[0], &spans[1]);
    assert_eq!(business.name, "settle_payment");
    assert_eq!(business.parent_span_id, edge.span_context.span_id());
    assert_eq!(inner.unwrap().span_id(), business.span_context.span_id());

    let ids: Vec<_> = lines
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |member: &str| line[member].as_str().map(str::to_owned);
            (text("message").unwrap(), text("trace_id"), text("span_id"))
        })
        .collect();
    let of = |message: &str, span: &SpanContext| {
        (
            message.to_owned(),
            Some(span.trace_id().to_string()),
            Some(span.span_id().to_string()),
        )
    };
    assert_eq!(
        ids,
        [
            of("before", &edge.span_context),
            of("settling", &business.span_context),
            of("after", &edge.span_context),
            ("outside".to_owned(), None, None),
        ]
    );
}

#[test]
fn a_pretty_line_ends_with_the_ids() {
    let provider = SdkTracerProvider::builder().build();
    let mut span = None;
    let lines = lines(LogFormat::Pretty, false, Some(&provider), || {
        span = Some(settle_payment());
    });
    let span = span.unwrap();
    let expected = format!(
        ": settling trace_id={} span_id={}",
        span.trace_id(),
        span.span_id()
    );
    assert!(lines[0].ends_with(&expected), "{lines:?}");
}

struct Broken;

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] io::Error);

#[test]
fn any_content_gives_one_valid_json_line() {
    let hostile = "\"}\n{\"level\":\"x\"\u{0}\u{1b}[31m\u{7f}\u{2028}\u{1f600}\\";
    let error = Outer(io::Error::other("inner"));
    let line = json_line(|| {
        tracing::info!(
            text = hostile,
            shown = %hostile,
            nan = f64::NAN,
            infinite = f64::INFINITY,
            wide = u128::MAX,
            narrow = i64::MIN,
            broken = ?Broken,
            bytes = &[0_u8, 255][..],
            error = &error as &(dyn std::error::Error + 'static),
            trace_id = "not ours",
            "{hostile}"
        );
    });
    assert_eq!(line["message"], hostile);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line.get("trace_id"), None);
    let expected = serde_json::json!({
        "text": hostile,
        "shown": hostile,
        "nan": "NaN",
        "infinite": "inf",
        "wide": "340282366920938463463374607431768211455",
        "narrow": i64::MIN,
        "broken": "half<failed to format>",
        "bytes": "[00 ff]",
        "error": "outer: inner",
        "trace_id": "not ours",
    });
    assert_eq!(line["fields"], expected);
}

#[test]
fn hostile_text_neither_starts_a_line_nor_speaks_to_the_terminal() {
    let hostile = "a\n2026 ERROR forged\r\u{1b}[2J\u{9b}0m\tb é";
    let lines = lines(LogFormat::Pretty, false, None, || {
        tracing::info!(text = hostile, "{hostile}");
    });
    assert_eq!(lines.len(), 1);
    let shown = r"a\n2026 ERROR forged\r\u{1b}[2J\u{9b}0m\tb é";
    assert!(
        lines[0].ends_with(&format!(": {shown} text={shown}")),
        "{lines:?}"
    );
}

#[test]
fn an_event_without_a_message_is_a_line_too() {
    let line = json_line(|| tracing::error!(code = 1));
    assert_eq!(line["message"], "");
    assert_eq!(line["fields"], serde_json::json!({"code": 1}));
}
