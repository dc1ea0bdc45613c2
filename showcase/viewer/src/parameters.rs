//! The parameters of a search, as Jaeger's query API v3 names and writes them.
//!
//! Only reading: what they select is in `query`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::attributes::Asked;

/// Jaeger's default.
const DEFAULT_TRACES: usize = 100;
/// An answer is built in memory.
const MAX_TRACES: usize = 1500;

/// A search for traces.
#[derive(Debug, PartialEq)]
pub(crate) struct Search {
    pub(crate) service: Option<String>,
    pub(crate) operation: Option<String>,
    /// Nanoseconds since the Unix epoch, both ends included.
    pub(crate) start_min: i128,
    pub(crate) start_max: i128,
    /// Nanoseconds, both ends included.
    pub(crate) duration_min: Option<i128>,
    pub(crate) duration_max: Option<i128>,
    pub(crate) traces: usize,
    pub(crate) attributes: Vec<Asked>,
}

/// The decoded pairs of a query string. Of a repeated key the first counts, as in Go.
#[derive(Debug)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl Parameters {
    /// The value of a parameter; an empty one counts as absent, as in Jaeger.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value)
    }

    fn parse<T, E: ToString>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        let value = self.get(name).map(parse).transpose();
        value.map_err(|error| format!("malformed parameter {name}: {}", error.to_string()))
    }

    /// The search that they describe, or the message for its sender.
    pub(crate) fn search(&self) -> Result<Search, String> {
        let start_min = self.parse("query.start_time_min", nanoseconds)?;
        let start_max = self.parse("query.start_time_max", nanoseconds)?;
        let (Some(start_min), Some(start_max)) = (start_min, start_max) else {
            return Err("query.start_time_min and query.start_time_max are required".to_owned());
        };
        let traces = match self.parse("query.search_depth", count)? {
            Some(traces) => Some(traces),
            None => self.parse("query.num_traces", count)?,
        };
        let attributes: Option<BTreeMap<String, String>> =
            self.parse("query.attributes", |text| serde_json::from_str(text))?;
        let attributes = attributes.unwrap_or_default();
        Ok(Search {
            service: self.get("query.service_name").map(str::to_owned),
            operation: self.get("query.operation_name").map(str::to_owned),
            start_min,
            start_max,
            duration_min: self.parse("query.duration_min", duration)?,
            duration_max: self.parse("query.duration_max", duration)?,
            traces: traces.unwrap_or(DEFAULT_TRACES),
            attributes: attributes
                .iter()
                .map(|(key, value)| Asked::new(key, Some(value)))
                .collect(),
        })
    }
}

fn nanoseconds(text: &str) -> Result<i128, jiff::Error> {
    text.parse().map(Timestamp::as_nanosecond)
}

fn duration(text: &str) -> Result<i128, jiff::Error> {
    text.parse()
        .map(|duration: SignedDuration| duration.as_nanos())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_TRACES) => Ok(count),
        _ => Err(format!("a number from 1 to {MAX_TRACES}")),
    }
}
