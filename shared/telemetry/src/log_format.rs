//! One log event as one line: for people, or as JSON.
//!
//! Both carry `trace_id` and `span_id` of the OpenTelemetry context that is current, which holds for
//! spans of the OpenTelemetry API and for `#[tracing::instrument]` spans alike, because
//! tracing-opentelemetry makes the context of a span current on entry. Fields of spans are left out.

use std::fmt::{self, Write as _};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use serde::Serialize;
use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::sdk_lines::SdkLines;

/// `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Pretty,
    Json,
}

/// Writes events in one of the formats.
pub(crate) struct LineFormat {
    format: LogFormat,
    service: String,
    colour: bool,
    sdk_lines: SdkLines,
}

impl LineFormat {
    pub(crate) fn new(format: LogFormat, service: String, colour: bool) -> Self {
        Self {
            format,
            service,
            colour,
            sdk_lines: SdkLines::default(),
        }
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.sdk_lines.allow(event.metadata()) {
            return Ok(());
        }
        let mut timestamp = String::with_capacity(27);
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let span = Context::map_current(|context| context.span().span_context().clone());
        match self.format {
            LogFormat::Pretty => self.pretty(writer, &timestamp, event, &fields, &span),
            LogFormat::Json => self.json(writer, &timestamp, event, fields, &span),
        }
    }
}

impl LineFormat {
    fn json(
        &self,
        mut writer: Writer<'_>,
        timestamp: &str,
        event: &Event<'_>,
        fields: Fields,
        span: &SpanContext,
    ) -> fmt::Result {
        #[derive(Serialize)]
        struct Line<'a> {
            timestamp: &'a str,
            level: &'a str,
            service: &'a str,
            target: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            trace_id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            span_id: Option<String>,
            #[serde(skip_serializing_if = "Map::is_empty")]
            fields: Map<String, Value>,
        }
        let valid = span.is_valid();
        let line = serde_json::to_string(&Line {
            timestamp,
            level: event.metadata().level().as_str(),
            service: &self.service,
            target: event.metadata().target(),
            message: &fields.message,
            trace_id: valid.then(|| span.trace_id().to_string()),
            span_id: valid.then(|| span.span_id().to_string()),
            fields: fields.others,
        })
        .map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }

    fn pretty(
        &self,
        mut writer: Writer<'_>,
        timestamp: &str,
        event: &Event<'_>,
        fields: &Fields,
        span: &SpanContext,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let (dim, colour, plain) = if self.colour {
            ("\x1b[2m", level_colour(level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        let target = event.metadata().target();
        write!(
            writer,
            "{dim}{timestamp}{plain} {colour}{level:>5}{plain} {dim}{target}:{plain} {}",
            Printable(&fields.message)
        )?;
        for (name, value) in &fields.others {
            match value {
                Value::String(text) => write!(writer, " {dim}{name}={plain}{}", Printable(text))?,
                other => write!(writer, " {dim}{name}={plain}{other}")?,
            }
        }
        if span.is_valid() {
            let (trace_id, span_id) = (span.trace_id(), span.span_id());
            write!(writer, " {dim}trace_id={trace_id} span_id={span_id}{plain}")?;
        }
        writeln!(writer)
    }
}

fn level_colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Text whose control characters are shown and not obeyed: a value may come from anyone, and must
/// neither start a line of its own nor speak to the terminal.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            ("message", other) => self.message = other.to_string(),
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }

    /// JSON has no number for what does not fit, so that becomes text.
    fn insert_number(&mut self, field: &Field, number: Option<Number>, text: impl ToString) {
        let value = number.map_or_else(|| Value::String(text.to_string()), Value::Number);
        self.insert(field, value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert_number(field, Number::from_f64(value), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.insert_number(field, Number::from_i128(value), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.insert_number(field, Number::from_u128(value), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // An implementation that fails half-way must not cost the line; what it wrote is kept.
        if write!(text, "{value:?}").is_err() {
            text.push_str("<failed to format>");
        }
        self.insert(field, text.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = String::new();
        let mut error = Some(value);
        while let Some(current) = error {
            if !text.is_empty() {
                text.push_str(": ");
            }
            if write!(text, "{current}").is_err() {
                text.push_str("<failed to format>");
            }
            error = current.source();
        }
        self.insert(field, text.into());
    }
}

/// Spans keep no formatted fields, since no line shows them.
pub(crate) struct NoFields;

impl<'writer> FormatFields<'writer> for NoFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
#[path = "log_format_tests.rs"]
pub(crate) mod tests;
