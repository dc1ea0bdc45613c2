//! Opening a database and speaking to it, on every kind there is: see `service::testing::databases`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests call these"
)]

#[cfg(not(feature = "tls"))]
use service::Environment;
use service::database::{ConnectError, Database};
use service::testing::{databases, nowhere};
use std::time::{Duration, Instant};
use telemetry::database::Statement;
use tempfile::TempDir;
use tokio::net::TcpListener;

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS notes_text ON notes (text)",
];
static INSERT: Statement = Statement::new(
    "INSERT",
    "notes",
    "INSERT INTO notes (id, text) VALUES ($1, $2)",
);
static SELECT: Statement =
    Statement::new("SELECT", "notes", "SELECT text FROM notes WHERE id = $1");

/// Two waits of the code under test, one for a connection and one for a statement, and some air.
const BOUND: Duration = Duration::from_secs(8);

/// All that a service could print of an error.
fn everything(error: ConnectError) -> String {
    let debug = format!("{error:?}");
    format!("{:#} {debug}", anyhow::Error::from(error))
}

async fn failure(url: &str) -> ConnectError {
    let started = Instant::now();
    let error = Database::connect(url, SCHEMA).await.err().expect(url);
    assert!(started.elapsed() < BOUND, "{url}: {:?}", started.elapsed());
    error
}

#[tokio::test]
async fn what_is_written_is_there_after_opening_it_again() {
    for database in databases().await {
        let first = Database::connect(&database.url, SCHEMA).await.unwrap();
        let insert =
            |text: &'static str| first.execute(&INSERT, move |query| query.bind(1_i64).bind(text));
        assert_eq!(insert("kept").await.unwrap(), 1, "{database}");
        let taken = insert("other").await.unwrap_err();
        assert!(taken.as_database_error().unwrap().is_unique_violation());
        first.ping().await.unwrap();
        first.close().await;
        assert!(first.ping().await.is_err());

        let second = Database::connect(&database.url, SCHEMA).await.unwrap();
        let select = |id: i64| second.fetch_optional(&SELECT, move |query| query.bind(id));
        assert!(select(2).await.unwrap().is_none());
        assert!(select(1).await.unwrap().is_some());
        assert_eq!(database.texts("SELECT text FROM notes").await, ["kept"]);
        second.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_start_together_all_find_their_tables() {
    for database in databases().await {
        let starting: Vec<_> = (0..8)
            .map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move { Database::connect(&url, SCHEMA).await })
            })
            .collect();
        for started in starting {
            let opened = started.await.unwrap();
            opened
                .unwrap_or_else(|error| panic!("{database}: {error:?}"))
                .close()
                .await;
        }
    }
}

#[tokio::test]
async fn a_statement_that_fails_in_time_has_no_effect_later() {
    for database in databases().await {
        let opened = Database::connect(&database.url, SCHEMA).await.unwrap();
        let insert =
            |id: i64| opened.execute(&INSERT, move |query| query.bind(id).bind(id.to_string()));
        // Until every connection has the statement prepared, and so sends the next one whole.
        for id in 1..=9 {
            insert(id).await.unwrap();
        }
        let lock = database.lock("notes").await;
        let started = Instant::now();
        assert!(insert(10).await.is_err(), "{database}");
        assert!(started.elapsed() < BOUND, "{database}");
        lock.release().await;
        // Behind whatever still waits for the table.
        database.lock("notes").await.release().await;
        assert_eq!(
            database.texts("SELECT text FROM notes").await.len(),
            9,
            "{database}"
        );
        assert_eq!(insert(10).await.unwrap(), 1, "{database}");
        opened.close().await;
    }
}

#[tokio::test]
async fn a_schema_that_cannot_be_made_is_an_error_in_time() {
    for database in databases().await {
        let opened = Database::connect(&database.url, &["CREATE TABLE (nonsense"]).await;
        assert!(matches!(opened, Err(ConnectError::Open(_))), "{database}");
        database.execute("CREATE TABLE held (id BIGINT)").await;
        if database.is_postgres() {
            let lock = database.lock("held").await;
            let started = Instant::now();
            let opened =
                Database::connect(&database.url, &["ALTER TABLE held ADD COLUMN b BIGINT"]).await;
            assert!(matches!(opened, Err(ConnectError::Open(_))));
            assert!(started.elapsed() < BOUND);
            lock.release().await;
        }
    }
}

#[tokio::test]
async fn a_sqlite_file_gets_its_folder_and_may_have_any_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    let url = format!("sqlite://{path}/a/b%20c/d.db");
    Database::connect(&url, SCHEMA).await.unwrap().close().await;
    assert!(folder.path().join("a/b c/d.db").is_file());
    assert!(!folder.path().join("a/b%20c").exists());

    let url = format!("sqlite://{path}/a/b%20c/d.db/e.db");
    let error = failure(&url).await;
    assert!(matches!(error, ConnectError::Folder { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("/a/b c/d.db for the database"),
        "{error}"
    );
}

#[tokio::test]
async fn a_url_that_is_no_database_is_refused_without_being_shown() {
    for url in [
        "",
        "data/orders.db",
        "mysql://u:hunter2@127.0.0.1/orders",
        "postgres://u:hunter2@127.0.0.1:port/orders",
        "postgres://u:hunter2@[::1/orders",
        "Postgres//u:hunter2@127.0.0.1",
    ] {
        let error = failure(url).await;
        assert_eq!(
            error.to_string(),
            "DATABASE_URL is neither sqlite://FILE nor postgres://HOST/NAME",
            "{url}"
        );
        assert!(!everything(error).contains("hunter2"), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_gives_an_error_in_time() {
    // It takes connections, because the system does, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [nowhere(), silent.local_addr().unwrap()] {
        for options in ["", "?sslmode=disable", "?sslmode=hunter2"] {
            let url = format!("postgres://u:hunter2@{address}/orders{options}");
            let error = failure(&url).await;
            assert_eq!(error.to_string(), "the database cannot be opened");
            if options != "?sslmode=hunter2" {
                assert!(!everything(error).contains("hunter2"), "{url}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    for database in databases()
        .await
        .iter()
        .filter(|database| database.is_postgres())
    {
        let mut url = telemetry::http_client::Url::parse(&database.url).unwrap();
        url.set_password(Some("hunter2")).unwrap();
        let said = everything(failure(url.as_str()).await);
        assert!(said.contains("password authentication failed"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_refuses_a_url_that_needs_it() {
    for (mode, is_refused) in [
        ("sslmode=verify-full&sslrootcert=ca.pem", true),
        ("sslmode=require", true),
        ("sslmode=prefer", false),
        ("application_name=require", false),
    ] {
        let url = format!("postgres://app:hunter2@db/orders?{mode}");
        let mut environment = Environment::from_fn(|_| Some(url.clone()));
        let read = Database::configure(&mut environment, "orders-api");
        assert!(!format!("{read:?}").contains("hunter2"));
        let said = environment.finish(read).map_err(|error| error.to_string());
        let refusal = "the environment cannot be used:\n  DATABASE_URL: sslmode: this program was \
                       built without TLS: build it with --features tls";
        assert_eq!(said.err(), is_refused.then(|| refusal.to_owned()), "{mode}");
    }
}
