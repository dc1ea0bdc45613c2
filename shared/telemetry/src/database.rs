//! Spans and metrics of database statements sent through sqlx.
//!
//! Times and describes a future; it opens no connection and builds no SQL. The text of a statement
//! goes into telemetry as it is written, with its placeholders: values never do.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue};
use reqwest::Url;

use crate::operation::Instruments;

/// The boundaries, in seconds, that the conventions advise for databases.
const DURATION_BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The port of Postgres where a URL names none.
const POSTGRES_PORT: u16 = 5432;

/// One SQL statement and what it is called in telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// What it does: `INSERT`.
    pub operation: &'static str,
    /// What it does that to: `orders`.
    pub collection: &'static str,
    /// The SQL, with placeholders.
    pub text: &'static str,
}

impl Statement {
    /// Puts a statement together.
    #[must_use]
    pub const fn new(
        operation: &'static str,
        collection: &'static str,
        text: &'static str,
    ) -> Self {
        Self {
            operation,
            collection,
            text,
        }
    }
}

/// The URL of a database is of a kind that is not known here. The URL itself is not shown, as it
/// may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database URL starts neither with sqlite: nor with postgres://")]
pub struct UnknownDatabase;

/// Makes a CLIENT span and a point in `db.client.operation.duration` of each statement.
#[derive(Clone)]
pub struct DatabaseSpans {
    inner: Arc<Inner>,
}

struct Inner {
    instruments: Instruments,
    /// What is the same for every statement: the system, the database, the server.
    target: Vec<KeyValue>,
    described: RwLock<Vec<Arc<Described>>>,
}

/// What is the same whenever a statement runs.
struct Described {
    statement: Statement,
    /// The name of its spans.
    summary: String,
    labels: Vec<KeyValue>,
    /// The statement's text in one line.
    text: Arc<str>,
}

impl DatabaseSpans {
    /// Takes what names the database from its URL: never the user, the password, or a folder.
    ///
    /// # Errors
    ///
    /// When it is neither SQLite nor Postgres.
    pub fn from_url(url: &str) -> Result<Self, UnknownDatabase> {
        let target = target(url).ok_or(UnknownDatabase)?;
        let instruments = Instruments::new(
            "telemetry.database",
            "db.client.operation.duration",
            "Duration of database client operations.",
            &DURATION_BOUNDARIES,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                instruments,
                target,
                described: RwLock::default(),
            }),
        })
    }

    /// Runs `query`, which sends `statement`, inside its span.
    ///
    /// [`sqlx::Error::RowNotFound`] is an answer and leaves the span as it is.
    ///
    /// # Cancel safety
    ///
    /// As `query` is; the span then ends with the error type `cancelled`.
    ///
    /// # Errors
    ///
    /// What `query` returns.
    pub async fn run<T>(
        &self,
        statement: &Statement,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let described = self.inner.described(statement);
        let parent = Context::current();
        let mut operation = self.inner.instruments.start(
            SpanBuilder::default().with_kind(SpanKind::Client),
            &parent,
            described.labels.clone(),
            |labels| {
                let mut attributes = Vec::with_capacity(labels.len() + 4);
                attributes.extend_from_slice(labels);
                let text = Arc::clone(&described.text);
                attributes.push(KeyValue::new("db.query.text", text));
                (described.summary.clone().into(), attributes)
            },
        );
        let context = operation.context().clone();
        let result = query.with_context(context).await;
        if let Err(error) = &result
            && !matches!(error, sqlx::Error::RowNotFound)
        {
            let failure = Failure::of(error);
            if let Some(code) = failure.code {
                operation.label(KeyValue::new("db.response.status_code", code));
            }
            operation.fail(failure.error_type, failure.message.clone());
            operation.exception("sqlx::Error", failure.message);
        }
        operation.complete();
        result
    }
}

impl Inner {
    /// Statements are few and written in the program, so all of them are kept.
    fn described(&self, statement: &Statement) -> Arc<Described> {
        let kept = self
            .described
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(described) = kept.iter().find(|kept| kept.statement == *statement) {
            return Arc::clone(described);
        }
        drop(kept);
        let summary = format!("{} {}", statement.operation, statement.collection);
        let mut labels = self.target.clone();
        labels.extend([
            KeyValue::new("db.operation.name", statement.operation),
            KeyValue::new("db.collection.name", statement.collection),
            KeyValue::new("db.query.summary", Arc::<str>::from(&*summary)),
        ]);
        let described = Arc::new(Described {
            statement: *statement,
            summary,
            labels,
            text: one_line(statement.text).into(),
        });
        self.described
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&described));
        described
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

struct Failure {
    error_type: String,
    code: Option<String>,
    message: String,
}

impl Failure {
    fn of(error: &sqlx::Error) -> Self {
        if let sqlx::Error::Database(error) = error
            && let Some(code) = error.code()
        {
            return Self {
                error_type: code.to_string(),
                message: message(&code, error.message()),
                code: Some(code.into_owned()),
            };
        }
        let (error_type, message) = match error {
            sqlx::Error::Configuration(_) => ("configuration", "the configuration is wrong"),
            sqlx::Error::Database(_) => ("database", "the database returned an error"),
            sqlx::Error::Io(error) => {
                return Self {
                    error_type: "io".to_owned(),
                    code: None,
                    message: error.to_string(),
                };
            }
            sqlx::Error::Tls(_) => ("tls", "TLS could not be established"),
            sqlx::Error::Protocol(_) => ("protocol", "the server's data was not understood"),
            sqlx::Error::PoolTimedOut => ("pool_timed_out", "no connection became free in time"),
            sqlx::Error::PoolClosed => ("pool_closed", "the pool is closed"),
            sqlx::Error::WorkerCrashed => ("worker_crashed", "the database worker crashed"),
            // Their texts quote columns and values.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                ("decode", "a value could not be decoded")
            }
            sqlx::Error::Encode(_) => ("encode", "a value could not be encoded"),
            sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
                ("column_not_found", "the answer lacks a column")
            }
            _ => ("other", "the statement failed"),
        };
        Self {
            error_type: error_type.to_owned(),
            code: None,
            message: message.to_owned(),
        }
    }
}

/// Postgres quotes the value at fault in the messages of class 22, data exceptions. Elsewhere values
/// are in the detail, which is not looked at.
fn message(code: &str, message: &str) -> String {
    let is_sqlstate = code.len() == 5;
    if is_sqlstate && code.starts_with("22") {
        "data exception".to_owned()
    } else {
        message.to_owned()
    }
}

fn target(url: &str) -> Option<Vec<KeyValue>> {
    if let Some(rest) = url.strip_prefix("sqlite:") {
        return Some(sqlite(rest));
    }
    let url = Url::parse(url).ok()?;
    matches!(url.scheme(), "postgres" | "postgresql").then(|| postgres(&url))
}

fn sqlite(rest: &str) -> Vec<KeyValue> {
    let mut target = vec![KeyValue::new("db.system.name", "sqlite")];
    let path = rest.split('?').next().unwrap_or(rest);
    let file = path.rsplit('/').next().unwrap_or(path);
    let file = percent_encoding::percent_decode_str(file).decode_utf8_lossy();
    let file = file.rsplit('/').next().unwrap_or(&file);
    if !file.is_empty() && file != ":memory:" {
        target.push(KeyValue::new("db.namespace", Arc::<str>::from(file)));
    }
    target
}

fn postgres(url: &Url) -> Vec<KeyValue> {
    let mut target = vec![KeyValue::new("db.system.name", "postgresql")];
    let option = |name: &str| {
        url.query_pairs()
            .filter(|(key, _)| key == name)
            .last()
            .map(|(_, value)| value.into_owned())
    };
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let database = option("dbname").unwrap_or_else(|| decode(url.path().trim_start_matches('/')));
    if !database.is_empty() {
        target.push(KeyValue::new("db.namespace", Arc::<str>::from(database)));
    }
    let host = option("host").or_else(|| url.host_str().map(decode));
    // A socket in the file system has neither a host nor a port.
    if let Some(host) = host.filter(|host| !host.is_empty() && !host.starts_with('/')) {
        let port = option("port")
            .and_then(|port| port.parse::<u16>().ok())
            .or(url.port())
            .unwrap_or(POSTGRES_PORT);
        target.push(KeyValue::new("server.address", Arc::<str>::from(host)));
        target.push(KeyValue::new("server.port", i64::from(port)));
    }
    target
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
