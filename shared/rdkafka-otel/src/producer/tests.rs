//! That the application's own client context loses no callback to those in front of it.

use std::error::Error;
use std::sync::Mutex;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext, Statistics};

use super::{Reports, TracedContext};

#[derive(Default)]
struct Probe(Mutex<Vec<String>>);

impl Probe {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

impl ClientContext for Probe {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.note(format!("log {fac} {log_message}"));
    }

    fn stats(&self, statistics: Statistics) {
        self.note(format!("stats {}", statistics.name));
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.note(format!("stats_raw {statistics:?}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(format!("error {error} {reason}"));
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.note(format!("token {config:?}"));
        Err("none".into())
    }
}

#[test]
fn every_callback_is_passed_on() {
    let context = TracedContext::new(&ClientConfig::new(), Reports(Probe::default()));
    context.log(RDKafkaLogLevel::Info, "FAC", "message");
    context.stats(Statistics {
        name: "client".to_owned(),
        ..Statistics::default()
    });
    context.stats_raw(b"{}");
    context.error(KafkaError::Canceled, "reason");
    let token = context.generate_oauth_token(Some("config"));

    assert_eq!(
        token.err().map(|error| error.to_string()).as_deref(),
        Some("none")
    );
    assert_eq!(
        *context.inner().0.0.lock().unwrap(),
        [
            "log FAC message".to_owned(),
            "stats client".to_owned(),
            "stats_raw [123, 125]".to_owned(),
            format!("error {} reason", KafkaError::Canceled),
            "token Some(\"config\")".to_owned(),
        ]
    );
    const { assert!(<TracedContext<Reports<Probe>> as ClientContext>::ENABLE_REFRESH_OAUTH_TOKEN) };
}
