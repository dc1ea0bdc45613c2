//! One operation at the edge of a service: its span, its duration metric, and the end of both.
//!
//! The HTTP server, the HTTP client and the database share it. It does not know their attributes.

use std::borrow::Cow;
use std::thread;
use std::time::Instant;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, SpanRef, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, StringValue};

/// The version of the semantic conventions that the names in this crate follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The `error.type` of an operation whose future was dropped before it came to an end.
const CANCELLED: &str = "cancelled";

/// Looked up once: finding a tracer by name costs about as much as starting a span.
pub(crate) struct Instruments {
    tracer: BoxedTracer,
    /// Tracing is off, so no span is ever recorded.
    is_noop: bool,
    duration: Histogram<f64>,
}

impl Instruments {
    /// Takes both from the global providers, which must have been set before.
    pub(crate) fn new(
        scope: &'static str,
        metric: &'static str,
        description: &'static str,
        boundaries: &[f64],
    ) -> Self {
        let scope = InstrumentationScope::builder(scope)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let duration = global::meter_with_scope(scope.clone())
            .f64_histogram(metric)
            .with_description(description)
            .with_unit("s")
            .with_boundaries(boundaries.to_vec())
            .build();
        let tracer = global::tracer_with_scope(scope);
        Self {
            is_noop: is_noop(&tracer),
            tracer,
            duration,
        }
    }

    /// Starts the span under `parent`, and the clock. `describe` gives its name and attributes, and
    /// is asked only if they can matter: a parent that was not sampled nearly always decides.
    pub(crate) fn start(
        &self,
        mut span: SpanBuilder,
        parent: &Context,
        labels: Vec<KeyValue>,
        describe: impl FnOnce(&[KeyValue]) -> (Cow<'static, str>, Vec<KeyValue>),
    ) -> Operation {
        let started = Instant::now();
        let above = parent.span();
        let above = above.span_context();
        let span = if self.is_noop || (above.is_valid() && !above.is_sampled()) {
            let mut span = self.tracer.build_with_context(span, parent);
            if span.is_recording() {
                let (name, attributes) = describe(&labels);
                span.update_name(name);
                span.set_attributes(attributes);
            }
            span
        } else {
            let (name, attributes) = describe(&labels);
            span.name = name;
            self.tracer
                .build_with_context(span.with_attributes(attributes), parent)
        };
        Operation {
            context: parent.with_span(span),
            duration: self.duration.clone(),
            started,
            labels,
            completed: false,
        }
    }
}

/// Whether this is the API's own tracer, which hands the parent's context on. An SDK gives a span an
/// id of its own, or none where telemetry is suppressed, as it is here so that nothing is recorded.
fn is_noop(tracer: &BoxedTracer) -> bool {
    let parent = SpanContext::new(
        TraceId::from(1),
        SpanId::from(1),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    );
    let suppressed = Context::new()
        .with_remote_span_context(parent.clone())
        .with_telemetry_suppressed();
    let span = tracer.build_with_context(SpanBuilder::default(), &suppressed);
    *span.span_context() == parent
}

/// Ends when it is dropped: as it was left by [`Operation::complete`], or as cancelled.
pub(crate) struct Operation {
    context: Context,
    duration: Histogram<f64>,
    started: Instant,
    labels: Vec<KeyValue>,
    completed: bool,
}

impl Operation {
    /// The context in which the work has to run.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn span(&self) -> SpanRef<'_> {
        self.context.span()
    }

    /// Puts an attribute of low cardinality on the span and on the metric.
    pub(crate) fn label(&mut self, label: KeyValue) {
        self.span().set_attribute(label.clone());
        self.labels.push(label);
    }

    /// Marks the operation as failed. `description` is left empty where another attribute says it.
    pub(crate) fn fail(
        &mut self,
        error_type: impl Into<StringValue>,
        description: impl Into<Cow<'static, str>>,
    ) {
        self.label(KeyValue::new("error.type", error_type.into()));
        self.span().set_status(Status::error(description));
    }

    /// Adds the `exception` event of the conventions.
    pub(crate) fn exception(&self, kind: &'static str, message: String) {
        self.span().add_event(
            "exception",
            vec![
                KeyValue::new("exception.type", kind),
                KeyValue::new("exception.message", message),
            ],
        );
    }

    /// Ends the span and records the duration.
    pub(crate) fn complete(mut self) {
        self.completed = true;
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.completed {
            let reason = if thread::panicking() {
                "panic"
            } else {
                CANCELLED
            };
            self.fail(reason, reason);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        // The span ends here and not with the last clone of the context, which a task that was
        // spawned on the way may hold for long.
        self.span().end();
        self.duration.record(seconds, &self.labels);
    }
}
