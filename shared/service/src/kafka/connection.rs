//! The first connection to the broker, which tells a broker that is down from one that will never
//! let this client in.
//!
//! librdkafka tries both for ever and only logs. A broker that is down is waited for, as it may come
//! up at any time; a wrong password, a certificate that cannot be trusted or the wrong protocol ends
//! the service, because nothing that it could do would help. Whatever happens after the first
//! connection is not looked at here.

use super::handshake;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a refusal must stand before it counts: one broker of several may be at fault.
const GRACE: Duration = Duration::from_secs(3);
/// The same for a broker that hangs up, as one does that is just being started.
const HANGING_UP_GRACE: Duration = Duration::from_secs(8);
/// How long one question may take; also how soon a cancelled wait ends.
const ASK_TIMEOUT: Duration = Duration::from_millis(250);

/// Why this client will never be let in. The reasons are those of librdkafka and OpenSSL; they hold
/// no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// librdkafka refuses the settings.
    #[error(
        "no Kafka client can be made of these settings; check the KAFKA_SSL_* files and the \
         password of the key"
    )]
    Settings(#[from] KafkaError),
    /// The broker refuses the login.
    #[error(
        "the Kafka broker refuses the login; check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and \
         KAFKA_SASL_PASSWORD: {0}"
    )]
    Login(String),
    /// No TLS session comes about.
    #[error(
        "no TLS session with the Kafka broker; check that KAFKA_SSL_CA_FILE holds its authority, \
         KAFKA_BROKERS a host that its certificate names, and KAFKA_SSL_CERTIFICATE_FILE a \
         certificate of ours if it wants one: {0}"
    )]
    Tls(String),
    /// The two sides speak different protocols.
    #[error(
        "the Kafka broker hangs up, as it does when KAFKA_SECURITY_PROTOCOL is not what it speaks: \
         {0}"
    )]
    HangingUp(String),
}

/// A client that has not been let in yet.
pub struct Connection {
    client: BaseConsumer<Reports>,
    topic: String,
    ca_file: Option<String>,
}

impl Connection {
    /// Begins to connect to the broker that `config` names, to ask for `topic`, which need not exist.
    ///
    /// # Errors
    /// [`ConnectionError::Settings`].
    pub fn open(config: &ClientConfig, topic: &str) -> Result<Self, ConnectionError> {
        let mut config = config.clone();
        // Whatever the service itself logs: a broker that hangs up is told of in the log only.
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(Self {
            client: config.create_with_context(Reports::default())?,
            topic: topic.to_owned(),
            ca_file: config.get("ssl.ca.location").map(str::to_owned),
        })
    }

    /// Waits until the broker has answered, or until `shutdown` is cancelled. A broker that is down
    /// is waited for.
    ///
    /// # Errors
    /// [`ConnectionError`] within seconds of a broker that answers and will not let this client in.
    ///
    /// # Cancel safety
    /// Cancel safe: the connection is given up.
    pub async fn established(self, shutdown: &CancellationToken) -> Result<(), ConnectionError> {
        let given_up = shutdown.child_token();
        let _when_dropped = given_up.clone().drop_guard();
        let asked = tokio::task::spawn_blocking(move || self.ask(&given_up));
        // It does not panic, and only a runtime that ends drops it.
        asked.await.unwrap_or(Ok(()))
    }

    /// Blocks, and for up to [`ASK_TIMEOUT`] after `given_up`.
    fn ask(self, given_up: &CancellationToken) -> Result<(), ConnectionError> {
        while !given_up.is_cancelled() {
            let answer = self.client.fetch_metadata(Some(&self.topic), ASK_TIMEOUT);
            if answer.is_ok() {
                return Ok(());
            }
            // What went wrong is reported while the client is polled; at times it is reported faster
            // than it can be taken.
            let enough = Instant::now() + ASK_TIMEOUT;
            while self.client.poll(Duration::ZERO).is_some() && Instant::now() < enough {}
            match self.client.context().lasting_cause() {
                Some(Cause::Login(reason)) => return Err(ConnectionError::Login(reason)),
                Some(Cause::Tls(reason)) => {
                    let reason =
                        handshake::fault(&reason, self.ca_file.as_deref()).unwrap_or(reason);
                    return Err(ConnectionError::Tls(reason));
                }
                Some(Cause::HangingUp(reason)) => return Err(ConnectionError::HangingUp(reason)),
                None => {}
            }
        }
        Ok(())
    }
}

/// The last cause that was reported and since when there has been one; none while the broker is
/// down.
#[derive(Default)]
struct Reports(Mutex<Option<(Cause, Instant)>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Login(String),
    Tls(String),
    HangingUp(String),
}

impl Cause {
    /// `None` for a broker that is down, or that cannot be found.
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        let text = reason.to_owned();
        match code? {
            RDKafkaErrorCode::Authentication => Some(Self::Login(text)),
            RDKafkaErrorCode::SSL => Some(Self::Tls(text)),
            // OpenSSL's errors come with this code too; so do all others of a connection, which
            // differ by their words alone.
            RDKafkaErrorCode::BrokerTransportFailure if reason.contains("SSL routines") => {
                Some(Self::Tls(text))
            }
            RDKafkaErrorCode::BrokerTransportFailure
                if !reason.contains("Connect to ") && !reason.contains("timed out") =>
            {
                Some(Self::HangingUp(text))
            }
            _ => None,
        }
    }

    fn grace(&self) -> Duration {
        match self {
            Self::Login(_) | Self::Tls(_) => GRACE,
            Self::HangingUp(_) => HANGING_UP_GRACE,
        }
    }
}

impl Reports {
    fn note(&self, cause: Option<Cause>) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *report = cause.map(|cause| {
            let since = report
                .as_ref()
                .map_or_else(Instant::now, |(_, since)| *since);
            (cause, since)
        });
    }

    fn lasting_cause(&self) -> Option<Cause> {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, since) = report.as_ref()?;
        (since.elapsed() >= cause.grace()).then(|| cause.clone())
    }
}

impl ClientContext for Reports {
    /// Passes nothing on: the clients that do the work log the same.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" && message.contains("Disconnected") {
            // Without the name of a thread at its front.
            let reason = message
                .split_once("]: ")
                .map_or(message, |(_, reason)| reason);
            self.note(Some(Cause::HangingUp(reason.to_owned())));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // Follows every other error, and says nothing of its own.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.note(Cause::of(code, reason));
        }
    }
}

impl ConsumerContext for Reports {}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
