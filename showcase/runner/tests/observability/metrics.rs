//! Metrics of spans: all of them, whatever sampling keeps, with exemplars that name real traces.

use crate::pipeline::{LIMIT, World};
use std::collections::BTreeSet;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn every_span_is_counted_before_sampling_and_exemplars_name_traces() {
    const ORDERS: usize = 3;
    let settings = [
        ("TAIL_SAMPLING_PERCENTAGE", "0"),
        ("TAIL_SAMPLING_WAIT", "1s"),
        ("SPAN_METRICS_INTERVAL", "1s"),
    ];
    let world = World::start(&settings).await;
    let mut traces = BTreeSet::new();
    for _ in 0..ORDERS {
        traces.insert(world.pipeline.traced("pm_ok").await);
    }

    let deadline = Instant::now() + LIMIT;
    let mut exemplars = BTreeSet::new();
    loop {
        let text = world.collector.span_metrics().await;
        // An exemplar is there for one interval only, so it is looked for all the while.
        exemplars.extend(text.lines().filter_map(exemplar));
        let calls = calls(&text, &world.pipeline.prefix, "process orders");
        if calls == Some(ORDERS as f64) && !exemplars.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{calls:?}, {exemplars:?}:\n{text}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(exemplars.is_subset(&traces), "{exemplars:?} {traces:?}");
    let decisions = world.collector.decided(ORDERS as u64).await;
    assert_eq!(decisions.kept, 0, "none of them is in Jaeger");
}

/// The counter of order-processor's spans with this name.
fn calls(text: &str, prefix: &str, name: &str) -> Option<f64> {
    let name = name.replace("orders", &format!("{prefix}orders"));
    let topic = format!("messaging_destination_name=\"{prefix}orders\"");
    let mut lines = text.lines().filter(|line| {
        line.starts_with("traces_span_metrics_calls_total{")
            && line.contains(&format!("span_name=\"{name}\""))
            && line.contains("service_name=\"order-processor\"")
            && line.contains("span_kind=\"SPAN_KIND_CONSUMER\"")
            && line.contains("status_code=\"STATUS_CODE_UNSET\"")
            && line.contains(&topic)
    });
    let line = lines.next()?;
    assert_eq!(lines.next(), None, "one series");
    line.rsplit_once("} ")?.1.split(' ').next()?.parse().ok()
}

/// The trace id of a bucket's exemplar: `…} 3.0 # {…trace_id="…"…} 0.1 1700000000.0`.
fn exemplar(line: &str) -> Option<String> {
    let (_, exemplar) = line.split_once(" # {")?;
    let (_, id) = exemplar.split_once("trace_id=\"")?;
    Some(id.split('"').next()?.to_owned())
}
