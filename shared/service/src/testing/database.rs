//! Databases that belong to one test: a SQLite file, and one on the PostgreSQL server that
//! `TEST_DATABASE_URL` names, where it is set.

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};
use std::fmt;
use tempfile::TempDir;

/// A new, empty database.
pub struct TestDatabase {
    /// Where a service finds it.
    pub url: String,
    place: Place,
}

enum Place {
    /// The folder goes with the value.
    Sqlite {
        _folder: TempDir,
    },
    Postgres {
        server: String,
        name: String,
    },
}

impl fmt::Display for TestDatabase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.place {
            Place::Sqlite { .. } => "SQLite",
            Place::Postgres { .. } => "PostgreSQL",
        })
    }
}

/// One database of every kind there is: SQLite always, PostgreSQL if there is a server for tests.
pub async fn databases() -> Vec<TestDatabase> {
    let mut databases = vec![TestDatabase::sqlite()];
    if let Some(server) = server() {
        databases.push(TestDatabase::postgres(server).await);
    }
    databases
}

fn server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL")
        .ok()
        .filter(|url| !url.is_empty())
}

impl TestDatabase {
    /// On PostgreSQL if there is a server for tests, else SQLite: for tests of what happens around
    /// a database, which need not run twice.
    pub async fn any() -> Self {
        match server() {
            Some(server) => Self::postgres(server).await,
            None => Self::sqlite(),
        }
    }

    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            url: format!("sqlite://{}/test.db", folder.path().display()),
            place: Place::Sqlite { _folder: folder },
        }
    }

    async fn postgres(server: String) -> Self {
        let name = format!("throughline_{}", uuid::Uuid::new_v4().simple());
        on(&server, format!("CREATE DATABASE {name}")).await;
        let mut url = telemetry::http_client::Url::parse(&server).unwrap();
        url.set_path(&name);
        Self {
            url: url.into(),
            place: Place::Postgres { server, name },
        }
    }

    /// Whether it is a PostgreSQL database.
    pub fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Postgres { .. })
    }

    /// Executes statements behind the back of the service.
    pub async fn execute(&self, sql: &str) {
        on(&self.url, sql.to_owned()).await;
    }

    /// The first column of what `query` selects, which must be text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let mut connection = connect(&self.url).await;
        let rows = connection
            .fetch_all(AssertSqlSafe(query.to_owned()))
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Keeps everyone else from writing to `table` until the lock is released; in PostgreSQL from
    /// reading it too. Whoever tries waits.
    pub async fn lock(&self, table: &str) -> Lock {
        let mut connection = connect(&self.url).await;
        let statement = if self.is_postgres() {
            format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        } else {
            "BEGIN IMMEDIATE".to_owned()
        };
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap();
        Lock(connection)
    }
}

/// A table that nobody else can change.
pub struct Lock(AnyConnection);

impl Lock {
    /// Lets the others go on.
    pub async fn release(mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Place::Postgres { server, name } = &self.place else {
            return;
        };
        let (server, name) = (server.clone(), name.clone());
        // A runtime of its own: this one may be on its way out.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(on(&server, format!("DROP DATABASE {name} WITH (FORCE)")));
        })
        .join();
        if dropped.is_err() && !std::thread::panicking() {
            panic!("the test's database was not dropped");
        }
    }
}

async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

async fn on(url: &str, sql: String) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
