//! Why the bytes of a record are not the event they should be.
//!
//! The text of these errors goes to logs, spans and the headers of dead-lettered records, so it
//! names places and never quotes content: a broken payload may hold anything, names and e-mail
//! addresses included.

use serde_json::error::Category;

/// A payload that is not the expected event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The record has no payload (a tombstone).
    #[error("the record has no payload")]
    Empty,
    /// The payload is not JSON.
    #[error("not JSON at line {line} column {column}")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// JSON, but a field is missing or has another type.
    #[error("not the expected event at line {line} column {column}")]
    WrongShape {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// The right shape, but a value breaks a rule of the event.
    #[error("field {field} breaks the rules of the event")]
    Invalid {
        /// The field at fault.
        field: &'static str,
    },
}

impl From<serde_json::Error> for ParseError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::WrongShape { line, column },
            Category::Io | Category::Syntax | Category::Eof => Self::NotJson { line, column },
        }
    }
}
