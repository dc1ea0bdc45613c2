//! Jaeger with our configuration: exact shape, restart, time to live.

use crate::expected::Expected;
use crate::otlp;
use crate::pipeline::{LIMIT, World, arrived, found};
use crate::programs::{Collector, Jaeger};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_its_exact_trace_in_viewer_and_jaeger_and_survives_a_restart() {
    let mut world = World::start(&[("TAIL_SAMPLING_WAIT", "5s")]).await;
    let paid = world.pipeline.traced("pm_ok").await;
    let down = world.pipeline.traced("pm_down").await;
    for (name, id) in [("joined", &paid), ("down", &down)] {
        Expected::read(name).assert(&world.pipeline.seen_by_viewer(id).await);
        let stored = world.pipeline.seen_by_jaeger(&world.jaeger, id).await;
        Expected::read(name).assert(&stored);
    }

    world.jaeger.terminate().await;
    world.jaeger.start_again().await;
    for (name, id) in [("joined", &paid), ("down", &down)] {
        let stored = world.pipeline.seen_by_jaeger(&world.jaeger, id).await;
        Expected::read(name).assert(&stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_when_its_time_is_over() {
    let jaeger = Jaeger::start(&[("JAEGER_SPANS_TTL", "3s")]).await;
    let collector = Collector::start(
        &jaeger,
        "http://127.0.0.1:9",
        &[("TAIL_SAMPLING_WAIT", "1s")],
    )
    .await;
    let trace_id = otlp::new_trace_id();
    otlp::send(&collector.otlp(), otlp::span(&trace_id, "probe")).await;
    arrived(&jaeger, &trace_id).await;
    let deadline = Instant::now() + LIMIT;
    while found(&jaeger, &trace_id).await.is_some() {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
