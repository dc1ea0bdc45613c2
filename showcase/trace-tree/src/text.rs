//! The lines of the canonical text: what one may say, how it is written, and when an expected one
//! admits an actual one.
//!
//! The actual tree and the expected text meet here. It does not know where either comes from, nor
//! how they are aligned.

use std::fmt;

use crate::literal::{quoted, write};
use crate::trace::{Kind, Value};

/// A line, and how many levels of two spaces it is indented by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) depth: usize,
    pub(crate) item: Item,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Span {
        service: String,
        name: String,
        kind: Kind,
        place: Place,
    },
    Link {
        target: Target,
        parent: bool,
    },
    Attribute {
        key: String,
        value: Text,
    },
    Ok,
    Error(Text),
    Event {
        name: String,
        attributes: Vec<(String, Text)>,
    },
}

/// Where a span hangs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Here,
    ParentOutside,
    Cycle,
}

/// What a link refers to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    Span(String),
    MissingSpan,
    AnotherTrace,
}

/// A value in canonical form, or in an expected text the star.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Text {
    Any,
    Exactly(String),
}

impl Text {
    pub(crate) fn of(value: &Value) -> Text {
        let mut text = String::new();
        write(value, &mut text);
        Text::Exactly(text)
    }

    fn admits(&self, actual: &Text) -> bool {
        *self == Text::Any || self == actual
    }
}

impl Line {
    /// Whether this, as the expected line, agrees with an actual one.
    pub(crate) fn admits(&self, actual: &Line) -> bool {
        self.depth == actual.depth
            && match (&self.item, &actual.item) {
                (
                    Item::Attribute { key, value },
                    Item::Attribute {
                        key: actual_key,
                        value: actual_value,
                    },
                ) => key == actual_key && value.admits(actual_value),
                (Item::Error(text), Item::Error(actual)) => text.admits(actual),
                (
                    Item::Event { name, attributes },
                    Item::Event {
                        name: actual_name,
                        attributes: actual_attributes,
                    },
                ) => {
                    name == actual_name
                        && attributes.len() == actual_attributes.len()
                        && attributes
                            .iter()
                            .zip(actual_attributes)
                            .all(|(want, have)| want.0 == have.0 && want.1.admits(&have.1))
                }
                (expected, actual) => expected == actual,
            }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Any => f.write_str("*"),
            Text::Exactly(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:1$}", "", self.depth * 2)?;
        match &self.item {
            Item::Span {
                service,
                name,
                kind,
                place,
            } => {
                let service = plain_or_quoted(service, |text| {
                    !text.contains(": ")
                        && !text.ends_with(':')
                        && !text.starts_with(['.', '#', '!', '@'])
                        && !text.starts_with("->")
                });
                let name = plain_or_quoted(name, |_| true);
                write!(f, "{service}: {name} {}", kind.as_str())?;
                f.write_str(place.suffix())
            }
            Item::Link { target, parent } => {
                f.write_str("->link ")?;
                match target {
                    Target::Span(name) => f.write_str(&plain_or_quoted(name, |text| {
                        text != ANOTHER_TRACE
                            && text != MISSING_SPAN
                            && !text.ends_with(PARENT.trim_start())
                    }))?,
                    Target::MissingSpan => f.write_str(MISSING_SPAN)?,
                    Target::AnotherTrace => f.write_str(ANOTHER_TRACE)?,
                }
                f.write_str(if *parent { PARENT } else { "" })
            }
            Item::Attribute { key, value } => write!(f, ".{} = {value}", word(key)),
            Item::Ok => f.write_str("!ok"),
            Item::Error(Text::Any) => f.write_str("!error *"),
            Item::Error(Text::Exactly(text)) if text.is_empty() => f.write_str("!error"),
            Item::Error(Text::Exactly(text)) => {
                write!(f, "!error {}", plain_or_quoted(text, |text| text != "*"))
            }
            Item::Event { name, attributes } => {
                write!(f, "@{}", word(name))?;
                for (key, value) in attributes {
                    write!(f, " {}={value}", word(key))?;
                }
                Ok(())
            }
        }
    }
}

pub(crate) const PARENT: &str = " (parent)";
pub(crate) const ANOTHER_TRACE: &str = "another trace";
pub(crate) const MISSING_SPAN: &str = "missing span";

impl Place {
    pub(crate) const ALL: [Place; 3] = [Place::ParentOutside, Place::Cycle, Place::Here];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Place::Here => "",
            Place::ParentOutside => " (parent outside)",
            Place::Cycle => " (in a cycle)",
        }
    }
}

/// The text as it is where that reads back as itself, otherwise as a JSON string.
fn plain_or_quoted(text: &str, also: impl Fn(&str) -> bool) -> String {
    let plain = !text.is_empty()
        && text.trim() == text
        && !text.starts_with('"')
        && !text.chars().any(char::is_control)
        && also(text);
    if plain { text.to_owned() } else { quoted(text) }
}

/// The same for what ends at a space or an equals sign.
fn word(text: &str) -> String {
    plain_or_quoted(text, |text| {
        !text.chars().any(char::is_whitespace) && !text.contains(['=', '"'])
    })
}
