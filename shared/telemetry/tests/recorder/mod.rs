//! Global providers that keep what they get in memory, and spans and metrics as text to compare.
//!
//! Tests of one file share the providers, so each works under a root span of its own and looks at
//! its own trace.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use opentelemetry::baggage::BaggageExt;
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::trace::{SpanId, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

pub(crate) struct Recorder {
    spans: InMemorySpanExporter,
    metrics: InMemoryMetricExporter,
    meters: SdkMeterProvider,
}

/// The recorder of this process; its providers are global from the first call on.
pub(crate) fn recorder() -> &'static Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        let metrics = InMemoryMetricExporter::default();
        let meters = SdkMeterProvider::builder()
            .with_periodic_exporter(metrics.clone())
            .build();
        global::set_tracer_provider(tracers);
        global::set_meter_provider(meters.clone());
        global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
        Recorder {
            spans,
            metrics,
            meters,
        }
    })
}

/// Runs `work` under a root span named `test`, with one entry of baggage; answers with the trace.
pub(crate) async fn traced<T>(work: impl Future<Output = T>) -> (T, TraceId) {
    recorder();
    let span = global::tracer("test").start("test");
    let context = Context::new()
        .with_span(span)
        .with_baggage([KeyValue::new("tenant", "acme")]);
    let trace = context.span().span_context().trace_id();
    let result = work.with_context(context.clone()).await;
    context.span().end();
    (result, trace)
}

impl Recorder {
    pub(crate) fn spans(&self, wanted: impl Fn(&SpanData) -> bool) -> Vec<SpanData> {
        let mut spans = self.spans.get_finished_spans().unwrap();
        spans.retain(|span| wanted(span));
        spans
    }

    pub(crate) fn trace(&self, trace: TraceId) -> Vec<SpanData> {
        self.spans(|span| span.span_context.trace_id() == trace)
    }

    /// Waits until `wanted` names as many spans as `count`.
    pub(crate) async fn await_spans(
        &self,
        count: usize,
        wanted: impl Fn(&SpanData) -> bool,
    ) -> Vec<SpanData> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let spans = self.spans(&wanted);
            if spans.len() >= count {
                return spans;
            }
            assert!(
                Instant::now() < deadline,
                "{count} spans awaited: {spans:#?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The labels of each series of a duration histogram with how often it was recorded, for the
    /// series that have `label`.
    pub(crate) fn durations(&self, metric: &str, label: &KeyValue) -> Vec<String> {
        self.meters.force_flush().unwrap();
        let exported = self.metrics.get_finished_metrics().unwrap();
        let last = exported.last().unwrap();
        let mut series = Vec::new();
        for found in last.scope_metrics().flat_map(|scope| scope.metrics()) {
            if found.name() != metric {
                continue;
            }
            assert_eq!(found.unit(), "s");
            let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = found.data() else {
                panic!("{metric} is no histogram of f64");
            };
            for point in histogram.data_points() {
                let labels: Vec<KeyValue> = point.attributes().cloned().collect();
                if labels.contains(label) {
                    let bounds = point.bounds().count();
                    series.push(format!(
                        "{} n={} bounds={bounds}",
                        attributes(&labels),
                        point.count()
                    ));
                }
            }
        }
        series.sort();
        series
    }
}

/// The tree below the root span `test`, two lines and more a span: kind, name and status, then
/// attributes and events.
pub(crate) fn tree(spans: &[SpanData]) -> String {
    let root = spans.iter().find(|span| span.name == "test").unwrap();
    let mut text = String::new();
    branch(spans, root.span_context.span_id(), 0, &mut text);
    text
}

fn branch(spans: &[SpanData], parent: SpanId, depth: usize, text: &mut String) {
    let indent = "    ".repeat(depth);
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        for line in shown(span).lines() {
            text.push_str(&format!("{indent}{line}\n"));
        }
        branch(spans, span.span_context.span_id(), depth + 1, text);
    }
}

/// One span, without ids and times.
pub(crate) fn shown(span: &SpanData) -> String {
    let kind = format!("{:?}", span.span_kind).to_uppercase();
    let status = match &span.status {
        Status::Unset => String::new(),
        Status::Ok => " Ok".to_owned(),
        Status::Error { description } => format!(" Error({description})"),
    };
    let mut text = format!("{kind} {}{status}\n", span.name);
    text.push_str(&format!("  {}\n", attributes(&span.attributes)));
    for event in span.events.iter() {
        text.push_str(&format!(
            "  ! {} {}\n",
            event.name,
            attributes(&event.attributes)
        ));
    }
    for link in span.links.iter() {
        text.push_str(&format!("  link {:?}\n", link.span_context));
    }
    text
}

/// All attributes by name; a key that is there twice is shown twice.
fn attributes(attributes: &[KeyValue]) -> String {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for attribute in attributes {
        by_name
            .entry(attribute.key.as_str())
            .or_default()
            .push(format!("{}={}", attribute.key, attribute.value));
    }
    by_name
        .into_values()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
