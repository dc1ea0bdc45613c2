//! `viewer --healthcheck`: whether the viewer that runs with these options answers, for container
//! images without a shell or curl. Blocking and made of the standard library.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the query API on `listen` for its services.
///
/// # Errors
/// If nobody answers in time, or with anything but 200.
pub(crate) fn ask(listen: SocketAddr) -> io::Result<()> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(
        b"GET /api/v3/services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other("the query API does not answer with 200"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answering(status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; b"GET /api/v3/services HTTP/1.1\r\n".len()];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"GET /api/v3/services HTTP/1.1\r\n");
            stream.write_all(status.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        assert!(ask(answering("HTTP/1.1 200 OK\r\n\r\n")).is_ok());
        for other in ["HTTP/1.1 503 \r\n\r\n", "HTTP/1.1 20", ""] {
            assert!(ask(answering(other)).is_err(), "{other:?}");
        }
    }
}
