//! A trace in a line of the live list, and which lines are asked for.
//!
//! Computed when it is read: it says what is known now. The list's order is the store's.

use std::collections::BTreeMap;

use memchr::memchr2_iter;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

use crate::attributes::{Asked, is_written};
use crate::join::{self, Join, State};
use crate::messaging;
use crate::otlp_json::hex;
use crate::parameters::Parameters;
use crate::queue_wait::MAX_SPANS;
use crate::store::{Group, SpanId, Store, Trace};

/// Without spans for so long a trace is quiet; "complete" is never claimed.
const QUIET_MS: u64 = 2_000;
/// Most lines in an answer.
const MAX_LIMIT: usize = 500;
const DEFAULT_LIMIT: usize = 100;
/// Services named in a line; the rest is a number.
const MAX_SERVICES: usize = 12;
/// Names are cut for the list; the trace itself has all of them.
const MAX_NAME_CHARS: usize = 300;

/// A line of the list. Times in nanoseconds, those since the Unix epoch as text, since they are
/// beyond the numbers of JavaScript.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) trace_id: String,
    pub(crate) root_service: String,
    pub(crate) root_name: String,
    /// Whether the root itself is here, or only spans below it.
    pub(crate) has_root: bool,
    pub(crate) start_unix_nano: String,
    pub(crate) duration_nano: u64,
    pub(crate) spans: usize,
    pub(crate) errors: usize,
    pub(crate) services: Vec<ServiceCount>,
    pub(crate) more_services: usize,
    /// None when nothing in it goes through a queue that somebody is known to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    pub(crate) reason: String,
    pub(crate) joined: usize,
    pub(crate) ends: usize,
    /// The longest wait in a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_wait_ms: Option<i64>,
    pub(crate) is_quiet: bool,
    /// An order's id, where a span has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order_id: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceCount {
    pub(crate) name: String,
    pub(crate) spans: usize,
}

/// What the list is narrowed to. Every condition must hold, each for some span of the trace.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) service: Option<String>,
    pub(crate) name: Option<Text>,
    pub(crate) topic: Option<String>,
    pub(crate) attribute: Option<Asked>,
    pub(crate) text: Option<Text>,
    pub(crate) errors: bool,
    pub(crate) duration_min_nano: u64,
    pub(crate) state: Option<State>,
    /// Also traces of nothing but polls and commits.
    pub(crate) all: bool,
    /// Through all that is held, however long it takes.
    pub(crate) deep: bool,
    pub(crate) limit: usize,
}

impl Filter {
    /// The filter that a query string describes, or a message for its sender.
    pub(crate) fn new(parameters: &Parameters) -> Result<Filter, String> {
        let owned = |name| parameters.get(name).map(str::to_owned);
        let state = match parameters.get("state") {
            None => None,
            Some("joined") => Some(State::Joined),
            Some("waiting") => Some(State::Waiting),
            Some("orphaned") => Some(State::Orphaned),
            Some(_) => return Err("state is joined, waiting or orphaned".to_owned()),
        };
        let milliseconds = match parameters.get("min_ms").map(str::parse::<f64>) {
            None => 0.0,
            Some(Ok(number)) if number.is_finite() && number >= 0.0 => number,
            Some(_) => return Err("min_ms is a number of milliseconds".to_owned()),
        };
        let limit = match parameters.get("limit").map(str::parse::<usize>) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
            Some(_) => return Err(format!("limit is a number from 1 to {MAX_LIMIT}")),
        };
        let attribute = parameters
            .get("attribute")
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => Asked::new(key.trim(), Some(value.trim())),
                None => Asked::new(pair.trim(), None),
            });
        Ok(Filter {
            service: owned("service"),
            name: parameters.get("name").map(Text::new),
            topic: owned("topic"),
            attribute,
            text: parameters.get("text").map(Text::new),
            errors: parameters.get("errors").is_some(),
            // Saturates, as wanted.
            duration_min_nano: (milliseconds * 1e6) as u64,
            state,
            all: parameters.get("all").is_some(),
            deep: parameters.get("deep").is_some(),
            limit,
        })
    }

    /// How many spans may be looked at for one answer: less where each takes longer.
    pub(crate) fn max_spans(&self) -> usize {
        if self.deep {
            usize::MAX
        } else if self.text.is_some() || self.state.is_some() {
            MAX_SPANS / 2
        } else {
            MAX_SPANS
        }
    }

    /// Whether the trace may be wanted, as far as can be told without a look at its spans.
    pub(crate) fn may_want(&self, trace: &Trace) -> bool {
        let any = |holds: &dyn Fn(&Group) -> bool| trace.groups.iter().any(|group| holds(group));
        self.service
            .as_ref()
            .is_none_or(|service| any(&|group| group.source.service == *service))
            && self.attribute.as_ref().is_none_or(|asked| {
                any(&|group| asked.may_be_in_spans(group) || asked.is_in_resource(group))
            })
    }

    /// Whether a trace that may be wanted is, as far as its spans tell.
    pub(crate) fn wants(&self, trace: &Trace) -> bool {
        let any = |holds: &dyn Fn(&Span) -> bool| trace.spans().any(|(_, span)| holds(span));
        (self.all || any(&|span| !messaging::is_receive_or_settle(span)))
            && self.attribute.as_ref().is_none_or(|asked| {
                let mut groups = trace.groups.iter();
                groups.any(|group| asked.is_in_group(group))
            })
            && (!self.errors || any(&messaging::is_error))
            && (self.duration_min_nano == 0 || {
                let (start, end) = extent(trace);
                end.saturating_sub(start) >= self.duration_min_nano
            })
            && self
                .topic
                .as_ref()
                .is_none_or(|topic| any(&|span| messaging::topic(span) == Some(topic)))
            && self
                .name
                .as_ref()
                .is_none_or(|name| any(&|span| name.is_in(&span.name)))
            && self
                .text
                .as_ref()
                .is_none_or(|text| text.is_anywhere(trace))
    }
}

/// A text that is searched for, whatever the case of its letters.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    lower: String,
    /// The first byte, as a small and as a capital letter; none where lower case is more than ASCII.
    first: Option<(u8, u8)>,
    span_id: Option<SpanId>,
}

impl Text {
    pub(crate) fn new(text: &str) -> Text {
        let lower = text.to_lowercase();
        let first = lower.bytes().next().filter(|_| lower.is_ascii());
        let is_id = lower.len() == 16 && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        let span_id = u64::from_str_radix(&lower, 16).ok().filter(|_| is_id);
        Text {
            first: first.map(|byte| (byte, byte.to_ascii_uppercase())),
            span_id: span_id.map(u64::to_be_bytes),
            lower,
        }
    }

    fn is_in(&self, hay: &str) -> bool {
        match self.first {
            // A copy in lower case of all that is held takes too long.
            Some((small, capital)) => {
                let (hay, lower) = (hay.as_bytes(), self.lower.as_bytes());
                let Some(last) = hay.len().checked_sub(lower.len()) else {
                    return false;
                };
                memchr2_iter(small, capital, &hay[..=last])
                    .any(|at| hay[at..at + lower.len()].eq_ignore_ascii_case(lower))
            }
            None => hay.to_lowercase().contains(&self.lower),
        }
    }

    fn is_in_any(&self, attributes: &[KeyValue]) -> bool {
        attributes.iter().any(|pair| {
            self.is_in(&pair.key)
                || match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                    Some(Value::StringValue(value)) => self.is_in(value),
                    Some(value) => is_written(value, &self.lower),
                    None => false,
                }
        })
    }

    /// Whether it is anywhere in the trace that a reader would look.
    fn is_anywhere(&self, trace: &Trace) -> bool {
        let mut groups = trace.groups.iter();
        hex(&trace.id).contains(&self.lower)
            || groups.any(|group| self.is_in(&group.source.service))
            || trace.spans().any(|(_, span)| {
                self.is_in(&span.name)
                    || self.is_in_any(&span.attributes)
                    || self.span_id.is_some_and(|id| span.span_id == id)
                    || span
                        .events
                        .iter()
                        .any(|event| self.is_in(&event.name) || self.is_in_any(&event.attributes))
            })
    }
}

/// First start and last end.
pub(crate) fn extent(trace: &Trace) -> (u64, u64) {
    let spans = || trace.spans().map(|(_, span)| span);
    let start = spans().map(|span| span.start_time_unix_nano).min();
    let end = spans().map(|span| span.end_time_unix_nano).max();
    (start.unwrap_or(0), end.unwrap_or(0))
}

/// The line of a trace, at `now_ms`.
pub(crate) fn summary(store: &Store, trace: &Trace, now_ms: u64) -> Summary {
    let joins = join::joins(store, trace, now_ms);
    let worst = join::worst(&joins);
    let root = root(trace);
    let mut services: BTreeMap<&str, usize> = BTreeMap::new();
    for group in &trace.groups {
        *services.entry(&group.source.service).or_default() += group.spans.len();
    }
    let (start, end) = extent(trace);
    let spans = || trace.spans().map(|(_, span)| span);
    Summary {
        trace_id: hex(&trace.id),
        root_service: root.map_or_else(String::new, |(group, _)| cut(&group.source.service)),
        root_name: root.map_or_else(String::new, |(_, span)| cut(&span.name)),
        has_root: root.is_some_and(|(_, span)| span.parent_span_id.is_empty()),
        start_unix_nano: start.to_string(),
        duration_nano: end.saturating_sub(start),
        spans: trace.span_count(),
        errors: spans().filter(|span| messaging::is_error(span)).count(),
        more_services: services.len().saturating_sub(MAX_SERVICES),
        services: services
            .into_iter()
            .take(MAX_SERVICES)
            .map(|(name, spans)| ServiceCount {
                name: cut(name),
                spans,
            })
            .collect(),
        state: worst.map(|join| join.state),
        reason: worst.map_or_else(String::new, |join| join.reason.clone()),
        joined: count_joined(&joins),
        ends: joins.len(),
        queue_wait_ms: spans().filter_map(messaging::queue_wait_ms).max(),
        is_quiet: now_ms.saturating_sub(trace.last_arrival_ms) >= QUIET_MS,
        order_id: spans().find_map(|span| {
            match messaging::attribute(&span.attributes, "app.order.id")? {
                Value::StringValue(id) => Some(cut(id)),
                _ => None,
            }
        }),
    }
}

fn count_joined(joins: &[Join]) -> usize {
    let joined = joins.iter().filter(|join| join.state == State::Joined);
    joined.count()
}

/// The span without a parent that began first, or else the first whose parent is not here.
fn root(trace: &Trace) -> Option<(&Group, &Span)> {
    let first = |is_root: &dyn Fn(&Span) -> bool| {
        let roots = trace.spans().filter(|(_, span)| is_root(span));
        roots.min_by_key(|(_, span)| span.start_time_unix_nano)
    };
    first(&|span| span.parent_span_id.is_empty())
        .or_else(|| first(&|span| !trace.has(&span.parent_span_id)))
        .or_else(|| first(&|_| true))
}

pub(crate) fn cut(text: &str) -> String {
    beginning_of(text).to_owned()
}

/// A name as far as lists and graphs show it.
pub(crate) fn beginning_of(text: &str) -> &str {
    // Most are shorter even in bytes.
    if text.len() <= MAX_NAME_CHARS {
        return text;
    }
    let end = text.char_indices().nth(MAX_NAME_CHARS);
    end.map_or(text, |(end, _)| &text[..end])
}
