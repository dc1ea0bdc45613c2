//! The database of a service: SQLite by default, PostgreSQL by `DATABASE_URL`, one SQL text for
//! both, one span per statement.
//!
//! Each service owns its tables and creates them here. Every write of ours is a single statement,
//! so none needs a transaction of several and none can meet SQLite's instant busy error.

use crate::environment::Environment;
use crate::{Secret, WITHOUT_TLS};
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyPool};
use std::time::Duration;
use telemetry::database::{DatabaseSpans, Statement};
use telemetry::http_client::Url;

const VARIABLE: &str = "DATABASE_URL";

/// Longest wait for a connection, and for one statement.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Connections a service holds at most.
const MAX_CONNECTIONS: u32 = 8;

// Every connection is told to give a statement up before `TIMEOUT` does: one that its client has
// left could still take effect, after an answer that said it had failed.

/// The wait comes first: switching to WAL takes the lock that others may hold.
const SQLITE: &[&str] = &[
    "PRAGMA busy_timeout = 2000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
];
const POSTGRES: &[&str] = &["SET statement_timeout = 2500"];

/// A pool of connections whose statements are traced.
#[derive(Clone)]
pub struct Database {
    pool: AnyPool,
    spans: DatabaseSpans,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The folder for the SQLite file cannot be made.
    #[error("cannot create the folder {folder} for the database")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The URL is not one of a database we speak to. The URL is not shown: it may hold a password.
    #[error("DATABASE_URL is neither sqlite://FILE nor postgres://HOST/NAME")]
    Url,
    /// The database does not answer, or refuses.
    #[error("the database cannot be opened")]
    Open(#[from] sqlx::Error),
}

/// A statement with its parameters still to be bound.
pub type Bound<'q> = Query<'q, Any, AnyArguments>;

impl Database {
    /// Reads `DATABASE_URL`; the default is a SQLite file of the service's own under `./data`.
    pub fn configure(environment: &mut Environment<'_>, service: &str) -> Secret {
        let url = environment.read(
            VARIABLE,
            format!("sqlite://data/{service}.db"),
            "sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME[?sslmode=verify-full&sslrootcert=FILE]",
        );
        if cfg!(not(feature = "tls")) && wants_tls(&url) {
            environment.fault(VARIABLE, format!("sslmode: {WITHOUT_TLS}"));
        }
        Secret::new(url)
    }

    /// Opens the database and makes the tables of `schema` that are not there yet.
    ///
    /// # Errors
    /// [`ConnectError`], within a few seconds; a statement of `schema` that another process is
    /// executing at the same time is tried again.
    pub async fn connect(url: &str, schema: &[&'static str]) -> Result<Self, ConnectError> {
        sqlx::any::install_default_drivers();
        let spans = DatabaseSpans::from_url(url).map_err(|_| ConnectError::Url)?;
        let mut url = url.to_owned();
        let is_sqlite = url.starts_with("sqlite:");
        if is_sqlite {
            make_folder(&url)?;
            if !url.contains('?') {
                url.push_str("?mode=rwc");
            }
        }
        let settings = if is_sqlite { SQLITE } else { POSTGRES };
        let options = AnyPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(TIMEOUT)
            // A server may have hung up on a connection; a file does not.
            .test_before_acquire(!is_sqlite)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    for setting in settings {
                        sqlx::query(*setting).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            });
        let database = Self {
            pool: options.connect(&url).await?,
            spans,
        };
        for table in schema {
            database.create(table).await?;
        }
        Ok(database)
    }

    /// `CREATE TABLE IF NOT EXISTS` is not atomic in PostgreSQL: two processes that start together
    /// can both find the table missing, and one of them fails.
    async fn create(&self, table: &'static str) -> Result<(), sqlx::Error> {
        in_time(async {
            for _ in 0..3 {
                if sqlx::query(table).execute(&self.pool).await.is_ok() {
                    return Ok(());
                }
            }
            sqlx::query(table).execute(&self.pool).await.map(|_| ())
        })
        .await
    }

    /// Executes `statement`, and tells how many rows it changed.
    ///
    /// # Errors
    /// What the database says, or [`sqlx::Error::Io`] if it takes more than 3 s.
    pub async fn execute(
        &self,
        statement: &'static Statement,
        bind: impl FnOnce(Bound<'static>) -> Bound<'static>,
    ) -> Result<u64, sqlx::Error> {
        let query = bind(sqlx::query(statement.text));
        let executed = in_time(query.execute(&self.pool));
        let done = self.spans.run(statement, executed).await?;
        Ok(done.rows_affected())
    }

    /// The row that `statement` selects, if there is one.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn fetch_optional(
        &self,
        statement: &'static Statement,
        bind: impl FnOnce(Bound<'static>) -> Bound<'static>,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        let query = bind(sqlx::query(statement.text));
        let fetched = in_time(query.fetch_optional(&self.pool));
        self.spans.run(statement, fetched).await
    }

    /// Whether the database answers; for readiness checks, so without a span.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        in_time(sqlx::query("SELECT 1").execute(&self.pool))
            .await
            .map(|_| ())
    }

    /// Closes the connections, so that SQLite can fold its write-ahead log in.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(TIMEOUT, query)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Whether a PostgreSQL URL asks for a connection that cannot do without TLS.
fn wants_tls(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.query_pairs().any(|(name, mode)| {
            matches!(&*name, "sslmode" | "ssl-mode")
                && matches!(&*mode, "require" | "verify-ca" | "verify-full")
        })
    })
}

fn make_folder(url: &str) -> Result<(), ConnectError> {
    // sqlx's own reading of the URL, which decodes what is percent-encoded.
    let options: SqliteConnectOptions = url.parse()?;
    match options.get_filename().parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|source| ConnectError::Folder {
                folder: folder.display().to_string(),
                source,
            })
        }
        _ => Ok(()),
    }
}
