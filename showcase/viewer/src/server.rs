//! The three listeners: bound first, so that the real addresses are known, then served until told
//! to stop.
//!
//! What is served on them is in `page`, `live`, `query`, `otlp_http` and `otlp_grpc`; the bound on the time of a
//! request is here, for all three.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::store::Store;
use crate::{live, otlp_grpc, otlp_http, page, query};

/// Longest time for a request to arrive and be answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may go on after the shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a viewer cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else listens there.
    #[error(
        "{address} ({purpose}) is taken: another viewer or a collector may be running. \
         Stop it, or choose another address with {option}"
    )]
    Taken {
        /// The address asked for.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// The option that changes it.
        option: &'static str,
    },
    /// The address cannot be listened on for another reason.
    #[error(
        "cannot listen on {address} ({purpose}): {source}. Choose another address with {option}"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// The option that changes it.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A viewer that has its addresses and an empty store. It serves nothing before
/// [`serve`](Viewer::serve), but connections made meanwhile wait and are not refused.
#[derive(Debug)]
pub struct Viewer {
    store: Arc<Store>,
    query: Bound,
    otlp_http: Bound,
    otlp_grpc: Bound,
    control_url: Option<String>,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Viewer {
    /// Binds all three addresses, or none.
    ///
    /// # Errors
    /// When an address cannot be had: it is named, with what to do.
    pub async fn bind(config: Config) -> Result<Viewer, Error> {
        Ok(Viewer {
            store: Arc::new(Store::new(config.max_bytes)),
            query: bind(config.listen, "page and query API", "--listen").await?,
            otlp_http: bind(config.otlp_http, "OTLP over HTTP", "--otlp-http").await?,
            otlp_grpc: bind(config.otlp_grpc, "OTLP over gRPC", "--otlp-grpc").await?,
            control_url: config.control_url,
        })
    }

    /// Where the page and the query API are, with the real port.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.query.address
    }

    /// Where OTLP over HTTP is taken, with the real port.
    #[must_use]
    pub fn otlp_http_addr(&self) -> SocketAddr {
        self.otlp_http.address
    }

    /// Where OTLP over gRPC is taken, with the real port.
    #[must_use]
    pub fn otlp_grpc_addr(&self) -> SocketAddr {
        self.otlp_grpc.address
    }

    /// The store that is served, to look into from the same process.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Serves until `shutdown` completes; then accepts nothing more and gives requests in flight
    /// 5 s.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting at once; requests in flight are finished by the
    /// runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let control_url = self.control_url.as_deref();
        let live = live::router(Arc::clone(&self.store), control_url, stop.clone());
        let page = page::router(control_url).merge(live);
        let query = query::router(Arc::clone(&self.store), page, self.query.address.ip());
        let otlp_http = otlp_http::router(Arc::clone(&self.store));
        let otlp_grpc = otlp_grpc::router(self.store);
        let servers = async {
            tokio::join!(
                serve_until(self.query.listener, query, stop.clone()),
                serve_until(self.otlp_http.listener, otlp_http, stop.clone()),
                serve_until(self.otlp_grpc.listener, otlp_grpc, stop.clone()),
            )
        };
        let mut servers = std::pin::pin!(servers);
        tokio::select! {
            _ = &mut servers => return,
            () = shutdown => stop.cancel(),
        }
        if timeout(DRAIN_TIMEOUT, servers).await.is_err() {
            tracing::warn!("some requests were still running at shutdown and are abandoned");
        }
    }
}

/// Binds and serves; see [`Viewer`] for the two apart.
///
/// # Errors
/// When an address cannot be had: it is named, with what to do.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Viewer::bind(config).await?.serve(shutdown).await;
    Ok(())
}

async fn bind(
    address: SocketAddr,
    purpose: &'static str,
    option: &'static str,
) -> Result<Bound, Error> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken {
            address,
            purpose,
            option,
        },
        _ => Error::Listen {
            address,
            purpose,
            option,
            source,
        },
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok(Bound { listener, address })
}

async fn serve_until(listener: TcpListener, router: Router, stop: CancellationToken) {
    let router = router.layer(middleware::from_fn(bound_time));
    // It has an error in its type and none in its documentation.
    _ = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
}

async fn bound_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            "the request took longer than 10 s\n",
        )
            .into_response(),
    }
}
