//! What a client can get wrong: each is said in one error soon after the start, with what to look at,
//! and ends the process.

use crate::secrets::{WRONG, assert_free};
use crate::servers::{LIMIT, Variables, but, certificate, kafka, login};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::JoinSet;

/// How a process ended: its exit code and all that it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

/// Runs `throughline` with these variables and no others until it ends by itself.
pub(crate) async fn run(arguments: &[&str], variables: &Variables) -> Ended {
    let folder = TempDir::new().expect("a folder");
    let database = format!("sqlite://{}", folder.path().join("test.db").display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(arguments)
        .env_clear()
        .envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("SIMULATED_GATEWAY_ADDR", "127.0.0.1:0"),
            ("OTEL_SDK_DISABLED", "true"),
            ("DATABASE_URL", &database),
            ("RUST_LOG", "debug"),
        ])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        // A service leaves when this closes.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let (mut output, mut errors) = (child.stdout.take(), child.stderr.take());
    let (mut first, mut second) = (String::new(), String::new());
    let reading = async {
        let output = output.as_mut().expect("piped").read_to_string(&mut first);
        let errors = errors.as_mut().expect("piped").read_to_string(&mut second);
        tokio::try_join!(output, errors).expect("text");
    };
    let ended = tokio::time::timeout(LIMIT, reading).await;
    assert!(ended.is_ok(), "it goes on:\n{first}\n{second}");
    let status = child.wait().await.expect("its status");
    Ended {
        code: status.code(),
        said: first + &second,
    }
}

struct Mistake {
    listener: &'static str,
    variables: Variables,
    said: [&'static str; 2],
}

const LOGIN: &str = "the Kafka broker refuses the login; check KAFKA_SASL_MECHANISM, \
                     KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD";
const TLS: &str = "no TLS session with the Kafka broker; check that KAFKA_SSL_CA_FILE holds its \
                   authority, KAFKA_BROKERS a host that its certificate names";
const HANGS_UP: &str = "the Kafka broker hangs up, as it does when KAFKA_SECURITY_PROTOCOL is not \
                        what it speaks";

fn mistakes() -> Vec<Mistake> {
    let wrong = || but(login(), "KAFKA_SASL_PASSWORD", Some(WRONG));
    let tls_only = || {
        vec![
            ("KAFKA_SECURITY_PROTOCOL", "SSL".to_owned()),
            ("KAFKA_SSL_CA_FILE", certificate("ca.pem")),
        ]
    };
    vec![
        Mistake {
            listener: "SASL_SSL",
            variables: wrong(),
            said: [
                LOGIN,
                "invalid credentials with SASL mechanism SCRAM-SHA-512",
            ],
        },
        Mistake {
            listener: "SASL_SSL",
            variables: but(wrong(), "KAFKA_SASL_MECHANISM", Some("PLAIN")),
            said: [LOGIN, "Invalid username or password"],
        },
        Mistake {
            listener: "SASL_SSL",
            variables: but(
                wrong(),
                "KAFKA_SSL_CA_FILE",
                Some(&certificate("foreign-ca.pem")),
            ),
            said: [TLS, "(unable to get local issuer certificate)"],
        },
        Mistake {
            listener: "EXPIRED",
            variables: wrong(),
            said: [TLS, "(certificate has expired)"],
        },
        Mistake {
            listener: "ELSEWHERE",
            variables: wrong(),
            said: [TLS, "(IP address mismatch)"],
        },
        Mistake {
            listener: "SSL",
            variables: tls_only(),
            said: [TLS, "alert"],
        },
        Mistake {
            listener: "SASL_SSL",
            variables: Vec::new(),
            said: [HANGS_UP, "Disconnected"],
        },
        Mistake {
            listener: "SASL_PLAINTEXT",
            variables: wrong(),
            said: [HANGS_UP, "SSL handshake failed"],
        },
        Mistake {
            listener: "SASL_SSL",
            variables: tls_only(),
            said: [HANGS_UP, "Disconnected"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_with_kafka_ends_a_service_with_its_reason() {
    let mut running = JoinSet::new();
    for mistake in mistakes() {
        running.spawn(async move {
            for service in ["orders-api", "order-processor"] {
                let mut variables = mistake.variables.clone();
                variables.push(("KAFKA_BROKERS", kafka(mistake.listener)));
                let ended = run(&["service", service], &variables).await;
                assert_eq!(ended.code, Some(1), "{}", ended.said);
                let last = ended
                    .said
                    .lines()
                    .find(|line| line.contains(&format!("{service} stops: ")));
                let last = last.unwrap_or_else(|| panic!("no last word:\n{}", ended.said));
                for part in mistake.said {
                    assert!(last.contains(part), "{last}\nlacks: {part}");
                }
                assert_free(service, ended.said.as_bytes());
            }
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runners_own_clients_say_the_same() {
    let brokers = kafka("SASL_SSL");
    let wrong = but(login(), "KAFKA_SASL_PASSWORD", Some(WRONG));
    let up = [
        "--brokers",
        &brokers,
        "--control-port=0",
        "--otlp-grpc-port=0",
    ];
    let tail = ["tail", "orders", "--brokers", &brokers];
    for arguments in [&up[..], &tail] {
        let ended = run(arguments, &wrong).await;
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        assert!(ended.said.contains(LOGIN), "{}", ended.said);
        assert_free("throughline", ended.said.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_password_is_said_before_anything_is_connected() {
    let mut variables: Variables = vec![
        ("KAFKA_BROKERS", kafka("SSL")),
        ("KAFKA_SECURITY_PROTOCOL", "SSL".into()),
        ("KAFKA_SSL_CA_FILE", certificate("ca.pem")),
        ("KAFKA_SSL_CERTIFICATE_FILE", certificate("client.pem")),
        ("KAFKA_SSL_KEY_FILE", certificate("client.locked")),
        ("KAFKA_SSL_KEY_PASSWORD", WRONG.into()),
    ];
    let ended = run(&["service", "orders-api"], &variables).await;
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    let part = "no Kafka client can be made of these settings; check the KAFKA_SSL_* files and the \
                password of the key: Client creation error: ssl.key.location failed";
    assert!(ended.said.contains(part), "{}", ended.said);
    assert_free("orders-api", ended.said.as_bytes());

    variables.push(("KAFKA_SSL_KEY_PASSWORD_FILE", "/nowhere".into()));
    let ended = run(&["service", "orders-api"], &variables).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert_free("orders-api", ended.said.as_bytes());
}
