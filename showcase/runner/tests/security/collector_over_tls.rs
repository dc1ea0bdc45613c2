//! OTLP over TLS: both protocols, a token, a certificate of the client's own, and a collector that
//! cannot be trusted.
//!
//! That all three signals of a whole pipeline arrive over HTTP is in every test of `pipeline`.

use crate::collector::Collector;
use crate::refusals::run;
use crate::secrets::{TOKEN, assert_free};
use crate::servers::{LIMIT, POLL, TlsFront, Variables, certificate};
use tokio::time::Instant;

/// A service that cannot start; what it logs of that is exported when it ends.
fn doomed(url: String, protocol: &str, further: &[(&'static str, String)]) -> Variables {
    let mut variables: Variables = vec![
        ("OTEL_SDK_DISABLED", "false".into()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.into()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate("ca.pem")),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization=Bearer%20{TOKEN}"),
        ),
        ("DATABASE_URL", "postgres://app@127.0.0.1:1/nowhere".into()),
    ];
    variables.extend(further.iter().cloned());
    variables
}

fn own_certificate() -> [(&'static str, String); 2] {
    [
        (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            certificate("client.pem"),
        ),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificate("client.key")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_arrive_with_token_and_certificate_over_either_protocol() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::default();
        let plain = match protocol {
            "grpc" => collector.over_grpc().await,
            _ => collector.over_http().await,
        };
        let front = TlsFront::start(&plain, true).await;
        let variables = doomed(front.url(), protocol, &own_certificate());
        let ended = run(&["service", "payments"], &variables).await;
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        assert_free(protocol, ended.said.as_bytes());

        let deadline = Instant::now() + LIMIT;
        while collector.received().log_records().is_empty() {
            assert!(Instant::now() < deadline, "{protocol}:\n{}", ended.said);
            tokio::time::sleep(POLL).await;
        }
        for headers in collector.received().headers {
            assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_cannot_be_trusted_gets_nothing_and_the_log_says_why() {
    for protocol in ["http/protobuf", "grpc"] {
        let foreign = certificate("foreign-ca.pem");
        for (wants_certificates, further, reason) in [
            (
                false,
                vec![("OTEL_EXPORTER_OTLP_CERTIFICATE", foreign.clone())],
                "certificate verify failed",
            ),
            // With TLS 1.3 the refusal may come as an alert or as a closed connection.
            (true, Vec::new(), "telemetry lost: "),
        ] {
            let collector = Collector::default();
            let plain = match protocol {
                "grpc" => collector.over_grpc().await,
                _ => collector.over_http().await,
            };
            let front = TlsFront::start(&plain, wants_certificates).await;
            let variables = doomed(front.url(), protocol, &further);
            let ended = run(&["service", "payments"], &variables).await;
            assert_eq!(ended.code, Some(1), "{}", ended.said);
            assert!(ended.said.contains(reason), "{protocol}:\n{}", ended.said);
            assert_free(protocol, ended.said.as_bytes());
            assert!(collector.received().headers.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_end_the_start() {
    for (name, file, reason) in [
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            certificate("nowhere.pem"),
            "No such file or directory",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            certificate("ca.key"),
            "it holds no certificate in PEM",
        ),
    ] {
        let variables = doomed(
            "https://127.0.0.1:1".into(),
            "http/protobuf",
            &[(name, file.clone())],
        );
        let ended = run(&["service", "payments"], &variables).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said);
        let expected = format!("payments: {name}: {file}: {reason}");
        assert!(ended.said.contains(&expected), "{}", ended.said);
        assert_free("payments", ended.said.as_bytes());
    }
}
