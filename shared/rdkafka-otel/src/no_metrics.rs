//! Stands in for `metrics.rs` where the feature `metrics` is off: the same calls, and nothing done.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::InstrumentationScope;

use crate::propagation::Missing;
use crate::queue_wait::QueueWait;
use crate::semconv::Operation;
use crate::topic::Topic;

#[derive(Clone, Copy)]
pub(crate) struct Stopwatch;

#[derive(Default)]
pub(crate) struct Labels;

pub(crate) struct Metrics;

impl Metrics {
    pub(crate) fn new(
        _: &InstrumentationScope,
        _: Option<&Arc<str>>,
        _: Option<&(Arc<str>, u16)>,
    ) -> Self {
        Self
    }

    pub(crate) fn are_kept(&self) -> bool {
        false
    }

    pub(crate) fn start(&self) -> Stopwatch {
        Stopwatch
    }

    pub(crate) fn labels(&self, _: &Arc<str>) -> Labels {
        Labels
    }

    pub(crate) fn operation(
        &self,
        _: Operation,
        _: Option<&Topic>,
        _: Stopwatch,
        _: Option<&Cow<'static, str>>,
    ) {
    }

    pub(crate) fn sent(&self, _: &Topic, _: Stopwatch, _: Option<&Cow<'static, str>>) {}

    pub(crate) fn consumed(&self, _: &Topic) {}

    pub(crate) fn processed(&self, _: &Topic, _: Stopwatch, _: Option<&Cow<'static, str>>) {}

    pub(crate) fn arrived(&self, _: &Topic, _: Option<&QueueWait>, _: Option<Missing>) {}
}
