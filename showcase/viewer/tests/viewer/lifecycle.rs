//! Starting and stopping.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use viewer::{Config, Error, Viewer};

use crate::running::{ANY_PORT, Running, free_ports};
use crate::spans::{request, span};

type Take = fn(&mut Config, std::net::SocketAddr);

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let holder = TcpListener::bind(ANY_PORT).await.unwrap();
    let taken = holder.local_addr().unwrap();
    let cases: [(Take, &str, &str); 3] = [
        (
            |config, taken| config.listen = taken,
            "page and query API",
            "--listen",
        ),
        (
            |config, taken| config.otlp_http = taken,
            "OTLP over HTTP",
            "--otlp-http",
        ),
        (
            |config, taken| config.otlp_grpc = taken,
            "OTLP over gRPC",
            "--otlp-grpc",
        ),
    ];
    for (take, purpose, option) in cases {
        let mut config = free_ports(1024);
        take(&mut config, taken);
        let error = Viewer::bind(config).await.unwrap_err();
        assert!(matches!(error, Error::Taken { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "{taken} ({purpose}) is taken: another viewer or a collector may be running. \
                 Stop it, or choose another address with {option}"
            )
        );
    }
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused() {
    let mut config = free_ports(1024);
    // From the range that is kept for documentation.
    config.listen = "192.0.2.1:0".parse().unwrap();
    let error = viewer::run(config, async {}).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    let message = error.to_string();
    assert!(
        message.starts_with("cannot listen on 192.0.2.1:0 (page and query API): "),
        "{message}"
    );
    assert!(
        message.ends_with("Choose another address with --listen"),
        "{message}"
    );
}

#[tokio::test]
async fn stopping_frees_the_ports_though_clients_stay_connected() {
    let viewer = Running::start().await;
    viewer.send(&request("api", vec![span(1, 1, "x")])).await;
    let endpoint = format!("http://{}", viewer.otlp_grpc);
    let mut grpc = TraceServiceClient::connect(endpoint).await.unwrap();
    grpc.export(request("api", vec![span(1, 2, "y")]))
        .await
        .unwrap();
    // One that has been answered and stays, and one that never says anything.
    let mut idle = TcpStream::connect(viewer.query).await.unwrap();
    idle.write_all(b"GET /api/v3/services HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    let silent = TcpStream::connect(viewer.query).await.unwrap();

    let addresses = [viewer.query, viewer.otlp_http, viewer.otlp_grpc];
    let began = std::time::Instant::now();
    viewer.stop().await;
    assert!(
        began.elapsed().as_secs() < 4,
        "no connection may be waited for: {:?}",
        began.elapsed()
    );
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_err());
    }
    drop((grpc, idle, silent));
}
