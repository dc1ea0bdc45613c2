//! Statements on SQLite, and on Postgres where `TEST_DATABASE_URL` names one: spans and metrics as
//! they come out.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know tests, and not what tests call"
)]

mod recorder;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use recorder::{recorder, traced, tree};
use sqlx::AnyPool;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use telemetry::database::{DatabaseSpans, Statement};

const DROP: Statement = Statement::new(
    "DROP",
    "telemetry_test",
    "DROP TABLE IF EXISTS telemetry_test",
);
const CREATE: Statement = Statement::new(
    "CREATE",
    "telemetry_test",
    "CREATE TABLE telemetry_test (
         id TEXT PRIMARY KEY,
         amount BIGINT NOT NULL
     )",
);
const INSERT: Statement = Statement::new(
    "INSERT",
    "telemetry_test",
    "INSERT INTO telemetry_test (id, amount)
     VALUES ($1, $2)",
);
const SELECT: Statement = Statement::new(
    "SELECT",
    "telemetry_test",
    "SELECT amount FROM telemetry_test WHERE id = $1",
);
const BROKEN: Statement = Statement::new("SELECT", "nowhere", "SELECT 1 FROM nowhere");

struct Database {
    pool: AnyPool,
    spans: DatabaseSpans,
    /// What every span of it says of the database: before and after the attributes of a statement.
    system: String,
    server: String,
    duplicate: (&'static str, &'static str),
    no_table: (&'static str, &'static str),
}

async fn connect(url: &str) -> AnyPool {
    install_default_drivers();
    AnyPoolOptions::new()
        .max_connections(1)
        .connect(url)
        .await
        .unwrap()
}

async fn databases() -> Vec<Database> {
    recorder();
    let mut databases = vec![Database {
        pool: connect("sqlite::memory:").await,
        spans: DatabaseSpans::from_url("sqlite:/folder/orders.db").unwrap(),
        system: "db.system.name=sqlite".to_owned(),
        server: String::new(),
        duplicate: ("1555", "UNIQUE constraint failed: telemetry_test.id"),
        no_table: ("1", "no such table: nowhere"),
    }];
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let parsed = telemetry::http_client::Url::parse(&url).unwrap();
        databases.push(Database {
            pool: connect(&url).await,
            spans: DatabaseSpans::from_url("postgres://ann:s3cret@db.example:6543/orders.db")
                .unwrap(),
            system: "db.system.name=postgresql".to_owned(),
            server: " server.address=db.example server.port=6543".to_owned(),
            duplicate: (
                "23505",
                "duplicate key value violates unique constraint \"telemetry_test_pkey\"",
            ),
            no_table: ("42P01", "relation \"nowhere\" does not exist"),
        });
        assert!(parsed.scheme().starts_with("postgres"));
    }
    databases
}

impl Database {
    async fn insert(&self, id: &str) -> Result<u64, sqlx::Error> {
        let query = sqlx::query(INSERT.text).bind(id.to_owned()).bind(7_i64);
        let done = self.spans.run(&INSERT, query.execute(&self.pool)).await?;
        Ok(done.rows_affected())
    }

    async fn amount(&self, id: &str) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(SELECT.text).bind(id.to_owned());
        self.spans.run(&SELECT, query.fetch_one(&self.pool)).await
    }

    async fn execute(&self, statement: &Statement) -> Result<(), sqlx::Error> {
        let query = sqlx::query(statement.text).execute(&self.pool);
        self.spans.run(statement, query).await.map(|_| ())
    }
}

#[tokio::test]
async fn statements_and_their_failures() {
    for database in databases().await {
        let ((), trace) = traced(async {
            database.execute(&DROP).await.unwrap();
            database.execute(&CREATE).await.unwrap();
            assert_eq!(database.insert("ann@example.org").await.unwrap(), 1);
            assert_eq!(database.amount("ann@example.org").await.unwrap(), 7);
            let absent = database.amount("nobody").await.unwrap_err();
            assert!(matches!(absent, sqlx::Error::RowNotFound));
            let duplicate = database.insert("ann@example.org").await.unwrap_err();
            assert!(duplicate.as_database_error().unwrap().is_unique_violation());
            database.execute(&BROKEN).await.unwrap_err();
        })
        .await;
        let Database { system, server, .. } = &database;
        let span = |name: &str, collection: &str, text: &str| {
            format!(
                "CLIENT {name} {collection}\n  db.collection.name={collection} db.namespace=orders.db db.operation.name={name} db.query.summary={name} {collection} db.query.text={text} {system}{server}\n"
            )
        };
        let failed = |name: &str, collection: &str, text: &str, (code, message): (&str, &str)| {
            format!(
                "CLIENT {name} {collection} Error({message})\n  db.collection.name={collection} db.namespace=orders.db db.operation.name={name} db.query.summary={name} {collection} db.query.text={text} db.response.status_code={code} {system} error.type={code}{server}\n  ! exception exception.message={message} exception.type=sqlx::Error\n"
            )
        };
        let (table, insert) = (
            "telemetry_test",
            "INSERT INTO telemetry_test (id, amount) VALUES ($1, $2)",
        );
        let expected = [
            span("DROP", table, DROP.text),
            span(
                "CREATE",
                table,
                "CREATE TABLE telemetry_test ( id TEXT PRIMARY KEY, amount BIGINT NOT NULL )",
            ),
            span("INSERT", table, insert),
            span("SELECT", table, SELECT.text),
            span("SELECT", table, SELECT.text),
            failed("INSERT", table, insert, database.duplicate),
            failed("SELECT", "nowhere", BROKEN.text, database.no_table),
        ];
        assert_eq!(tree(&recorder().trace(trace)), expected.concat());

        let series: Vec<String> = recorder()
            .durations(
                "db.client.operation.duration",
                &KeyValue::new("db.operation.name", "INSERT"),
            )
            .into_iter()
            .filter(|series| series.contains(system))
            .collect();
        let labels = "db.collection.name=telemetry_test db.namespace=orders.db db.operation.name=INSERT db.query.summary=INSERT telemetry_test";
        let code = database.duplicate.0;
        assert_eq!(
            series,
            [
                format!(
                    "{labels} db.response.status_code={code} {system} error.type={code}{server} n=1 bounds=9"
                ),
                format!("{labels} {system}{server} n=1 bounds=9"),
            ]
        );
    }
}

#[tokio::test]
async fn a_pool_that_has_no_connection_left() {
    recorder();
    install_default_drivers();
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(std::time::Duration::from_millis(20))
        .connect("sqlite::memory:")
        .await
        .unwrap();
    let spans = DatabaseSpans::from_url("sqlite::memory:").unwrap();
    let _held = pool.acquire().await.unwrap();
    let statement = Statement::new("SELECT", "one", "SELECT 1");
    let (result, trace) = traced(async {
        let query = sqlx::query(statement.text).execute(&pool);
        spans.run(&statement, query).await
    })
    .await;
    assert!(matches!(result, Err(sqlx::Error::PoolTimedOut)));
    assert_eq!(
        tree(&recorder().trace(trace)),
        "\
CLIENT SELECT one Error(no connection became free in time)
  db.collection.name=one db.operation.name=SELECT db.query.summary=SELECT one db.query.text=SELECT 1 db.system.name=sqlite error.type=pool_timed_out
  ! exception exception.message=no connection became free in time exception.type=sqlx::Error
"
    );
}

#[tokio::test]
async fn a_statement_runs_inside_its_span() {
    recorder();
    let spans = DatabaseSpans::from_url("sqlite::memory:").unwrap();
    let statement = Statement::new("SELECT", "one", "SELECT 1");
    let (current, trace) = traced(async {
        let query = async { Ok(Context::current().span().span_context().span_id()) };
        spans.run(&statement, query).await.unwrap()
    })
    .await;
    assert_eq!(recorder().trace(trace)[0].span_context.span_id(), current);
}

#[tokio::test]
async fn a_statement_that_is_given_up_ends_as_cancelled() {
    recorder();
    let spans = DatabaseSpans::from_url("sqlite::memory:").unwrap();
    let statement = Statement::new("SELECT", "one", "SELECT 1");
    let ((), trace) = traced(async {
        let started = tokio::sync::Notify::new();
        let query = async {
            started.notify_one();
            std::future::pending::<Result<(), sqlx::Error>>().await
        };
        tokio::select! {
            _ = spans.run(&statement, query) => unreachable!(),
            () = started.notified() => {}
        }
    })
    .await;
    assert_eq!(
        tree(&recorder().trace(trace)),
        "\
CLIENT SELECT one Error(cancelled)
  db.collection.name=one db.operation.name=SELECT db.query.summary=SELECT one db.query.text=SELECT 1 db.system.name=sqlite error.type=cancelled
"
    );
}
