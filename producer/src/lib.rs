//! `orders-api`: takes orders over HTTP and publishes them; hears what became of them.
//!
//! ```text
//! http -> order -> store -> publisher => `orders`
//!                  store <- status_listener <= `order-status`
//! ```
//!
//! An order is stored as `pending` first and published second, and the caller is answered once the
//! broker has it: whoever gets a 202 can look the order up at once, and it will be processed.
//!
//! Not here: payment, which is `payments`' affair and reached through `order-processor`; this
//! service only asks `payments` to verify one when an order is looked up.

mod config;
mod http;
mod order;
mod payment_verification;
mod publisher;
mod status_listener;
mod store;

pub use config::Config;

use payment_verification::PaymentVerification;
use publisher::Publisher;
use service::health::Readiness;
use service::http::{Api, Limits};
use service::kafka::Membership;
use service::{Environment, Service};
use status_listener::StatusListener;
use store::Store;
use tokio_util::sync::CancellationToken;

/// The service, for `service::main` and the showcase's runner.
pub struct OrdersApi;

impl Service for OrdersApi {
    const NAME: &'static str = "orders-api";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "Takes orders over HTTP and publishes them to Kafka";
    type Config = Config;

    fn configure(environment: &mut Environment<'_>) -> Config {
        Config::configure(environment)
    }

    async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
        run(config, shutdown).await
    }
}

/// Runs the service until `shutdown` is cancelled; then requests and the record in hand finish,
/// and records on their way to the broker are waited for.
///
/// # Errors
/// A listener that cannot be bound, a database that cannot be opened, or a Kafka client that
/// cannot be made or fails for good, or that the broker will never let in. A broker that does not
/// answer is no error: `/readyz` and `POST /orders` say so until it does.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(config.database_url.expose()).await?;
    let connection = config.kafka.connection(OrdersApi::NAME)?;
    let publisher = Publisher::new(&config.kafka)?;
    let membership = Membership::new(&config.group);
    let listener = StatusListener::new(&config, store.clone(), membership.clone())?;
    let socket = service::http::listen(OrdersApi::NAME, config.listen).await?;
    let payments = PaymentVerification::new(&config.payments_url, config.payments_timeout)?;
    let api = Api {
        readiness: readiness(&store, &publisher, membership),
        trust_incoming_trace: config.trust_incoming_trace,
        limits: Limits::default(),
        router: http::routes(
            store.clone(),
            publisher.clone(),
            payments,
            config.trace_url_template,
        ),
    };
    let serving = service::http::serve(socket, api, shutdown.clone());
    tokio::try_join!(
        async {
            serving.await;
            Ok(())
        },
        listener.run(shutdown.clone()),
        async { Ok(connection.established(&shutdown).await?) },
    )?;
    publisher.flush().await;
    store.close().await;
    Ok(())
}

fn readiness(store: &Store, publisher: &Publisher, membership: Membership) -> Readiness {
    let (store, publisher) = (store.clone(), publisher.clone());
    Readiness::default()
        .check("database", move || {
            let store = store.clone();
            async move { store.ping().await.map_err(|error| error.to_string()) }
        })
        .check("broker", move || {
            let publisher = publisher.clone();
            async move { publisher.reaches_broker().await }
        })
        .check("consumer group", move || {
            let joined = membership.is_joined();
            async move {
                joined
                    .then_some(())
                    .ok_or_else(|| "not joined yet".to_owned())
            }
        })
}
