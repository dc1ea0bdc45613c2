//! Stands in for `metrics.rs` where the feature `metrics` is off: the same calls, and nothing done.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::InstrumentationScope;

use crate::propagation::Missing;
use crate::queue_wait::QueueWait;
use crate::semconv::Operation;

#[derive(Clone, Copy)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self
    }
}

pub(crate) struct Metrics;

impl Metrics {
    /// Whether topics must be kept for labels.
    pub(crate) const ARE_KEPT: bool = false;

    pub(crate) fn new(
        _: &InstrumentationScope,
        _: Option<&Arc<str>>,
        _: Option<&(Arc<str>, u16)>,
    ) -> Self {
        Self
    }

    pub(crate) fn operation(
        &self,
        _: Operation,
        _: Option<&Arc<str>>,
        _: Stopwatch,
        _: Option<&Cow<'static, str>>,
    ) {
    }

    pub(crate) fn sent(&self, _: &Arc<str>, _: Stopwatch, _: Option<&Cow<'static, str>>) {}

    pub(crate) fn consumed(&self, _: &Arc<str>) {}

    pub(crate) fn processed(&self, _: &Arc<str>, _: Stopwatch, _: Option<&Cow<'static, str>>) {}

    pub(crate) fn arrived(&self, _: &Arc<str>, _: Option<&QueueWait>, _: Option<Missing>) {}
}
