//! `--healthcheck`: a container image without a shell or curl can still ask its own service whether
//! it is ready.
//!
//! Blocking and made of the standard library: the process that asks lives for one request.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest time for the whole question. Readiness checks take 2 s each at most, one after another.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Whether `/readyz` of the service that listens on `listen` answers 200.
///
/// # Errors
/// If nobody answers in time, or not in HTTP.
pub(crate) fn is_ready(listen: SocketAddr) -> io::Result<bool> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&reachable(listen), TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    // The status code ends at the twelfth byte; it may come in pieces.
    let mut line = [0; b"HTTP/1.1 200".len()];
    let mut filled = 0;
    while filled < line.len() {
        let left = deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
            .ok_or(io::ErrorKind::TimedOut)?;
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut line[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(line.starts_with(b"HTTP/1.") && line.ends_with(b" 200"))
}

/// Where a service that listens on every address can be reached from beside it.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    /// Answers one request with `pieces`, each sent by itself; gives the address and, once it is
    /// answered, the request's first line.
    fn answering(pieces: &'static [&'static str]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
            first
        });
        (address, server)
    }

    #[test]
    fn ready_is_200_and_nothing_else() {
        let (address, server) =
            answering(&["HTTP", "/1.1 ", "200 OK\r\ncontent-length: 0\r\n\r\n"]);
        assert!(is_ready(address).unwrap());
        assert_eq!(server.join().unwrap(), "GET /readyz HTTP/1.1");

        for other in [
            &["HTTP/1.1 503 Service Unavailable\r\n\r\n"],
            &["HTTP/1.1 404 Not Found\r\n\r\n"],
            &["SSH-2.0-OpenSSH 200"],
        ] {
            let (address, server) = answering(other);
            assert!(!is_ready(address).unwrap(), "{other:?}");
            server.join().unwrap();
        }
    }

    #[test]
    fn nobody_and_a_closed_connection_are_errors() {
        let (address, server) = answering(&["HTTP"]);
        assert_eq!(
            is_ready(address).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        server.join().unwrap();
        // The listener is gone with its thread.
        assert_eq!(
            is_ready(address).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn a_service_on_every_address_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
