//! The span tree of a trace as lines of the canonical text.
//!
//! Every span appears exactly once, whatever its parents are: spans whose parent is missing are
//! roots, and so is one span of a cycle of parents. It changes nothing in the trace.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::text::{Item, Line, Place, Target, Text};
use crate::trace::{Span, Status, Trace, key, order, parent_key};

/// The trace in canonical form, with all attributes. What it gives is an expected text that
/// [`compare`](crate::compare) accepts for this trace.
#[must_use]
pub fn render(trace: &Trace) -> String {
    let mut text = String::new();
    for line in lines(trace) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{line}");
    }
    text
}

pub(crate) fn lines(trace: &Trace) -> Vec<Line> {
    let mut spans: Vec<&Span> = trace.spans.iter().collect();
    spans.sort_by(|a, b| order(a).cmp(&order(b)));
    let by_id: HashMap<_, _> = spans.iter().map(|span| (key(span), *span)).collect();
    let mut children: HashMap<_, Vec<&Span>> = HashMap::new();
    let mut roots = Vec::new();
    for span in &spans {
        match parent_key(span) {
            None => roots.push((*span, Place::Here)),
            Some(parent) if by_id.contains_key(&parent) => {
                children.entry(parent).or_default().push(span);
            }
            Some(_) => roots.push((*span, Place::ParentOutside)),
        }
    }

    let mut lines = Vec::new();
    let mut drawn = HashSet::new();
    // What no root leads to is in a cycle, or hangs below one.
    let in_cycles = spans.iter().map(|span| (*span, Place::Cycle));
    for (root, place) in roots.into_iter().chain(in_cycles) {
        // A stack and not recursion: the depth is the sender's to choose.
        let mut stack = vec![(0, root, place)];
        while let Some((depth, span, place)) = stack.pop() {
            if !drawn.insert(std::ptr::from_ref(span)) {
                continue;
            }
            lines.push(Line {
                depth,
                item: Item::Span {
                    service: span.service.clone(),
                    name: span.name.clone(),
                    kind: span.kind,
                    place,
                },
            });
            details(span, depth + 1, &by_id, &mut lines);
            let below = children.get(&key(span)).map_or(&[][..], Vec::as_slice);
            stack.extend(
                below
                    .iter()
                    .rev()
                    .map(|child| (depth + 1, *child, Place::Here)),
            );
        }
    }
    lines
}

fn details(span: &Span, depth: usize, by_id: &HashMap<(&str, &str), &Span>, lines: &mut Vec<Line>) {
    let mut push = |depth, item| lines.push(Line { depth, item });
    for link in &span.links {
        let same_trace = link.trace_id == span.trace_id;
        let target = match by_id.get(&(link.trace_id.as_str(), link.span_id.as_str())) {
            _ if !same_trace => Target::AnotherTrace,
            Some(linked) => Target::Span(linked.name.clone()),
            None => Target::MissingSpan,
        };
        let parent = same_trace && span.parent_span_id.as_deref() == Some(&link.span_id);
        push(depth, Item::Link { target, parent });
        for (key, value) in &link.attributes {
            let (key, value) = (key.clone(), Text::of(value));
            push(depth + 1, Item::Attribute { key, value });
        }
    }
    for (key, value) in &span.attributes {
        let (key, value) = (key.clone(), Text::of(value));
        push(depth, Item::Attribute { key, value });
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => push(depth, Item::Ok),
        Status::Error(description) => {
            push(depth, Item::Error(Text::Exactly(description.clone())));
        }
    }
    let mut events: Vec<_> = span.events.iter().collect();
    events.sort_by_key(|event| event.time_unix_nano);
    for event in events {
        let attributes = event.attributes.iter();
        let attributes = attributes.map(|(key, value)| (key.clone(), Text::of(value)));
        push(
            depth,
            Item::Event {
                name: event.name.clone(),
                attributes: attributes.collect(),
            },
        );
    }
}
