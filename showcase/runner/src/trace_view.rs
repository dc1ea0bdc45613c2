//! A trace as a tree on the terminal: who did what, for how long, and how long a record waited.

use anstyle::{AnsiColor, Style};
use std::fmt::Write;
use trace_tree::{Kind, Span, Status, Trace};

/// Colours of the services, in the order they appear; bright ones, readable on dark and light.
const PALETTE: [AnsiColor; 5] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
];
const DIM: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const QUEUE: Style = AnsiColor::Yellow.on_default().italic();

/// The tree as text with ANSI styles, for a writer that strips them where they do not belong.
pub(crate) fn render(trace: &Trace) -> String {
    let mut rows = Vec::new();
    let roots = trace.roots();
    for root in &roots {
        lay_out(trace, root, "", "", &mut rows);
    }
    let name_width = rows.iter().map(Row::name_width).max().unwrap_or_default();
    let services = services(&rows);
    let service_width = services.iter().map(|name| name.chars().count()).max();
    let mut text = String::new();
    for row in &rows {
        row.write(
            &mut text,
            name_width,
            service_width.unwrap_or_default(),
            &services,
        );
    }
    let _ = writeln!(
        text,
        "{DIM}{}{DIM:#}",
        summary(trace, services.len(), roots.len())
    );
    text
}

struct Row<'a> {
    /// Lines of the tree in front of the name.
    branch: String,
    span: &'a Span,
}

fn lay_out<'a>(
    trace: &'a Trace,
    span: &'a Span,
    branch: &str,
    stem: &str,
    rows: &mut Vec<Row<'a>>,
) {
    rows.push(Row {
        branch: branch.to_owned(),
        span,
    });
    let children = trace.children(&span.span_id);
    let last = children.len().saturating_sub(1);
    for (index, child) in children.into_iter().enumerate() {
        let (fork, below) = if index == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        lay_out(
            trace,
            child,
            &format!("{stem}{fork}"),
            &format!("{stem}{below}"),
            rows,
        );
    }
}

fn services<'a>(rows: &[Row<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for row in rows {
        if !names.contains(&row.span.service.as_str()) {
            names.push(row.span.service.as_str());
        }
    }
    names
}

impl Row<'_> {
    fn name_width(&self) -> usize {
        self.branch.chars().count() + printable(&self.span.name).chars().count()
    }

    fn write(&self, text: &mut String, name_width: usize, service_width: usize, services: &[&str]) {
        let Span {
            service,
            name,
            kind,
            ..
        } = self.span;
        let index = services.iter().position(|known| known == service);
        let colour = PALETTE[index.unwrap_or_default() % PALETTE.len()];
        let style = Style::new().fg_color(Some(colour.into()));
        let name = printable(name);
        let padding = " ".repeat(name_width - self.name_width());
        let _ = write!(
            text,
            "{style}{:<service_width$}{style:#}  {DIM}{}{DIM:#}{name}{padding}  {DIM}{:<8}{DIM:#} {:>9}",
            printable(service),
            self.branch,
            kind.as_str(),
            duration(
                self.span
                    .end_unix_nano
                    .saturating_sub(self.span.start_unix_nano)
            ),
        );
        for detail in details(self.span) {
            let _ = write!(text, "  {DIM}{detail}{DIM:#}");
        }
        if let Some(wait) = integer(self.span, "kafka.record.queue_time_ms") {
            let _ = write!(text, "  {QUEUE}queue wait {wait} ms{QUEUE:#}");
        }
        if let Some(failure) = failure(self.span) {
            let _ = write!(text, "  {ERROR}{}{ERROR:#}", printable(failure));
        }
        text.push('\n');
    }
}

fn details(span: &Span) -> Vec<String> {
    let mut details = Vec::new();
    if let (Some(topic), Some(partition), Some(offset)) = (
        string(span, "messaging.destination.name"),
        string(span, "messaging.destination.partition.id"),
        integer(span, "messaging.kafka.offset"),
    ) {
        details.push(printable(&format!("{topic}[{partition}]@{offset}")));
    }
    if let Some(status) = integer(span, "http.response.status_code").map(|code| code.to_string())
        // An error status is said as the failure that it is.
        && failure(span) != Some(status.as_str())
    {
        details.push(status);
    }
    if let Some(outcome) = string(span, "app.payment.outcome") {
        details.push(printable(outcome));
    }
    if span.kind == Kind::Consumer && span.parent_span_id.is_none() {
        details.push("linked".into());
    }
    details
}

fn failure(span: &Span) -> Option<&str> {
    matches!(span.status, Status::Error(_)).then(|| string(span, "error.type").unwrap_or("error"))
}

fn summary(trace: &Trace, services: usize, roots: usize) -> String {
    let start = trace.spans.iter().map(|span| span.start_unix_nano).min();
    let end = trace.spans.iter().map(|span| span.end_unix_nano).max();
    let took = end
        .unwrap_or_default()
        .saturating_sub(start.unwrap_or_default());
    let mut summary = format!(
        "{} spans, {services} services, {}",
        trace.spans.len(),
        duration(took)
    );
    if roots > 1 {
        let _ = write!(summary, "; {roots} parts that do not hang together");
    }
    summary
}

fn duration(nanos: u64) -> String {
    match nanos {
        0..1_000_000 => format!("{} µs", nanos / 1_000),
        1_000_000..10_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        _ => format!("{:.1} s", nanos as f64 / 1e9),
    }
}

fn string<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attributes.get(key)?.as_str()
}

fn integer(span: &Span, key: &str) -> Option<i64> {
    span.attributes.get(key)?.as_int()
}

/// Names and values come from whoever sent the spans; a control character in one must not reach
/// the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_has_a_line_for_each_span_and_nothing_that_moves_the_cursor() {
        let trace = Trace::from_otlp_json(&json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "orders-api"}}]},
            "scopeSpans": [{"spans": [
                {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
                 "name": "POST /orders", "kind": 2, "startTimeUnixNano": "1000000", "endTimeUnixNano": "4500000",
                 "attributes": [{"key": "http.response.status_code", "value": {"intValue": "202"}}]},
                {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203332",
                 "parentSpanId": "b7ad6b7169203331",
                 "name": "send\u{1b}[2J", "kind": 4, "startTimeUnixNano": "2000000", "endTimeUnixNano": "2500000",
                 "status": {"code": 2}}
            ]}]
        }]}))
        .unwrap();
        let text = anstream::adapter::strip_str(&render(&trace)).to_string();
        assert_eq!(
            text,
            "orders-api  POST /orders      SERVER      3.5 ms  202\n\
             orders-api  └─ send\\u{1b}[2J  PRODUCER    500 µs  error\n\
             2 spans, 1 services, 3.5 ms\n"
        );
    }
}
