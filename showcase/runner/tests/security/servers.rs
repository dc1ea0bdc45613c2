//! The servers that `.ci/security` has started, and a front with TLS for one that has none.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Environment variables of a process.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A listener of Kafka: `SASL_SSL`, `SASL_PLAINTEXT`, `SSL`, `EXPIRED` or `ELSEWHERE`.
pub(crate) fn kafka(listener: &str) -> String {
    given(&format!("SECURE_KAFKA_{listener}"))
}

/// The password of Kafka's user `app` or `admin`.
pub(crate) fn password(user: &str) -> String {
    given(&format!("SECURE_KAFKA_{}_PASSWORD", user.to_uppercase()))
}

/// A PostgreSQL that takes clients with TLS only.
pub(crate) fn database_url() -> String {
    given("SECURE_DATABASE_URL")
}

/// A file that `.ci/certificates` made.
pub(crate) fn certificate(name: &str) -> String {
    format!("{}/{name}", given("SECURE_CERTIFICATES"))
}

fn given(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set; `.ci/full security` sets it"))
}

/// How `app` gets in.
pub(crate) fn login() -> Variables {
    vec![
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".into()),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512".into()),
        ("KAFKA_SASL_USERNAME", "app".into()),
        ("KAFKA_SASL_PASSWORD", password("app")),
        ("KAFKA_SSL_CA_FILE", certificate("ca.pem")),
    ]
}

/// `variables` with another value for one; none takes it away.
pub(crate) fn but(mut variables: Variables, name: &'static str, value: Option<&str>) -> Variables {
    variables.retain(|(known, _)| *known != name);
    variables.extend(value.map(|value| (name, value.to_owned())));
    variables
}

/// TLS in front of a plain server, ended with the value.
pub(crate) struct TlsFront {
    address: SocketAddr,
    _process: Child,
}

impl TlsFront {
    /// In front of `plain`, a URL; it may want a certificate of its clients.
    pub(crate) async fn start(plain: &str, wants_certificates: bool) -> Self {
        let address = nowhere();
        let listen = format!(
            "OPENSSL-LISTEN:{},bind=127.0.0.1,reuseaddr,fork,cert={},cafile={},verify={}",
            address.port(),
            certificate("server.both.pem"),
            certificate("ca.pem"),
            u8::from(wants_certificates),
        );
        let plain = plain.strip_prefix("http://").expect("a plain server");
        let process = Command::new("socat")
            .args([listen, format!("TCP:{plain}")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("socat starts");
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "socat does not listen");
            tokio::time::sleep(POLL).await;
        }
        Self {
            address,
            _process: process,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// An address of this machine where nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}
