//! Tail sampling: what is kept is kept whole, with the file's own settings; what the settings of most
//! tutorials do to a trace that goes through a queue.

use crate::expected::Expected;
use crate::otlp;
use crate::pipeline::{
    Pipeline, ViewerAddress, World, arrived, final_status, found, trace_id, without_prefix,
};
use crate::programs::{Collector, Decisions, Jaeger};
use trace_tree::{Kind, Trace};

/// Only what a policy other than the share keeps.
const NO_SHARE: (&str, &str) = ("TAIL_SAMPLING_PERCENTAGE", "0");

#[tokio::test(flavor = "multi_thread")]
async fn errors_slow_and_dead_lettered_traces_are_kept_whole_and_the_rest_is_not() {
    let world = World::start(&[NO_SHARE]).await;
    let (pipeline, jaeger) = (&world.pipeline, &world.jaeger);
    // First, and through: behind the slow one it would wait, and be slow.
    let plain = pipeline.traced("pm_ok").await;
    Expected::read("joined").assert(&pipeline.seen_by_viewer(&plain).await);
    let failed = pipeline.traced("pm_down").await;
    let slow = pipeline.traced("pm_many_methods").await;
    let letter = otlp::new_trace_id();
    otlp::send(&world.collector.otlp(), otlp::dead_letter(&letter)).await;

    let many_methods = Expected::read("joined").but("saved_methods = 2", "saved_methods = 312");
    Expected::read("down").assert(&pipeline.seen_by_jaeger(jaeger, &failed).await);
    many_methods.assert(&pipeline.seen_by_jaeger(jaeger, &slow).await);
    assert_eq!(arrived(jaeger, &letter).await.spans.len(), 1);

    let decisions = world.collector.decided(4).await;
    assert_eq!(
        decisions,
        Decisions {
            kept: 3,
            dropped: 1
        }
    );
    assert_eq!(found(jaeger, &plain).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_is_sampled_by_whole_traces() {
    const ORDERS: u64 = 40;
    let settings = [
        ("TAIL_SAMPLING_PERCENTAGE", "50"),
        ("TAIL_SAMPLING_WAIT", "10s"),
    ];
    let world = World::start(&settings).await;
    let mut traces = Vec::new();
    for _ in 0..ORDERS {
        traces.push(world.pipeline.traced("pm_ok").await);
    }
    let decisions = world.collector.decided(ORDERS).await;
    assert_eq!(decisions.kept + decisions.dropped, ORDERS);
    // Each outcome of a fair coin, forty times over, is one in a million million.
    assert!(decisions.kept > 0 && decisions.dropped > 0, "{decisions:?}");
    marked(&world.collector, &world.jaeger).await;

    let expected = Expected::read("joined");
    let mut kept = 0;
    for id in &traces {
        expected.assert(&world.pipeline.seen_by_viewer(id).await);
        if let Some(trace) = found(&world.jaeger, id).await {
            kept += 1;
            expected.assert(&without_prefix(trace, &world.pipeline.prefix));
        }
    }
    assert_eq!(kept, decisions.kept);
}

/// One order, three Collectors in a row that each see every span of it, each with a Jaeger of its
/// own: ours, one that waits for 5 s, and one that besides forgets what it has decided, as the
/// tutorials have it. The consumer is away until the short waits are over.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_loses_what_comes_through_a_slow_queue() {
    let [kept, lost, cut] = [
        Jaeger::start(&[]).await,
        Jaeger::start(&[]).await,
        Jaeger::start(&[]).await,
    ];
    let viewer = ViewerAddress::choose();
    let forgetful = Collector::start(
        &cut,
        &viewer.otlp(),
        &[
            NO_SHARE,
            ("TAIL_SAMPLING_WAIT", "5s"),
            ("TAIL_SAMPLING_DECISIONS", "0"),
            ("TAIL_SAMPLING_TRACES", "2"),
        ],
    )
    .await;
    let short = Collector::start(
        &lost,
        &forgetful.otlp(),
        &[NO_SHARE, ("TAIL_SAMPLING_WAIT", "5s")],
    )
    .await;
    let ours = Collector::start(&kept, &short.otlp(), &[NO_SHARE]).await;
    let mut pipeline = Pipeline::start(&ours, &viewer, &[]).await;

    let consumer = pipeline.stack.take("order-processor").expect("it runs");
    assert!(consumer.stop().await.expect("it ran well"));
    let order = pipeline.traced("pm_down").await;
    // Newer traces take the place of the order in the forgetful one's memory of two.
    let decided = short.decided(1).await;
    assert_eq!(
        decided,
        Decisions {
            kept: 0,
            dropped: 1
        }
    );
    forgetful.decided(1).await;
    for _ in 0..2 {
        let newer = otlp::span(&otlp::new_trace_id(), "probe");
        otlp::send(&ours.otlp(), newer).await;
    }
    forgetful.decided(3).await;
    let again = pipeline.stack.start_service("order-processor").await;
    again.expect("it starts again");

    let expected = Expected::read("down");
    expected.assert(&pipeline.seen_by_viewer(&order).await);
    expected.assert(&pipeline.seen_by_jaeger(&kept, &order).await);

    // Five seconds: the error came after the decision and follows it.
    marked(&short, &lost).await;
    assert_eq!(found(&lost, &order).await, None);

    // Five seconds and a short memory: the late half counts as a new trace, without its beginning.
    let half = without_prefix(arrived(&cut, &order).await, &pipeline.prefix);
    Expected::read("cut_off").assert(&half);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latency_policy_counts_the_queue_wait() {
    let jaeger = Jaeger::start(&[]).await;
    let viewer = ViewerAddress::choose();
    let settings = [NO_SHARE, ("TAIL_SAMPLING_WAIT", "15s")];
    let collector = Collector::start(&jaeger, &viewer.otlp(), &settings).await;
    let mut pipeline = Pipeline::start(&collector, &viewer, &[]).await;
    let consumer = pipeline.stack.take("order-processor").expect("it runs");
    assert!(consumer.stop().await.expect("it ran well"));
    let order = pipeline.traced("pm_ok").await;
    // The threshold is two seconds: that is what the record must wait, not this test.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let again = pipeline.stack.start_service("order-processor").await;
    again.expect("it starts again");

    let trace = pipeline.seen_by_jaeger(&jaeger, &order).await;
    Expected::read("joined").assert(&trace);
    let [front, back] = [
        (Kind::Server, "POST /orders"),
        (Kind::Consumer, "process orders"),
    ]
    .map(|(kind, name)| milliseconds(&trace, kind, name));
    assert!(
        front < 2_000 && back < 2_000,
        "the work took {front} and {back} ms"
    );
}

/// Who begins the trace decides for everybody: over HTTP and in the record's header alike.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_decides_for_the_whole_trace() {
    let jaeger = Jaeger::start(&[]).await;
    let viewer = ViewerAddress::choose();
    let settings = [("TAIL_SAMPLING_WAIT", "1s")];
    let collector = Collector::start(&jaeger, &viewer.otlp(), &settings).await;
    let sampler = "parentbased_always_off".to_owned();
    let environment = [("orders-api", "OTEL_TRACES_SAMPLER", sampler)];
    let pipeline = Pipeline::start(&collector, &viewer, &environment).await;
    let answer = pipeline.post("pm_ok").await;
    let order_id = answer["order_id"].as_str().expect("an id");
    let status = final_status(&pipeline.stack.orders_api(), order_id).await;
    assert_eq!(status, "paid");

    // Whatever the services had to say is said when they have left.
    let mut stack = pipeline.stack;
    for service in ["orders-api", "order-processor", "payments"] {
        let child = stack.take(service).expect("it runs");
        assert!(child.stop().await.expect("it ran well"));
    }
    marked(&collector, &jaeger).await;
    assert_eq!(collector.decisions().await.kept, 1, "the mark");
    assert_eq!(found(&jaeger, &trace_id(&answer)).await, None);
}

fn milliseconds(trace: &Trace, kind: Kind, name: &str) -> u64 {
    let mut spans = trace.spans.iter();
    let span = spans.find(|span| span.kind == kind && span.name == name);
    let span = span.expect("the span");
    (span.end_unix_nano - span.start_unix_nano) / 1_000_000
}

/// Waits until a trace that is sent now, and always kept, is in Jaeger: what was decided on before it
/// has arrived, or never will.
pub(crate) async fn marked(collector: &Collector, jaeger: &Jaeger) {
    let mark = otlp::new_trace_id();
    otlp::send(&collector.otlp(), otlp::dead_letter(&mark)).await;
    arrived(jaeger, &mark).await;
}
