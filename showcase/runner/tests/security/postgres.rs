//! PostgreSQL over TLS, verified.

use crate::expected::Expected;
use crate::pipeline::Pipeline;
use crate::refusals::run;
use crate::secrets::{WRONG, assert_free};
use crate::servers::{Variables, certificate, database_url, kafka, login};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};

fn url(change: impl FnOnce(&mut reqwest::Url)) -> String {
    let mut url = reqwest::Url::parse(&database_url()).expect("a URL");
    change(&mut url);
    url.into()
}

async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_on_postgres_with_tls_everywhere_has_the_expected_trace() {
    let prefix = format!("security_{}_", uuid::Uuid::new_v4().simple());
    let services = ["orders-api", "order-processor", "payments"];
    let databases = services.map(|service| format!("{prefix}{}", service.replace('-', "_")));
    let mut server = connect(&database_url()).await;
    for database in &databases {
        let statement = AssertSqlSafe(format!("CREATE DATABASE {database}"));
        server.execute(statement).await.expect("it is created");
    }
    let urls = [0, 1, 2].map(|index| {
        let url = url(|url| url.set_path(&databases[index]));
        (services[index], "DATABASE_URL", url)
    });
    let pipeline = Pipeline::start_with(kafka("SASL_SSL"), &login(), &urls).await;
    let (_, trace_id) = pipeline.accepted("pm_ok").await;
    let names = [0, 1, 2].map(|index| databases[index].as_str());
    let expected = Expected::read("joined").on_postgres("127.0.0.1", names);
    let right = |trace: &_| expected.matches(trace);
    pipeline.trace_when(&trace_id, right).await;

    let connections = format!(
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE ssl) FROM pg_stat_activity \
         JOIN pg_stat_ssl USING (pid) WHERE datname LIKE '{prefix}%'"
    );
    let row = server.fetch_one(AssertSqlSafe(connections)).await;
    let row = row.expect("a row");
    let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
    assert!(all >= 3, "each service has one: {all}");
    assert_eq!(encrypted, all);
    pipeline.ends_without_a_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_with_postgres_ends_a_service_with_its_reason() {
    let foreign = certificate("foreign-ca.pem");
    let missing = certificate("nowhere.pem");
    let root = |file: &str| format!("sslmode=verify-full&sslrootcert={file}");
    let mistakes = [
        (
            url(|url| url.set_password(Some(WRONG)).expect("it is set")),
            "password authentication failed",
        ),
        (
            url(|url| url.set_query(Some(&root(&foreign)))),
            "(unable to get local issuer certificate)",
        ),
        (
            url(|url| url.set_host(Some("127.0.0.2")).expect("it is set")),
            "(IP address mismatch)",
        ),
        (
            url(|url| url.set_query(Some(&root(&missing)))),
            "No such file or directory",
        ),
        (
            url(|url| url.set_query(Some("sslmode=disable"))),
            "no encryption",
        ),
    ];
    for (url, reason) in mistakes {
        let variables: Variables = vec![("DATABASE_URL", url)];
        let ended = run(&["service", "payments"], &variables).await;
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        let last = ended
            .said
            .lines()
            .find(|line| line.contains("payments stops: the database cannot be opened"));
        let last = last.unwrap_or_else(|| panic!("no last word:\n{}", ended.said));
        assert!(last.contains(reason), "{last}\nlacks: {reason}");
        assert_free("payments", ended.said.as_bytes());
    }
}
