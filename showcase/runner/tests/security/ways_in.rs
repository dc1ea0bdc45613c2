//! Each way to get in, and the traces that are the same as elsewhere.

use crate::expected::Expected;
use crate::pipeline::Pipeline;
use crate::servers::{Variables, but, certificate, kafka, login, password};
use std::path::Path;
use tempfile::TempDir;

async fn traces_are_as_expected(pipeline: &Pipeline, trees: &[(&str, &str)]) {
    for (payment_method, name) in trees {
        let (_, trace_id) = pipeline.accepted(payment_method).await;
        let expected = Expected::read(name);
        let right = |trace: &_| expected.matches(trace);
        pipeline.trace_when(&trace_id, right).await;
    }
}

fn secret_file(folder: &TempDir, content: &str) -> String {
    let path = folder.path().join("password");
    std::fs::write(&path, format!("{content}\n")).expect("a file");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_pipeline_with_tls_and_scram_has_the_expected_traces() {
    let folder = TempDir::new().expect("a folder");
    let file = secret_file(&folder, &password("app"));
    let login = but(login(), "KAFKA_SASL_PASSWORD", None);
    let login = but(login, "KAFKA_SASL_PASSWORD_FILE", Some(&file));
    let pipeline = Pipeline::start(kafka("SASL_SSL"), &login).await;
    let trees = [
        ("pm_ok", "joined"),
        ("pm_declined", "declined"),
        ("pm_fail_twice", "failing_twice"),
        ("pm_down", "down"),
    ];
    traces_are_as_expected(&pipeline, &trees).await;
    pipeline.ends_without_a_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_clients_own_is_a_way_in() {
    let key_password = certificate("client.password");
    assert!(Path::new(&key_password).exists());
    let certificate: Variables = vec![
        ("KAFKA_SECURITY_PROTOCOL", "SSL".into()),
        ("KAFKA_SSL_CA_FILE", certificate("ca.pem")),
        ("KAFKA_SSL_CERTIFICATE_FILE", certificate("client.pem")),
        ("KAFKA_SSL_KEY_FILE", certificate("client.locked")),
        ("KAFKA_SSL_KEY_PASSWORD_FILE", key_password),
    ];
    let pipeline = Pipeline::start(kafka("SSL"), &certificate).await;
    traces_are_as_expected(&pipeline, &[("pm_ok", "joined")]).await;
    pipeline.ends_without_a_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mechanism_is_a_way_in_with_tls_and_without() {
    for (protocol, mechanism) in [
        ("SASL_SSL", "PLAIN"),
        ("SASL_SSL", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ] {
        let login = but(login(), "KAFKA_SECURITY_PROTOCOL", Some(protocol));
        let mut login = but(login, "KAFKA_SASL_MECHANISM", Some(mechanism));
        if protocol == "SASL_PLAINTEXT" {
            login = but(login, "KAFKA_SSL_CA_FILE", None);
        }
        let pipeline = Pipeline::start(kafka(protocol), &login).await;
        traces_are_as_expected(&pipeline, &[("pm_ok", "joined")]).await;
        pipeline.ends_without_a_secret().await;
    }
}
