//! The process as its operator sees it: help, a bad environment, what it waits for.

use crate::world::{PROGRAM, World};
use order_processor::OrderProcessor;
use service::testing::{
    ServiceProcess, TestDatabase, eventually, nowhere, run_to_end, variables_in_help,
};
use std::time::{Duration, Instant};

async fn ready(service: &ServiceProcess) -> (u16, String) {
    let healthy = reqwest::get(format!("{}/healthz", service.url))
        .await
        .unwrap();
    assert_eq!(healthy.status(), 200);
    let response = reqwest::get(format!("{}/readyz", service.url))
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn help_lists_every_variable() {
    assert_eq!(
        variables_in_help(PROGRAM).await,
        [
            "KAFKA_BROKERS",
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_SASL_MECHANISM",
            "KAFKA_SASL_USERNAME",
            "KAFKA_SASL_PASSWORD",
            "KAFKA_SASL_PASSWORD_FILE",
            "KAFKA_SSL_CA_FILE",
            "KAFKA_SSL_CERTIFICATE_FILE",
            "KAFKA_SSL_KEY_FILE",
            "KAFKA_SSL_KEY_PASSWORD",
            "KAFKA_SSL_KEY_PASSWORD_FILE",
            "TOPIC_PREFIX",
            "KAFKA_SEND_TIMEOUT_MS",
            "KAFKA_CONSUMER_PROPERTIES",
            "KAFKA_PRODUCER_PROPERTIES",
            "LISTEN_ADDR",
            "PROCESS_PARENT",
            "DATABASE_URL",
            "PAYMENTS_URL",
            "PAYMENTS_TIMEOUT_MS",
            "PAYMENT_ATTEMPTS",
            "PAYMENT_BACKOFF_MS",
        ]
    );
}

#[tokio::test]
async fn everything_wrong_with_the_environment_is_said_at_once() {
    let exit = run_to_end(
        PROGRAM,
        &[],
        &[
            ("LISTEN_ADDR", "localhost"),
            ("PAYMENTS_URL", "https://payments"),
            ("PAYMENT_ATTEMPTS", "0"),
            ("PAYMENT_BACKOFF_MS", "-1"),
        ],
    )
    .await;
    assert_eq!(exit.status.code(), Some(2));
    assert_eq!(
        exit.errors,
        "order-processor: the environment cannot be used:\n  \
         LISTEN_ADDR: invalid socket address syntax\n  \
         PAYMENTS_URL: must be http://HOST[:PORT][/PATH]\n  \
         PAYMENT_ATTEMPTS: number would be zero for non-zero type\n  \
         PAYMENT_BACKOFF_MS: invalid digit found in string\n"
    );
}

#[tokio::test]
async fn it_is_ready_once_it_has_its_database_and_its_group() {
    let world = World::new().await;
    let service = world.start(&[]).await;
    eventually("the service is ready", async || {
        (ready(&service).await == (200, "ready\n".into())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_broker_it_starts_says_so_and_stops_in_time() {
    let database = TestDatabase::any().await;
    let broker = nowhere().to_string();
    let service = ServiceProcess::start::<OrderProcessor>(
        PROGRAM,
        &[("DATABASE_URL", &database.url), ("KAFKA_BROKERS", &broker)],
    )
    .await;
    let (status, text) = ready(&service).await;
    assert_eq!(status, 503);
    assert!(
        text.contains("\"not ready: consumer group: not joined yet\""),
        "{text}"
    );
    let asked = Instant::now();
    service.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(7),
        "{:?}",
        asked.elapsed()
    );
}
