//! What a database URL tells, and what an error may say.

use super::*;

fn shown(url: &str) -> String {
    target(url).map_or_else(
        || "unknown".to_owned(),
        |target| {
            let attributes: Vec<String> = target
                .iter()
                .map(|attribute| format!("{}={}", attribute.key, attribute.value))
                .collect();
            attributes.join(" ")
        },
    )
}

#[test]
fn a_url_tells_the_system_the_database_and_the_server_and_nothing_else() {
    let sqlite = "db.system.name=sqlite";
    let postgres = "db.system.name=postgresql";
    let cases = [
        (
            "sqlite:orders.db",
            format!("{sqlite} db.namespace=orders.db"),
        ),
        (
            "sqlite://data/orders.db?mode=rwc",
            format!("{sqlite} db.namespace=orders.db"),
        ),
        (
            "sqlite:///home/ann/data/orders.db",
            format!("{sqlite} db.namespace=orders.db"),
        ),
        (
            "sqlite:///home/ann%2Fdata%2Fmy%20orders.db",
            format!("{sqlite} db.namespace=my orders.db"),
        ),
        ("sqlite::memory:", sqlite.to_owned()),
        ("sqlite://:memory:", sqlite.to_owned()),
        ("sqlite:", sqlite.to_owned()),
        (
            "postgres://ann:s3cret@db.example:6543/shop?sslmode=disable",
            format!("{postgres} db.namespace=shop server.address=db.example server.port=6543"),
        ),
        (
            "postgresql://db.example/my%20shop",
            format!("{postgres} db.namespace=my shop server.address=db.example server.port=5432"),
        ),
        (
            "postgres://ann:s3cret@[::1]",
            format!("{postgres} server.address=[::1] server.port=5432"),
        ),
        (
            "postgres://ann@ignored:1/a?host=real&port=2&dbname=b&password=p",
            format!("{postgres} db.namespace=b server.address=real server.port=2"),
        ),
        (
            "postgres:///shop?user=ann&host=/var/run/postgresql",
            format!("{postgres} db.namespace=shop"),
        ),
        (
            "postgres://ann@%2Fvar%2Frun/shop",
            format!("{postgres} db.namespace=shop"),
        ),
        ("mysql://ann:s3cret@h/shop", "unknown".to_owned()),
        ("postgres", "unknown".to_owned()),
        ("", "unknown".to_owned()),
    ];
    for (url, expected) in cases {
        assert_eq!(shown(url), expected, "{url}");
    }
}

#[test]
fn an_unknown_url_is_refused_without_being_shown() {
    let error = DatabaseSpans::from_url("mysql://ann:s3cret@h/shop")
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "the database URL starts neither with sqlite: nor with postgres://"
    );
}

#[test]
fn a_statement_is_shown_on_one_line() {
    let text = "\n  SELECT id\n\t FROM orders\n  WHERE id = $1 ";
    assert_eq!(one_line(text), "SELECT id FROM orders WHERE id = $1");
}

#[test]
fn errors_without_a_code_have_a_name_and_a_text_that_quotes_no_value() {
    let decode = || -> sqlx::error::BoxDynError { "invalid value \"ann@example.org\"".into() };
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let cases = [
        (
            sqlx::Error::PoolTimedOut,
            "pool_timed_out",
            "no connection became free in time",
        ),
        (sqlx::Error::PoolClosed, "pool_closed", "the pool is closed"),
        (
            sqlx::Error::WorkerCrashed,
            "worker_crashed",
            "the database worker crashed",
        ),
        (sqlx::Error::Io(refused), "io", "connection refused"),
        (
            sqlx::Error::Decode(decode()),
            "decode",
            "a value could not be decoded",
        ),
        (
            sqlx::Error::ColumnDecode {
                index: "0".to_owned(),
                source: decode(),
            },
            "decode",
            "a value could not be decoded",
        ),
        (
            sqlx::Error::Encode(decode()),
            "encode",
            "a value could not be encoded",
        ),
        (
            sqlx::Error::ColumnNotFound("x".to_owned()),
            "column_not_found",
            "the answer lacks a column",
        ),
        (
            sqlx::Error::Protocol("ann".to_owned()),
            "protocol",
            "the server's data was not understood",
        ),
        (sqlx::Error::BeginFailed, "other", "the statement failed"),
    ];
    for (error, error_type, message) in cases {
        let failure = Failure::of(&error);
        assert_eq!(
            (
                failure.error_type.as_str(),
                failure.code,
                failure.message.as_str()
            ),
            (error_type, None, message)
        );
    }
}

#[test]
fn a_data_exception_of_postgres_does_not_quote_the_value() {
    assert_eq!(
        message("22P02", "invalid input syntax for type uuid: \"ann\""),
        "data exception"
    );
    assert_eq!(
        message("23505", "duplicate key value"),
        "duplicate key value"
    );
    assert_eq!(
        message("2067", "UNIQUE constraint failed: t.a"),
        "UNIQUE constraint failed: t.a"
    );
}
