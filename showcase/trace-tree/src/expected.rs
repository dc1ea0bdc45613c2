//! An expected text into lines, or the reason why it cannot be read, with the line's number.
//!
//! It checks that every line stands where it can mean something. It does not compare.

use crate::literal::Reader;
use crate::text::{ANOTHER_TRACE, Item, Line, MISSING_SPAN, PARENT, Place, Target, Text};
use crate::trace::Kind;

/// A line of an expected text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the expected text: {problem}: `{text}`")]
pub struct ExpectedError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
    /// The line.
    pub text: String,
}

/// The tree of an expected text without attributes, events, comments and blank lines, for a page
/// that shows the shape. Lines that cannot be read are kept as they are: this is for showing, and
/// [`compare`](crate::compare) says what is wrong.
#[must_use]
pub fn outline(expected: &str) -> String {
    let shown = |line: &&str| !is_comment(line) && !line.trim_start().starts_with(['.', '@']);
    let mut outline = String::new();
    for line in expected.lines().filter(shown) {
        outline.push_str(line.trim_end());
        outline.push('\n');
    }
    outline
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Reads an expected text. Attributes may stand in any order among themselves.
pub(crate) fn parse(expected: &str) -> Result<Vec<Line>, ExpectedError> {
    let mut lines: Vec<Line> = Vec::new();
    // How deep the next details may stand: one under the last span.
    let mut span_depth = None;
    for (index, text) in expected.lines().enumerate() {
        if is_comment(text) {
            continue;
        }
        let line = parse_line(text)
            .and_then(|line| match check_place(&line, span_depth, lines.last()) {
                Some(problem) => Err(problem.to_owned()),
                None => Ok(line),
            })
            .map_err(|problem| ExpectedError {
                line: index + 1,
                problem,
                text: text.to_owned(),
            })?;
        if matches!(line.item, Item::Span { .. }) {
            span_depth = Some(line.depth);
        }
        lines.push(line);
    }
    for run in lines.chunk_by_mut(|a, b| {
        a.depth == b.depth
            && matches!(a.item, Item::Attribute { .. })
            && matches!(b.item, Item::Attribute { .. })
    }) {
        run.sort_by(|a, b| match (&a.item, &b.item) {
            (Item::Attribute { key: a, .. }, Item::Attribute { key: b, .. }) => a.cmp(b),
            _ => std::cmp::Ordering::Equal,
        });
    }
    Ok(lines)
}

fn check_place(
    line: &Line,
    span_depth: Option<usize>,
    before: Option<&Line>,
) -> Option<&'static str> {
    let Some(span_depth) = span_depth else {
        let is_root = line.depth == 0 && matches!(line.item, Item::Span { .. });
        return (!is_root).then_some("the text must begin with a span that is not indented");
    };
    if matches!(line.item, Item::Span { .. }) {
        return (line.depth > span_depth + 1)
            .then_some("a span stands at most one level deeper than the span above");
    }
    // A link's attributes stand one level deeper than the link.
    let under_link = matches!(line.item, Item::Attribute { .. })
        && line.depth == span_depth + 2
        && before.is_some_and(|before| {
            matches!(before.item, Item::Link { .. }) || before.depth == line.depth
        });
    (line.depth != span_depth + 1 && !under_link)
        .then_some("this belongs one level under its span, before the span's children")
}

fn parse_line(text: &str) -> Result<Line, String> {
    let content = text.trim_start_matches(' ');
    let spaces = text.len() - content.len();
    if content.starts_with(char::is_whitespace) || !spaces.is_multiple_of(2) {
        return Err("indent by two spaces a level".to_owned());
    }
    let depth = spaces / 2;
    let mut reader = Reader {
        rest: content.trim_end(),
    };
    let item = if reader.take(".") {
        let key = read_word(&mut reader, "=")?;
        if !reader.take(" = ") {
            return Err("an attribute is written `.key = value`".to_owned());
        }
        let value = read_text(&mut reader)?;
        Item::Attribute { key, value }
    } else if reader.take("->link ") {
        let parent = take_suffix(&mut reader, PARENT);
        let target = match reader.rest {
            ANOTHER_TRACE => Target::AnotherTrace,
            MISSING_SPAN => Target::MissingSpan,
            _ => Target::Span(read_name(&mut reader)?),
        };
        reader.rest = match target {
            Target::Span(_) => reader.rest,
            _ => "",
        };
        Item::Link { target, parent }
    } else if reader.rest == "!ok" {
        reader.rest = "";
        Item::Ok
    } else if reader.rest == "!error" {
        reader.rest = "";
        Item::Error(Text::Exactly(String::new()))
    } else if reader.rest == "!error *" {
        reader.rest = "";
        Item::Error(Text::Any)
    } else if reader.take("!error ") {
        Item::Error(Text::Exactly(read_name(&mut reader)?))
    } else if reader.take("@") {
        let name = read_word(&mut reader, "")?;
        let mut attributes = Vec::new();
        while reader.take(" ") {
            let key = read_word(&mut reader, "=")?;
            if !reader.take("=") {
                return Err("an event's attribute is written `key=value`".to_owned());
            }
            attributes.push((key, read_text(&mut reader)?));
        }
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        Item::Event { name, attributes }
    } else {
        parse_span(&mut reader)?
    };
    match reader.rest {
        "" => Ok(Line { depth, item }),
        rest => Err(format!("`{rest}` is too much")),
    }
}

fn parse_span(reader: &mut Reader<'_>) -> Result<Item, String> {
    const FORM: &str = "a span is written `service: name KIND`";
    let place = Place::ALL
        .into_iter()
        .find(|place| take_suffix(reader, place.suffix()))
        .unwrap_or(Place::Here);
    let service = if reader.rest.starts_with('"') {
        reader.string()?
    } else {
        let end = reader.rest.find(": ").ok_or(FORM)?;
        let (service, rest) = reader.rest.split_at(end);
        reader.rest = rest;
        service.to_owned()
    };
    if !reader.take(": ") {
        return Err(FORM.to_owned());
    }
    let (name, kind) = reader.rest.rsplit_once(' ').ok_or(FORM)?;
    let kind = Kind::from_name(kind)
        .ok_or_else(|| format!("`{kind}` is no span kind (SERVER, CLIENT, PRODUCER, …)"))?;
    reader.rest = name;
    let name = read_name(reader)?;
    Ok(Item::Span {
        service,
        name,
        kind,
        place,
    })
}

fn take_suffix(reader: &mut Reader<'_>, suffix: &str) -> bool {
    match reader.rest.strip_suffix(suffix) {
        Some(rest) => {
            reader.rest = rest;
            true
        }
        None => false,
    }
}

/// A name that reaches to the end.
fn read_name(reader: &mut Reader<'_>) -> Result<String, String> {
    if reader.rest.starts_with('"') {
        return reader.string();
    }
    match reader.until(|_| false) {
        "" => Err("a name is missing".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn read_word(reader: &mut Reader<'_>, end: &str) -> Result<String, String> {
    if reader.rest.starts_with('"') {
        return reader.string();
    }
    match reader.until(|character| character.is_whitespace() || end.contains(character)) {
        "" => Err("a name is missing".to_owned()),
        word => Ok(word.to_owned()),
    }
}

fn read_text(reader: &mut Reader<'_>) -> Result<Text, String> {
    if reader.take("*") {
        return Ok(Text::Any);
    }
    reader
        .value()
        .map(|value| Text::of(&value))
        .map_err(|expected| format!("expected {expected}"))
}
