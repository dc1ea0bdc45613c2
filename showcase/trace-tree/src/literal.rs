//! Values and names as they are written in the canonical text, and read back.
//!
//! A superset of JSON: `5` and `5.0` differ, `base64"…"` is bytes, `NaN`, `Infinity` and
//! `-Infinity` are numbers, `1 | 2` a key that was given twice. It knows nothing of spans.

use std::fmt::Write as _;

use crate::trace::Value;

/// How deep lists and maps may nest: more than any instrumentation writes, and far from the end of
/// the stack.
const MAX_DEPTH: usize = 64;

/// Writes a value in the only way it is written.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Empty => out.push_str("null"),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Bool(truth) => _ = write!(out, "{truth}"),
        Value::Int(number) => _ = write!(out, "{number}"),
        Value::Double(number) if number.is_nan() => out.push_str("NaN"),
        Value::Double(number) if number.is_infinite() && *number > 0.0 => out.push_str("Infinity"),
        Value::Double(number) if number.is_infinite() => out.push_str("-Infinity"),
        // Debug and not Display: it keeps the point or the exponent that sets it apart from an int.
        Value::Double(number) => _ = write!(out, "{number:?}"),
        Value::Bytes(base64) => {
            out.push_str("base64");
            out.push_str(&quoted(base64));
        }
        Value::Array(items) => {
            out.push('[');
            separated(items, ", ", out);
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quoted(key));
                out.push_str(": ");
                write(item, out);
            }
            out.push('}');
        }
        Value::Repeated(values) => separated(values, " | ", out),
    }
}

fn separated(values: &[Value], separator: &str, out: &mut String) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write(value, out);
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Reads from the front of a line; what it has not read stays in `rest`.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Takes `token` if it is next.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Takes the characters up to the first that `end` holds for.
    pub(crate) fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (token, rest) = self
            .rest
            .split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        token
    }

    /// A JSON string.
    pub(crate) fn string(&mut self) -> Result<String, String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, character)| {
            let closes = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end.filter(|_| self.rest.starts_with('"')) else {
            return Err(format!("a text in quotes, found `{}`", self.rest));
        };
        let (token, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        serde_json::from_str(token).map_err(|error| format!("a text in quotes: {error}"))
    }

    /// A value, or several with `|` between.
    pub(crate) fn value(&mut self) -> Result<Value, String> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, String> {
        let mut values = vec![self.single(depth)?];
        while self.take(" | ") {
            values.push(self.single(depth)?);
        }
        match values.len() {
            1 => Ok(values.swap_remove(0)),
            _ => Ok(Value::Repeated(values)),
        }
    }

    fn single(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("a value that nests less deeply".to_owned());
        }
        if self.rest.starts_with('"') {
            return Ok(Value::String(self.string()?));
        }
        if self.take("base64") {
            return Ok(Value::Bytes(self.string()?));
        }
        if self.take("[") {
            return Ok(Value::Array(
                self.items("]", |reader| reader.value_at(depth + 1))?,
            ));
        }
        if self.take("{") {
            let entries = self.items("}", |reader| {
                let key = reader.string()?;
                reader.spaces();
                if !reader.take(":") {
                    return Err(format!("`:` after the key {}", quoted(&key)));
                }
                reader.spaces();
                Ok((key, reader.value_at(depth + 1)?))
            })?;
            return Ok(Value::Map(entries.into_iter().collect()));
        }
        match self.until(|character| " ,]}".contains(character)) {
            "null" => Ok(Value::Empty),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "NaN" => Ok(Value::Double(f64::NAN)),
            "Infinity" => Ok(Value::Double(f64::INFINITY)),
            "-Infinity" => Ok(Value::Double(f64::NEG_INFINITY)),
            token => number(token).ok_or_else(|| {
                format!("a value (`*`, a number, true, a text in quotes, …), found `{token}`")
            }),
        }
    }

    /// What stands between brackets, with commas between.
    fn items<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        self.spaces();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            self.spaces();
            if self.take(close) {
                return Ok(items);
            }
            if !self.take(",") {
                return Err(format!("`,` or `{close}`, found `{}`", self.rest));
            }
            self.spaces();
        }
    }
}

fn number(token: &str) -> Option<Value> {
    // Rust's own parser also takes `inf` and `+5`, which would be second spellings.
    let plain = token
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-+.eE".contains(&byte));
    if !plain || token.starts_with('+') {
        return None;
    }
    if token.contains(['.', 'e', 'E']) {
        token.parse().ok().map(Value::Double)
    } else {
        token.parse().ok().map(Value::Int)
    }
}
