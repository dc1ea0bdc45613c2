//! The expected trees under `traces/`, the same that the end-to-end tests compare with, and the few
//! ways in which another set-up of the same pipeline differs from them.

use std::path::Path;
use trace_tree::Trace;

/// An expected text.
pub(crate) struct Expected {
    name: String,
    text: String,
}

impl Expected {
    /// `traces/NAME.txt`.
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("traces")
            .join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            name: name.to_owned(),
            text,
        }
    }

    /// With `old`, which must be there, replaced by `new`.
    pub(crate) fn but(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{} has no `{old}`", self.name);
        self.text = self.text.replace(old, new);
        self
    }

    /// With Postgres on `host` in SQLite's place; `databases` are those of orders-api,
    /// order-processor and payments.
    pub(crate) fn on_postgres(mut self, host: &str, databases: [&str; 3]) -> Self {
        for (file, database) in ["orders-api.db", "order-processor.db", "payments.db"]
            .iter()
            .zip(databases)
        {
            self = self.but(&format!("\"{file}\""), &format!("\"{database}\""));
        }
        let mut text = String::new();
        for line in self.text.lines() {
            if let Some(indent) = line.strip_suffix(".db.system.name = \"sqlite\"") {
                text.push_str(&format!("{indent}.db.system.name = \"postgresql\"\n"));
                text.push_str(&format!("{indent}.server.address = \"{host}\"\n"));
                text.push_str(&format!("{indent}.server.port = *\n"));
            } else {
                text.push_str(line);
                text.push('\n');
            }
        }
        self.text = text;
        self
    }

    /// The difference unless `trace` is this.
    pub(crate) fn matches(&self, trace: &Trace) -> Result<(), String> {
        trace_tree::compare(&self.text, trace)
            .map_err(|mismatch| format!("{}:\n{mismatch}", self.name))
    }

    /// Fails with the difference unless `trace` is this.
    pub(crate) fn assert(&self, trace: &Trace) {
        if let Err(difference) = self.matches(trace) {
            panic!("{difference}");
        }
    }
}
