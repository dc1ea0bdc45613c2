//! The Collector ends in mid-run and is started again. What it had accepted arrives; what a crash can
//! still cost is the traces that the tail sampling had not decided on, and only in Jaeger.

use crate::expected::Expected;
use crate::otlp;
use crate::pipeline::{LIMIT, Pipeline, ViewerAddress, World, arrived, found};
use crate::programs::{Collector, Jaeger};
use crate::sampling::marked;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use throughline::query::QueryApi;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn orders_survive_an_orderly_restart_of_the_collector() {
    let mut world = World::start(&[]).await;
    let mut traces = Vec::new();
    for _ in 0..5 {
        traces.push(world.pipeline.traced("pm_ok").await);
    }
    let expected = Expected::read("joined");
    // In the viewer: so the Collector has accepted all of them, and decided on none.
    for id in &traces {
        expected.assert(&world.pipeline.seen_by_viewer(id).await);
        assert_eq!(found(&world.jaeger, id).await, None);
    }
    world.collector.terminate().await;
    world.collector.start_again().await;
    for id in &traces {
        expected.assert(&world.pipeline.seen_by_jaeger(&world.jaeger, id).await);
    }
    let after = world.pipeline.traced("pm_ok").await;
    expected.assert(&world.pipeline.seen_by_jaeger(&world.jaeger, &after).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_to_an_orderly_end() {
    let mut world = World::start(&[("TAIL_SAMPLING_WAIT", "3s")]).await;
    let stream = Stream::start(world.collector.otlp());
    stream.accepted(100).await;
    world.collector.terminate().await;
    world.collector.start_again().await;
    stream.accepted(100).await;
    for id in &stream.stop().await {
        in_viewer(&world.pipeline, id).await;
        arrived(&world.jaeger, id).await;
    }
}

/// The viewer is away until after the crash: what was answered waits on disk.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_to_the_viewer_by_a_crash() {
    let jaeger = Jaeger::start(&[]).await;
    let viewer = ViewerAddress::choose();
    let mut collector = Collector::start(&jaeger, &viewer.otlp(), &[]).await;
    let stream = Stream::start(collector.otlp());
    stream.accepted(100).await;
    collector.kill().await;
    collector.start_again().await;
    stream.accepted(100).await;
    let accepted = stream.stop().await;
    let pipeline = Pipeline::start(&collector, &viewer, &[]).await;
    for id in &accepted {
        in_viewer(&pipeline, id).await;
    }
}

/// Jaeger is away all the while: what was decided on waits on disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_decided_trace_and_every_undecided_one_but_in_jaeger_only() {
    let mut jaeger = Jaeger::start(&[]).await;
    let viewer = ViewerAddress::choose();
    let settings = [("TAIL_SAMPLING_WAIT", "10s")];
    let mut collector = Collector::start(&jaeger, &viewer.otlp(), &settings).await;
    let pipeline = Pipeline::start(&collector, &viewer, &[]).await;
    jaeger.terminate().await;

    let expected = Expected::read("joined");
    let mut decided = Vec::new();
    for _ in 0..3 {
        decided.push(pipeline.traced("pm_ok").await);
    }
    for id in &decided {
        expected.assert(&pipeline.seen_by_viewer(id).await);
    }
    assert_eq!(collector.decided(3).await.kept, 3);
    let undecided = pipeline.traced("pm_ok").await;
    expected.assert(&pipeline.seen_by_viewer(&undecided).await);
    assert_eq!(collector.decisions().await.kept, 3);

    collector.kill().await;
    collector.start_again().await;
    jaeger.start_again().await;
    for id in &decided {
        expected.assert(&pipeline.seen_by_jaeger(&jaeger, id).await);
    }
    marked(&collector, &jaeger).await;
    assert_eq!(found(&jaeger, &undecided).await, None);
}

/// Sends spans one after the other, each in a trace of its own, and remembers which were accepted.
struct Stream {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Stream {
    fn start(otlp: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let task = tokio::spawn(async move {
            let mut accepted = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let id = otlp::new_trace_id();
                if otlp::is_accepted(&otlp, &otlp::request(otlp::span(&id, "probe"))).await {
                    accepted.push(id);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
            accepted
        });
        Self { stop, count, task }
    }

    /// Waits until that many more were accepted.
    async fn accepted(&self, more: usize) {
        let wanted = self.count.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + LIMIT;
        while self.count.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "not accepted in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}

async fn in_viewer(pipeline: &Pipeline, trace_id: &str) {
    let api = QueryApi::new(&pipeline.stack.viewer()).expect("a client");
    let deadline = Instant::now() + LIMIT;
    while api.trace(trace_id).await.expect("an answer").is_none() {
        assert!(
            Instant::now() < deadline,
            "{trace_id} was accepted and is lost"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
