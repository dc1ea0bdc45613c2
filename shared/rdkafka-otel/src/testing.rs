//! For tests: what a program's spans are, as data or as one text to compare with.
//!
//! Installs an SDK that keeps its spans in memory; a program that runs in production has no use for
//! it. The text and its comparison are the crate `trace-tree`'s, which reads OTLP JSON too, so that
//! one expected text serves a test in one process and a test against a backend's query API.
//!
//! ```
//! use opentelemetry::trace::{Tracer, TracerProvider};
//! use rdkafka_otel::testing::Capture;
//!
//! let capture = Capture::install();
//! let tracer = capture.provider().tracer("example");
//! tracer.in_span("work", |_| ());
//!
//! capture.compare("shop: work INTERNAL", "shop").unwrap();
//! let mismatch = capture.compare("shop: play INTERNAL", "shop").unwrap_err();
//! assert_eq!(
//!     mismatch.to_string(),
//!     "the trace is not the expected one (- expected, + actual):\n\
//!      - shop: play INTERNAL\n\
//!      + shop: work INTERNAL\n"
//! );
//! ```

use opentelemetry::global;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rdkafka::message::OwnedHeaders;

pub use trace_tree::{
    Event, ExpectedError, Kind, Link, Mismatch, OtlpJsonError, Span, Status, Trace, Value, compare,
    outline, render,
};

use crate::native;
use crate::send::{Outgoing, SendTracer};

/// Spans that are kept in memory when they end.
#[derive(Clone, Debug)]
pub struct Capture {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Capture {
    /// An SDK that samples every span, made global together with the W3C propagators for trace
    /// context and baggage. Once in a process; clients made before this do not use it.
    #[must_use]
    pub fn install() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        global::set_tracer_provider(provider.clone());
        global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
        Self { provider, exporter }
    }

    /// The SDK's provider, for tracers of the test's own.
    #[must_use]
    pub fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// The spans that have ended so far, in the order that they did.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        // The exporter fails only where a test has panicked while it held its lock.
        self.exporter.get_finished_spans().unwrap_or_default()
    }

    /// The same as a [`Trace`], which may be of several trace ids; all as of one service.
    #[must_use]
    pub fn trace(&self, service: &str) -> Trace {
        Trace::from_span_data(&self.spans(), service)
    }

    /// Whether the spans that have ended so far are exactly those of the expected text. Its form is
    /// described in the crate `trace-tree`; [`render`] writes it.
    ///
    /// # Errors
    ///
    /// [`Mismatch`], which prints as a difference line by line.
    pub fn compare(&self, expected: &str, service: &str) -> Result<(), Mismatch> {
        compare(expected, &self.trace(service))
    }

    /// Forgets the spans that have ended so far.
    pub fn clear(&self) {
        self.exporter.reset();
    }
}

/// Appends a header whose key may be any bytes. Anyone who may write to a topic may send one, and
/// rdkafka's own interface has no way to make one: for tests of what such a record does to you.
pub fn append_header(headers: &mut OwnedHeaders, key: &[u8], value: Option<&[u8]>) {
    native::append(headers, key, value);
}

/// A `send` span from start to end as a delivered record has it, without a record: the context goes
/// into `headers`, then the span ends with partition 0 and this offset. For measurements, and for
/// tests of what a sampler or a propagator makes of it.
pub fn send_span(
    tracer: &SendTracer,
    topic: &str,
    key: &[u8],
    offset: i64,
    headers: &mut Option<OwnedHeaders>,
) {
    let shown = Outgoing {
        topic,
        partition: None,
        key: Some(key),
        is_tombstone: false,
    };
    let span = tracer.start(shown, headers, []);
    span.report(0, offset, None);
}
