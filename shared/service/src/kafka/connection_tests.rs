use super::*;

/// As librdkafka words them; the real ones are in the runner's tests of security.
#[test]
fn a_broker_that_is_down_is_no_cause_and_one_that_refuses_is() {
    use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, Resolve, SSL};
    let hanging_up = |text: &str| Some(Cause::HangingUp(text.to_owned()));
    let cases = [
        (
            BrokerTransportFailure,
            "Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            None,
        ),
        (
            BrokerTransportFailure,
            "Connection setup timed out in state CONNECT",
            None,
        ),
        (Resolve, "Failed to resolve 'nowhere.invalid:9092'", None),
        (
            Authentication,
            "SASL authentication error",
            Some(Cause::Login("SASL authentication error".to_owned())),
        ),
        (
            SSL,
            "SSL handshake failed",
            Some(Cause::Tls("SSL handshake failed".to_owned())),
        ),
        (
            BrokerTransportFailure,
            "error:0A000086:SSL routines::certificate verify failed",
            Some(Cause::Tls(
                "error:0A000086:SSL routines::certificate verify failed".to_owned(),
            )),
        ),
        (
            BrokerTransportFailure,
            "Send failed: Broken pipe",
            hanging_up("Send failed: Broken pipe"),
        ),
    ];
    for (code, reason, expected) in cases {
        assert_eq!(Cause::of(Some(code), reason), expected, "{reason}");
    }
}

#[test]
fn a_cause_counts_once_it_has_lasted_and_not_after_the_broker_was_found_down() {
    let reports = Reports::default();
    let login = Cause::Login("no".to_owned());
    reports.note(Some(login.clone()));
    assert_eq!(reports.lasting_cause(), None, "one report is not enough");

    let long_ago = Instant::now() - GRACE;
    *reports.0.lock().unwrap() = Some((login.clone(), long_ago));
    reports.note(Some(login.clone()));
    assert_eq!(reports.lasting_cause(), Some(login));

    reports.note(None);
    assert_eq!(reports.lasting_cause(), None);
}

#[tokio::test]
async fn a_broker_that_is_down_is_waited_for_until_shutdown() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    let connection = Connection::open(&config, "orders").unwrap();
    let shutdown = CancellationToken::new();
    let waiting = connection.established(&shutdown);
    tokio::pin!(waiting);
    // It asks several times meanwhile.
    let early = tokio::time::timeout(ASK_TIMEOUT * 4, &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    shutdown.cancel();
    assert!(waiting.await.is_ok());
}
