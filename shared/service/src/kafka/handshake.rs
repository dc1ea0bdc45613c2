//! What exactly is wrong with a broker's certificate: librdkafka says only that it could not be
//! verified, and OpenSSL knows whether it has expired, names another host or has a stranger's
//! signature.
//!
//! Asked once a connection has failed; nothing is sent over it.

#[cfg(feature = "tls")]
use native_tls::{Certificate, HandshakeError, TlsConnector};
#[cfg(feature = "tls")]
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(feature = "tls")]
use std::time::Duration;

#[cfg(feature = "tls")]
const TIMEOUT: Duration = Duration::from_secs(2);

/// OpenSSL's reason, with the broker's address, where librdkafka's `report` begins with
/// `PROTOCOL://HOST:PORT/`. `None` if the handshake succeeds or cannot be tried.
#[cfg(feature = "tls")]
pub(super) fn fault(report: &str, ca_file: Option<&str>) -> Option<String> {
    let address = report.split_once("://")?.1.split_once('/')?.0;
    let host = address.rsplit_once(':')?.0;
    let mut settings = TlsConnector::builder();
    if let Some(file) = ca_file {
        settings.disable_built_in_roots(true);
        for authority in Certificate::stack_from_pem(&std::fs::read(file).ok()?).ok()? {
            settings.add_root_certificate(authority);
        }
    }
    let connector = settings.build().ok()?;
    let broker = address.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&broker, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    match connector.connect(host, stream) {
        Err(HandshakeError::Failure(error)) => Some(format!("{address}: {error}")),
        _ => None,
    }
}

/// Nothing is known without TLS.
#[cfg(not(feature = "tls"))]
pub(super) fn fault(_: &str, _: Option<&str>) -> Option<String> {
    None
}
