//! `order-processor`: takes the orders of its share of the topic, has each paid once, and tells
//! what became of it.
//!
//! ```text
//! `orders` => worker -> process -> store -> payment -> status_publisher => `order-status`
//!                             \-> dead_letter => `orders.dlq`
//! ```
//!
//! A record's offset is committed when its outcome is stored and told, or when the record lies in
//! the dead-letter topic. A record that comes twice is recognised by its event id.
//!
//! Not here: a retry topic or concurrency within a partition; records are taken one at a time by
//! `service::record_loop`.

mod config;
mod dead_letter;
mod payment;
mod process;
mod status_publisher;
mod store;
mod worker;

pub use config::Config;

use dead_letter::DeadLetters;
use payment::PaymentClient;
use process::Processor;
use rdkafka_otel::TracedProducer;
use service::health::Readiness;
use service::http::{Api, Limits};
use service::kafka::Membership;
use service::{Environment, Service};
use status_publisher::StatusPublisher;
use store::Store;
use tokio_util::sync::CancellationToken;
use worker::Worker;

/// The service, for `service::main` and the showcase's runner.
pub struct OrderProcessor;

impl Service for OrderProcessor {
    const NAME: &'static str = "order-processor";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Takes orders from Kafka and has each paid once";
    type Config = Config;

    fn configure(environment: &mut Environment<'_>) -> Config {
        Config::configure(environment)
    }

    async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
        run(config, shutdown).await
    }
}

/// Runs the service until `shutdown` is cancelled; then the record in hand is finished and its
/// offset committed.
///
/// # Errors
/// A listener that cannot be bound, a database that cannot be opened, or a Kafka client that
/// cannot be made or fails for good, or that the broker will never let in.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(config.database_url.expose()).await?;
    let connection = config.kafka.connection(OrderProcessor::NAME)?;
    let producer = TracedProducer::from_config(&config.kafka.producer(OrderProcessor::NAME))?;
    let membership = Membership::new(&config.group);
    let processor = Processor {
        store: store.clone(),
        payments: PaymentClient::new(&config)?,
        statuses: StatusPublisher::new(producer.clone(), &config.kafka),
        dead_letters: DeadLetters::new(producer, &config.kafka),
    };
    let worker = Worker::new(&config, processor, membership.clone())?;
    let socket = service::http::listen(OrderProcessor::NAME, config.listen).await?;
    let database = store.clone();
    let health = Api {
        router: axum::Router::new(),
        trust_incoming_trace: true,
        limits: Limits::default(),
        readiness: Readiness::default()
            .check("database", move || {
                let store = database.clone();
                async move { store.ping().await.map_err(|error| error.to_string()) }
            })
            .check("consumer group", move || {
                let joined = membership.is_joined();
                async move {
                    joined
                        .then_some(())
                        .ok_or_else(|| "not joined yet".to_owned())
                }
            }),
    };
    let serving = service::http::serve(socket, health, shutdown.clone());
    tokio::try_join!(
        async {
            serving.await;
            Ok(())
        },
        worker.run(shutdown.clone()),
        async { Ok(connection.established(&shutdown).await?) },
    )?;
    store.close().await;
    Ok(())
}
