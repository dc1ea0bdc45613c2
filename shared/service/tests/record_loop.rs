//! The loop that takes records one by one, on a broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests call these"
)]

use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka_otel::{ErrorType, TracedConsumer};
use service::Environment;
use service::kafka::{KafkaSettings, Membership};
use service::record_loop::{self, Settlement};
use service::testing::{Broker, CONSUMER_PROPERTIES, PATIENCE, Record};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "tested";
const TOPIC: &str = "orders";

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("dealt with")]
    Settled,
    #[error("not now")]
    Unsettled,
}

impl ErrorType for Failure {
    fn error_type(&self) -> Cow<'static, str> {
        "tested".into()
    }
}

impl Settlement for Failure {
    fn is_settled(&self) -> bool {
        matches!(self, Self::Settled)
    }
}

fn broker(payloads: &[&str]) -> Broker {
    let broker = Broker::with_topics(&[TOPIC]);
    for payload in payloads {
        broker.send(
            TOPIC,
            &Record {
                payload: Some(payload.as_bytes().to_vec()),
                ..Record::default()
            },
        );
    }
    broker
}

fn consumer(broker: &Broker) -> TracedConsumer<Membership> {
    let mut environment = Environment::from_fn(|name| match name {
        "KAFKA_BROKERS" => Some(broker.servers.clone()),
        "KAFKA_CONSUMER_PROPERTIES" => Some(CONSUMER_PROPERTIES.into()),
        _ => None,
    });
    let settings = KafkaSettings::configure(&mut environment).consumer("tested", GROUP);
    let consumer =
        TracedConsumer::from_config_and_context(&settings, Membership::new("g")).unwrap();
    consumer.consumer().subscribe(&[TOPIC]).unwrap();
    consumer
}

fn payload(record: &BorrowedMessage<'_>) -> String {
    String::from_utf8(record.payload().unwrap().to_vec()).unwrap()
}

/// Runs the loop as a new member, with `handle` given each record's payload and what was handled
/// before; tells what was handled, in order.
async fn run(
    broker: &Broker,
    shutdown: &CancellationToken,
    handle: impl AsyncFn(&str, &[String]) -> Result<(), Failure>,
) -> Vec<String> {
    let handled = RefCell::new(Vec::new());
    let handler = async |record: &BorrowedMessage<'_>| {
        let payload = payload(record);
        let before = handled.borrow().clone();
        handled.borrow_mut().push(payload.clone());
        handle(&payload, &before).await
    };
    let run = record_loop::run(consumer(broker), handler, shutdown.clone());
    timeout(PATIENCE, run).await.unwrap().unwrap();
    handled.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_tried_until_it_is_settled_and_nothing_overtakes_it() {
    let broker = broker(&["first", "stubborn", "hopeless", "last"]);
    let shutdown = CancellationToken::new();
    let pauses = RefCell::new(Vec::new());
    let handled = run(&broker, &shutdown, async |payload, before| match payload {
        "stubborn" => {
            pauses.borrow_mut().push(Instant::now());
            match before.iter().filter(|earlier| *earlier == payload).count() {
                0 | 1 => Err(Failure::Unsettled),
                _ => Ok(()),
            }
        }
        "hopeless" => Err(Failure::Settled),
        "last" => {
            shutdown.cancel();
            Ok(())
        }
        _ => Ok(()),
    })
    .await;
    assert_eq!(
        handled,
        [
            "first", "stubborn", "stubborn", "stubborn", "hopeless", "last"
        ]
    );
    assert_eq!(broker.committed(GROUP, TOPIC), Some(4));
    let tries = pauses.into_inner();
    assert!(tries[1] - tries[0] >= Duration::from_millis(250));
    assert!(tries[2] - tries[1] >= Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_the_record_in_hand_and_commits_it() {
    let broker = broker(&["first", "second"]);
    let shutdown = CancellationToken::new();
    let finished = Cell::new(false);
    let handled = run(&broker, &shutdown, async |_, _| {
        shutdown.cancel();
        // Long enough for a loop that does not wait to be gone.
        tokio::time::sleep(Duration::from_millis(300)).await;
        finished.set(true);
        Ok(())
    })
    .await;
    assert_eq!(handled, ["first"]);
    assert!(finished.get());
    assert_eq!(broker.committed(GROUP, TOPIC), Some(1));

    let shutdown = CancellationToken::new();
    let handled = run(&broker, &shutdown, async |_, _| {
        shutdown.cancel();
        Ok(())
    })
    .await;
    assert_eq!(handled, ["second"]);
    assert_eq!(broker.committed(GROUP, TOPIC), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_leaves_a_record_that_is_not_settled_to_the_next_member() {
    let broker = broker(&["stubborn"]);
    let shutdown = CancellationToken::new();
    let handled = run(&broker, &shutdown, async |_, before| {
        if before.len() == 1 {
            shutdown.cancel();
        }
        Err(Failure::Unsettled)
    })
    .await;
    assert_eq!(handled, ["stubborn", "stubborn"]);
    assert_eq!(broker.committed(GROUP, TOPIC), None);

    let shutdown = CancellationToken::new();
    let handled = run(&broker, &shutdown, async |_, _| {
        shutdown.cancel();
        Ok(())
    })
    .await;
    assert_eq!(handled, ["stubborn"]);
    assert_eq!(broker.committed(GROUP, TOPIC), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_hangs_is_left_ten_seconds_after_the_shutdown() {
    let broker = broker(&["endless"]);
    let shutdown = CancellationToken::new();
    let asked = Cell::new(None);
    run(&broker, &shutdown, async |_, _| {
        asked.set(Some(Instant::now()));
        shutdown.cancel();
        pending().await
    })
    .await;
    let waited = asked.get().unwrap().elapsed();
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    assert_eq!(broker.committed(GROUP, TOPIC), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_gone_does_not_hold_up_the_shutdown() {
    let broker = broker(&["first"]);
    let shutdown = CancellationToken::new();
    let asked = Cell::new(None);
    run(&broker, &shutdown, async |_, _| {
        broker.mock.broker_down(1).unwrap();
        asked.set(Some(Instant::now()));
        shutdown.cancel();
        Ok(())
    })
    .await;
    let waited = asked.get().unwrap().elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}
