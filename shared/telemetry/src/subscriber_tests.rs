//! What reaches a trace, what reaches OTLP logs, and what of the SDK reaches stderr.

use std::io;
use std::sync::{Mutex, PoisonError};

use opentelemetry::trace::Status;
use opentelemetry_sdk::logs::InMemoryLogExporter;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData};

use super::*;
use crate::log_format::LogFormat;

/// Runs `work` under `subscriber` while no other test uses `tracing`: a callsite that is reached
/// for the first time while another thread sets a subscriber may keep that one's lack of interest.
pub(crate) fn with_only(subscriber: impl Subscriber + Send + Sync + 'static, work: impl FnOnce()) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    tracing::subscriber::with_default(subscriber, work);
}

struct Recorded {
    spans: Vec<SpanData>,
    logs: Vec<String>,
}

fn record(log_filter: &str, work: impl FnOnce()) -> Recorded {
    let spans = InMemorySpanExporter::default();
    let traces = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    let logs = InMemoryLogExporter::default();
    let records = SdkLoggerProvider::builder()
        .with_simple_exporter(logs.clone())
        .build();
    let line_format = LineFormat::new(LogFormat::Json, String::new(), false);
    let subscriber = subscriber(
        log_filter,
        line_format,
        io::sink,
        Some(&traces),
        Some(&records),
    );
    with_only(subscriber, work);
    Recorded {
        spans: spans.get_finished_spans().unwrap(),
        logs: logs
            .get_emitted_logs()
            .unwrap()
            .iter()
            .map(|log| format!("{:?}", log.record.body()))
            .collect(),
    }
}

#[tracing::instrument(err)]
fn fails() -> Result<(), io::Error> {
    Err(io::Error::other("no ink"))
}

#[tracing::instrument]
fn warns() {
    tracing::info!("a step");
    tracing::warn!(error = "no paper", "went on");
}

#[test]
fn only_an_error_event_marks_its_span() {
    let recorded = record("info", || {
        warns();
        let _ = fails();
    });
    let [warned, failed] = recorded.spans.as_slice() else {
        panic!("{:?}", recorded.spans);
    };
    assert_eq!(warned.name, "warns");
    assert_eq!(warned.status, Status::Unset);
    assert_eq!(warned.events.len(), 0);
    assert_eq!(warned.attributes, []);

    assert_eq!(failed.name, "fails");
    assert!(matches!(failed.status, Status::Error { .. }));
    assert_eq!(failed.events.len(), 1);
    assert_eq!(failed.events.events[0].name, "exception");
    assert_eq!(recorded.logs.len(), 3);
}

#[tracing::instrument(level = "debug")]
fn detail() {}

#[test]
fn a_log_level_takes_no_span_away_and_debug_spans_are_left_out() {
    let recorded = record("error", || {
        warns();
        detail();
    });
    let spans: Vec<_> = recorded.spans.iter().map(|span| &span.name).collect();
    assert_eq!(spans, ["warns"]);
    assert_eq!(recorded.logs, [""; 0]);
}

#[test]
fn what_concerns_an_export_is_not_exported() {
    let recorded = record("trace", || {
        tracing::error!(target: "opentelemetry_sdk", "x");
        tracing::error!(target: "opentelemetry-otlp", "x");
        tracing::error!(target: "hyper_util::client", "x");
        tracing::error!(target: "h2", "x");
        tracing::error!(target: "tonic::transport", "x");
        tracing::error!(target: "reqwest::connect", "x");
        tracing::error!(target: "tower::buffer", "x");
        tracing::error!(target: "telemetry::export", "x");
        tracing::info!(target: "tower_of_orders", "ours");
        tracing::info_span!(target: "h2::codec", "theirs").in_scope(|| ());
    });
    assert_eq!(recorded.logs.len(), 1);
    assert!(recorded.logs[0].contains("ours"));
    assert_eq!(recorded.spans.len(), 0);
}

#[test]
fn a_line_of_the_sdk_is_said_once_and_some_never() {
    let lines = crate::log_format::tests::lines(LogFormat::Json, false, None, || {
        for _ in 0..3 {
            tracing::warn!(name: "Sdk.Odd", target: "opentelemetry_sdk", "odd");
            tracing::error!(name: "BatchSpanProcessor.ExportError", target: "opentelemetry_sdk", "down");
            tracing::warn!(name: "Export.Failed.Exhausted", target: "opentelemetry-otlp", "down");
            tracing::warn!(name: "Sdk.Odd", target: "orders", "not the SDK");
        }
    });
    let odd = lines.iter().filter(|line| line.contains("odd")).count();
    let other = lines.iter().filter(|line| line.contains("not the")).count();
    assert_eq!((odd, other, lines.len()), (1, 3, 4), "{lines:?}");
}
