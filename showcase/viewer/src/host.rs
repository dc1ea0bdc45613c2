//! Keeps web pages from reading traces through a name that they point at this machine
//! (DNS rebinding): on loopback the query API answers to loopback names only.
//!
//! Not on the OTLP addresses: a page cannot send their content types without asking first, and is
//! not answered. It is no authentication.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{StatusCode, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;

use crate::query::failure;

/// Middleware: 403 for any other `Host` than a loopback one.
pub(crate) async fn loopback_only(request: Request, next: Next) -> Response {
    // HTTP/2 has the name in the URI.
    let named = request.uri().authority().cloned().or_else(|| {
        let host = request.headers().get(HOST)?.to_str().ok()?;
        host.parse::<Authority>().ok()
    });
    if named.is_some_and(|authority| is_loopback(authority.host())) {
        return next.run(request).await;
    }
    failure(
        StatusCode::FORBIDDEN,
        "this viewer listens on loopback and answers only to localhost, 127.0.0.1 and [::1]",
    )
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_loopback_names_and_addresses_are() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "localhost.",
            "2130706433",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
