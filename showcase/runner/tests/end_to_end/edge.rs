//! Callers who mean no good, or do not know better: what they send changes nothing for the others.

use crate::world::{LIMIT, World, assert_trace, client, order};
use reqwest::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread")]
async fn at_a_public_edge_a_callers_trace_is_linked_and_not_continued() {
    let world = World::start(&[("orders-api", "TRUST_INCOMING_TRACE", "off")]).await;
    let headers = [
        ("traceparent", CALLER),
        ("tracestate", "vendor=1"),
        ("baggage", "tenant=acme"),
    ];
    let (answer, trace) = world.trace_of(&order("pm_ok"), &headers).await;
    assert_ne!(answer.text("trace_id"), "0af7651916cd43dd8448eb211c80319c");
    assert_trace("public_edge", &trace);
    let root = trace.roots()[0];
    assert_eq!(root.links[0].trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(root.links[0].span_id, "b7ad6b7169203331");

    let record = world.records("orders", 1).await.remove(0);
    assert_eq!(record.header("baggage"), None);
    assert_eq!(record.header("tracestate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers_reach_neither_the_trace_nor_the_others() {
    let world = World::shared().await;
    let many_members: String = (0..100).map(|n| format!("k{n}=v,")).collect();
    let long = "x".repeat(14 * 1024);
    let hostile = [
        ("traceparent", long.as_str()),
        ("traceparent", "00-<script>alert(1)</script>-01"),
        ("tracestate", &long),
        ("tracestate", &many_members),
        ("baggage", &long),
        ("baggage", &many_members),
        ("user-agent", &long),
    ];
    for (name, value) in hostile {
        let (_, trace) = world.trace_of(&order("pm_ok"), &[(name, value)]).await;
        assert_eq!(trace.roots().len(), 1);
        for span in &trace.spans {
            for (key, value) in &span.attributes {
                let length = format!("{value:?}").len();
                assert!(length < 1100, "{name}: {key} has {length} bytes");
            }
        }
    }
    let huge = "x".repeat(20 * 1024);
    for name in ["traceparent", "tracestate", "baggage"] {
        let answer = client()
            .get(world.stack.orders_api())
            .header(name, &huge)
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            answer.status(),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_and_many_connections_keep_nobody_out() {
    let world = World::start(&[]).await;
    let address = world
        .stack
        .orders_api()
        .trim_start_matches("http://")
        .to_owned();
    // More than there are places: idle, slow with the headers, slow with the body.
    let openings: [&[u8]; 3] = [
        b"",
        b"POST /orders HTTP/1.1\r\nhost: a\r\nx-slow: ",
        b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
          content-length: 1000\r\n\r\n{",
    ];
    let mut callers = Vec::new();
    for number in 0..600 {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        let opening = openings[number % openings.len()];
        // The first ones may have been dismissed by now.
        let _ = stream.write_all(opening).await;
        callers.push(stream);
    }
    let (answer, trace) = timeout(
        Duration::from_secs(20),
        world.trace_of(&order("pm_ok"), &[]),
    )
    .await
    .expect("an order is taken while all places are taken");
    assert_trace("joined", &trace);
    let location = answer.location.expect("a Location");
    assert_eq!(world.final_status(&location).await, "paid");

    // The one that has waited longest is gone.
    let mut longest = callers.swap_remove(0);
    let closed = timeout(LIMIT, longest.read(&mut [0; 1]))
        .await
        .expect("the connection is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}
