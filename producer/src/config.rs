//! What `orders-api` reads from its environment.

use rdkafka_otel::Parent;
use service::database::Database;
use service::environment::HttpUrl;
use service::kafka::KafkaSettings;
use service::{Environment, Secret};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The broker and the topics.
    pub kafka: KafkaSettings,
    /// Group id of the status listener.
    pub group: String,
    /// What becomes the parent of a `process` span.
    pub process_parent: Parent,
    /// The database.
    pub database_url: Secret,
    /// Where `payments` is.
    pub payments_url: String,
    /// Longest time `payments` may take to verify.
    pub payments_timeout: Duration,
    /// Whether a caller's `traceparent` is continued, or only linked.
    pub trust_incoming_trace: bool,
    /// Where a person can look at a trace; `{trace_id}` stands for its id.
    pub trace_url_template: Option<String>,
}

impl Config {
    pub(crate) fn configure(environment: &mut Environment<'_>) -> Self {
        let kafka = KafkaSettings::configure(environment);
        let trace_url_template: Option<String> = environment.read_optional(
            "TRACE_URL_TEMPLATE",
            "URL of a trace for the 202 answer, with {trace_id} in it",
        );
        if trace_url_template
            .as_ref()
            .is_some_and(|template| !template.contains("{trace_id}"))
        {
            environment.fault("TRACE_URL_TEMPLATE", "must contain {trace_id}".into());
        }
        Self {
            listen: environment.read(
                "LISTEN_ADDR",
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
                "where the API listens; port 0 takes a free one",
            ),
            group: kafka.group("orders-api"),
            kafka,
            process_parent: environment.read(
                "PROCESS_PARENT",
                Parent::CreationContext,
                "parent of process spans: creation-context, link, auto or by-age:30s",
            ),
            database_url: Database::configure(environment, "orders-api"),
            payments_url: environment
                .read(
                    "PAYMENTS_URL",
                    HttpUrl("http://127.0.0.1:8001".into()),
                    "where payments is",
                )
                .0,
            payments_timeout: environment.milliseconds(
                "PAYMENTS_TIMEOUT_MS",
                Duration::from_secs(5),
                "longest time payments may take to verify an order",
            ),
            trust_incoming_trace: environment.switch(
                "TRUST_INCOMING_TRACE",
                true,
                "whether a caller's traceparent is continued; off at a public edge, where it is linked",
            ),
            trace_url_template,
        }
    }
}
