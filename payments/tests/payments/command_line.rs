//! The process as its operator sees it: help, a bad environment, a stop.

use crate::world::{PROGRAM, World};
use service::testing::{TestDatabase, nowhere, run_to_end, variables_in_help};
use tokio::net::TcpListener;

#[tokio::test]
async fn help_lists_every_variable() {
    assert_eq!(
        variables_in_help(PROGRAM).await,
        [
            "LISTEN_ADDR",
            "DATABASE_URL",
            "PAYMENT_GATEWAY_URL",
            "SIMULATED_GATEWAY_ADDR",
            "PAYMENT_GATEWAY_TIMEOUT_MS",
        ]
    );
}

#[tokio::test]
async fn everything_wrong_with_the_environment_is_said_at_once() {
    let exit = run_to_end(
        PROGRAM,
        &[],
        &[
            ("LISTEN_ADDR", "8001"),
            ("PAYMENT_GATEWAY_URL", "https://user:hunter2@gateway"),
            ("PAYMENT_GATEWAY_TIMEOUT_MS", "0"),
        ],
    )
    .await;
    assert_eq!(exit.status.code(), Some(2));
    assert_eq!(
        exit.errors,
        "payments: the environment cannot be used:\n  \
         LISTEN_ADDR: invalid socket address syntax\n  \
         PAYMENT_GATEWAY_URL: must be http://HOST[:PORT][/PATH]\n  \
         PAYMENT_GATEWAY_TIMEOUT_MS: must be at least 1 (milliseconds)\n"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_database_that_is_away_end_it_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let database = TestDatabase::any().await;
    let away = format!("postgres://u:hunter2@{}/payments", nowhere());
    let cases = [
        (
            [
                ("DATABASE_URL", database.url.as_str()),
                ("SIMULATED_GATEWAY_ADDR", "127.0.0.1:0"),
                ("LISTEN_ADDR", &taken),
            ],
            format!("payments cannot listen on {taken}; stop what is using that port"),
        ),
        (
            [
                ("DATABASE_URL", database.url.as_str()),
                ("SIMULATED_GATEWAY_ADDR", taken.as_str()),
                ("LISTEN_ADDR", "127.0.0.1:0"),
            ],
            format!("payment gateway cannot listen on {taken}; stop what is using that port"),
        ),
        (
            [
                ("DATABASE_URL", away.as_str()),
                ("SIMULATED_GATEWAY_ADDR", "127.0.0.1:0"),
                ("LISTEN_ADDR", "127.0.0.1:0"),
            ],
            "payments stops: the database cannot be opened".into(),
        ),
    ];
    for (variables, reason) in cases {
        let exit = run_to_end(PROGRAM, &[], &variables).await;
        assert_eq!(exit.status.code(), Some(1));
        assert!(exit.errors.contains(&reason), "{}", exit.errors);
        assert!(!exit.errors.contains("hunter2"), "{}", exit.errors);
    }
}

#[tokio::test]
async fn asked_to_stop_it_stops() {
    let world = World::start(&[]).await;
    let log = world.service.stop().await;
    assert!(log.contains("stopped"), "{log}");
}
