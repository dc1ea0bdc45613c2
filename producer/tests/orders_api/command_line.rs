//! The process as its operator sees it: help, a bad environment, what it waits for.

use crate::world::{PROGRAM, TOPICS, World};
use orders_api::OrdersApi;
use service::testing::{
    Broker, ServiceProcess, TestDatabase, eventually, nowhere, run_to_end, variables_in_help,
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
            "TRACE_URL_TEMPLATE",
            "LISTEN_ADDR",
            "PROCESS_PARENT",
            "DATABASE_URL",
            "PAYMENTS_URL",
            "PAYMENTS_TIMEOUT_MS",
            "TRUST_INCOMING_TRACE",
        ]
    );
}

#[tokio::test]
async fn everything_wrong_with_the_environment_is_said_at_once() {
    let exit = run_to_end(
        PROGRAM,
        &[],
        &[
            ("KAFKA_SEND_TIMEOUT_MS", "soon"),
            ("KAFKA_PRODUCER_PROPERTIES", "hunter2"),
            ("TRACE_URL_TEMPLATE", "http://viewer/"),
            ("PROCESS_PARENT", "none"),
            ("PAYMENTS_URL", "payments:8001"),
            ("TRUST_INCOMING_TRACE", "perhaps"),
        ],
    )
    .await;
    assert_eq!(exit.status.code(), Some(2));
    assert_eq!(
        exit.errors,
        "orders-api: the environment cannot be used:\n  \
         KAFKA_SEND_TIMEOUT_MS: invalid digit found in string\n  \
         KAFKA_PRODUCER_PROPERTIES: entry 1 is not key=value\n  \
         TRACE_URL_TEMPLATE: must contain {trace_id}\n  \
         PROCESS_PARENT: unknown parent policy \"none\": expected `auto`, `creation-context`, \
         `link`, or `by-age:` and a whole number of `s` or `ms`, such as `by-age:30s`\n  \
         PAYMENTS_URL: must be http://HOST[:PORT][/PATH]\n  \
         TRUST_INCOMING_TRACE: must be on or off\n"
    );
}

#[tokio::test]
async fn it_is_ready_once_it_has_its_database_its_broker_and_its_group() {
    let world = World::on(Broker::with_topics(&TOPICS), &[]).await;
    eventually("the service is ready", async || {
        (ready(&world.service).await == (200, "ready\n".into())).then_some(())
    })
    .await;
    world.broker.mock.broker_down(1).unwrap();
    let (status, text) = ready(&world.service).await;
    assert_eq!(status, 503);
    assert!(text.contains("not ready: broker: "), "{text}");
    assert!(!text.contains("database"), "{text}");
}

#[tokio::test]
async fn without_a_broker_it_starts_says_so_and_stops_in_time() {
    let database = TestDatabase::any().await;
    let broker = nowhere().to_string();
    let service = ServiceProcess::start::<OrdersApi>(
        PROGRAM,
        &[("DATABASE_URL", &database.url), ("KAFKA_BROKERS", &broker)],
    )
    .await;
    let (status, text) = ready(&service).await;
    assert_eq!(status, 503);
    assert!(text.contains("not ready: broker: "), "{text}");
    assert!(
        text.contains("; consumer group: not joined yet\""),
        "{text}"
    );
    let asked = Instant::now();
    service.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(12),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_broker_that_goes_does_not_keep_it_from_stopping() {
    let world = World::start(&[("KAFKA_SEND_TIMEOUT_MS", "1000")]).await;
    eventually("the service is ready", async || {
        (ready(&world.service).await.0 == 200).then_some(())
    })
    .await;
    let World {
        service, broker, ..
    } = world;
    broker.mock.broker_down(1).unwrap();
    let asked = Instant::now();
    service.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
}
