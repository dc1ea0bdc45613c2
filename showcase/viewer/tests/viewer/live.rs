//! What the page reads: join states with their reasons, the list and its filters, topology, queue
//! waits, and the news.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use std::time::Duration;

use crate::running::Running;
use crate::spans::{NOW, SECOND, pair, request, span, text, trace_hex, trace_id};

const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// A span about record `offset` of `orders`, partition 3.
fn end(trace: u8, id: u64, kind: i32, offset: i64) -> Span {
    let (name, operation) = match kind {
        PRODUCER => ("send orders", "send"),
        _ => ("process orders", "process"),
    };
    let mut span = span(trace, id, name);
    span.kind = kind;
    span.start_time_unix_nano = NOW + id * SECOND;
    span.end_time_unix_nano = span.start_time_unix_nano + SECOND;
    span.attributes = vec![
        pair("messaging.destination.name", text("orders")),
        pair("messaging.destination.partition.id", text("3")),
        pair("messaging.kafka.offset", Value::IntValue(offset)),
        pair("messaging.operation.type", text(operation)),
    ];
    if kind == CONSUMER {
        let group = pair("messaging.consumer.group.name", text("workers"));
        let wait = pair("kafka.record.queue_time_ms", Value::IntValue(250));
        span.attributes.extend([group, wait]);
    }
    span
}

fn send(trace: u8, id: u64, offset: i64) -> Span {
    end(trace, id, PRODUCER, offset)
}

fn process(trace: u8, id: u64, offset: i64) -> Span {
    end(trace, id, CONSUMER, offset)
}

fn below(mut span: Span, parent: u64) -> Span {
    span.parent_span_id = parent.to_be_bytes().to_vec();
    span
}

fn linking(mut span: Span, trace: u8, id: u64, flags: u32) -> Span {
    span.links = vec![Link {
        trace_id: trace_id(trace),
        span_id: id.to_be_bytes().to_vec(),
        flags,
        ..Link::default()
    }];
    span
}

/// Of the joins of a trace: the span, state and reason, and the other end.
async fn joins(viewer: &Running, trace: u8) -> Vec<(String, String, String, Json)> {
    let path = format!("/api/live/traces/{}", trace_hex(trace));
    let (status, answer) = viewer.get(&path).await;
    assert_eq!(status, StatusCode::OK);
    let text = |join: &Json, field: &str| join[field].as_str().unwrap().to_owned();
    let joins = answer["joins"].as_array().unwrap().iter();
    joins
        .map(|join| {
            let id = text(join, "spanId").trim_start_matches('0').to_owned();
            (
                id,
                text(join, "state"),
                text(join, "reason"),
                join["other"].clone(),
            )
        })
        .collect()
}

fn other(trace: u8, id: u64) -> Json {
    json!({"traceId": trace_hex(trace), "spanId": format!("{id:016x}")})
}

fn join(id: &str, state: &str, reason: &str, other: Json) -> (String, String, String, Json) {
    (id.to_owned(), state.to_owned(), reason.to_owned(), other)
}

/// A viewer that has seen the group `workers` on `orders`, in trace 9.
async fn with_group() -> Running {
    let viewer = Running::start().await;
    let both = vec![send(9, 1, 900), below(process(9, 2, 900), 1)];
    viewer.send(&request("any", both)).await;
    viewer
}

#[tokio::test]
async fn a_send_span_is_joined_by_a_parent_by_a_link_and_from_another_trace() {
    let viewer = Running::start().await;
    let parent = vec![send(1, 1, 10), below(process(1, 2, 10), 1)];
    let link = vec![
        send(2, 1, 11),
        span(2, 5, "ambient"),
        linking(below(process(2, 2, 11), 5), 2, 1, 0),
    ];
    let far = vec![send(3, 1, 12), linking(process(4, 2, 12), 3, 1, 0)];
    for spans in [parent, link, far] {
        viewer.send(&request("any", spans)).await;
    }
    assert_eq!(
        joins(&viewer, 1).await,
        [join("1", "joined", "", other(1, 2))]
    );
    assert_eq!(
        joins(&viewer, 2).await,
        [join("1", "joined", "", other(2, 2))]
    );
    assert_eq!(
        joins(&viewer, 3).await,
        [join("1", "joined", "", other(4, 2))]
    );
    assert_eq!(
        joins(&viewer, 4).await,
        [join("2", "joined", "", other(3, 1))]
    );
    // Backlink and link, each with what it leads to.
    let (_, sender) = viewer
        .get(&format!("/api/live/traces/{}", trace_hex(3)))
        .await;
    let expected = json!([{
        "of": "0000000000000001", "traceId": trace_hex(4), "spanId": "0000000000000002",
        "service": "any", "name": "process orders", "isHere": true,
    }]);
    assert_eq!(
        (&sender["backlinks"], &sender["links"]),
        (&expected, &json!([]))
    );
    let (_, receiver) = viewer
        .get(&format!("/api/live/traces/{}", trace_hex(4)))
        .await;
    let expected = json!([{
        "of": "0000000000000002", "traceId": trace_hex(3), "spanId": "0000000000000001",
        "service": "any", "name": "send orders", "isHere": true,
    }]);
    assert_eq!(
        (&receiver["links"], &receiver["backlinks"]),
        (&expected, &json!([]))
    );
}

#[tokio::test]
async fn without_a_known_group_nothing_is_said_and_without_its_half_a_send_waits() {
    let viewer = Running::start().await;
    viewer.send(&request("api", vec![send(1, 1, 10)])).await;
    assert_eq!(joins(&viewer, 1).await, []);
    let both = vec![send(2, 1, 11), below(process(2, 2, 11), 1)];
    viewer.send(&request("any", both)).await;
    let waits = join("1", "waiting", "waiting for group workers", Json::Null);
    assert_eq!(joins(&viewer, 1).await, [waits]);
    // The other half may come late.
    viewer
        .send(&request("worker", vec![below(process(1, 2, 10), 1)]))
        .await;
    assert_eq!(
        joins(&viewer, 1).await,
        [join("1", "joined", "", other(1, 2))]
    );
}

#[tokio::test]
async fn what_was_not_sent_is_not_waited_for() {
    let viewer = with_group().await;
    let mut failed = send(1, 1, 10);
    failed.status = Some(Status {
        code: 2,
        ..Status::default()
    });
    viewer.send(&request("api", vec![failed])).await;
    assert_eq!(joins(&viewer, 1).await, []);
}

#[tokio::test]
async fn a_record_without_context_leaves_two_orphans_that_know_each_other() {
    let viewer = with_group().await;
    viewer.send(&request("api", vec![send(1, 1, 10)])).await;
    viewer
        .send(&request("worker", vec![process(2, 2, 10)]))
        .await;
    let reason = "group workers processed this record without its trace context: there was none \
                  in the record's headers, or none that it could read";
    assert_eq!(
        joins(&viewer, 1).await,
        [join("1", "orphaned", reason, other(2, 2))]
    );
    let reason = "no trace context in the record's headers, or none that could be read";
    assert_eq!(
        joins(&viewer, 2).await,
        [join("2", "orphaned", reason, other(1, 1))]
    );
}

#[tokio::test]
async fn an_instrumentation_that_tells_why_is_believed() {
    let absent = (
        None,
        "no trace context in the record's headers: its sender wrote none, or propagation is off \
         where it was processed",
        "none was written into the record's headers, or propagation is off where it was processed",
    );
    let malformed = (
        Some("malformed"),
        "the trace context in the record's headers is malformed",
        "what the record's headers hold is malformed",
    );
    let too_long = (
        Some("too_long"),
        "the trace context in the record's headers is too long to be read",
        "what the record's headers hold is too long to be read",
    );
    for (said, received, sent) in [absent, malformed, too_long] {
        let viewer = with_group().await;
        viewer.send(&request("api", vec![send(1, 1, 10)])).await;
        let mut received_span = process(2, 2, 10);
        let said = said.map(|said| pair("kafka.record.missing_context.reason", text(said)));
        received_span.attributes.extend(said);
        let mut spans = request("worker", vec![received_span]);
        let scope = spans.resource_spans[0].scope_spans[0].scope.as_mut();
        scope.unwrap().name = "rdkafka-otel".to_owned();
        viewer.send(&spans).await;
        let sent = format!("group workers processed this record without its trace context: {sent}");
        assert_eq!(
            joins(&viewer, 1).await,
            [join("1", "orphaned", &sent, other(2, 2))]
        );
        assert_eq!(
            joins(&viewer, 2).await,
            [join("2", "orphaned", received, other(1, 1))]
        );
    }
}

#[tokio::test]
async fn a_malformed_context_is_told_also_inside_a_span_of_the_workers_own() {
    let viewer = Running::start().await;
    let mut received = below(process(1, 2, 10), 5);
    let reason = pair("kafka.record.missing_context.reason", text("malformed"));
    received.attributes.push(reason);
    let spans = vec![span(1, 5, "ambient"), received];
    viewer.send(&request("worker", spans)).await;
    let reason = "the trace context in the record's headers is malformed";
    assert_eq!(
        joins(&viewer, 1).await,
        [join("2", "orphaned", reason, Json::Null)]
    );
}

#[tokio::test]
async fn a_record_that_was_processed_under_another_link_is_told_so() {
    let viewer = with_group().await;
    viewer.send(&request("api", vec![send(1, 1, 10)])).await;
    let elsewhere = linking(process(2, 2, 10), 9, 1, 0);
    viewer.send(&request("worker", vec![elsewhere])).await;
    let reason = "group workers processed this record under another parent or link";
    assert_eq!(
        joins(&viewer, 1).await,
        [join("1", "orphaned", reason, other(2, 2))]
    );
}

#[tokio::test]
async fn the_records_of_another_group_or_partition_join_nothing() {
    let viewer = with_group().await;
    viewer.send(&request("api", vec![send(1, 1, 10)])).await;
    let mut group = below(process(1, 2, 10), 1);
    group.attributes[4] = pair("messaging.consumer.group.name", text("others"));
    let mut partition = process(2, 2, 10);
    partition.attributes[1] = pair("messaging.destination.partition.id", text("4"));
    viewer.send(&request("any", vec![group, partition])).await;
    let found = joins(&viewer, 1).await;
    assert_eq!(found[0], join("1", "joined", "", other(1, 2)), "others");
    assert_eq!(
        found[1],
        join("1", "waiting", "waiting for group workers", Json::Null)
    );
}

#[tokio::test]
async fn a_process_span_whose_cause_was_never_received_waits_for_it() {
    let viewer = Running::start().await;
    let orphans = vec![
        below(process(1, 2, 10), 77),
        linking(process(2, 2, 11), 8, 1, 0),
    ];
    viewer.send(&request("worker", orphans)).await;
    let waiting = join("2", "waiting", "waiting for its other half", Json::Null);
    for trace in [1, 2] {
        assert_eq!(joins(&viewer, trace).await, std::slice::from_ref(&waiting));
    }
}

async fn list(viewer: &Running, query: &str) -> Vec<String> {
    let (status, answer) = viewer.get(&format!("/api/live/traces?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let traces = answer["traces"].as_array().unwrap().iter();
    traces
        .map(|trace| trace["rootName"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_list_is_newest_first_and_each_filter_narrows_it() {
    let viewer = with_group().await;
    let mut quick = span(1, 1, "GET /quick");
    quick.end_time_unix_nano = NOW + SECOND / 100;
    quick.attributes = vec![
        pair("app.order.id", text("Order-7")),
        pair("n", Value::IntValue(3)),
    ];
    let mut failed = span(2, 0xabc, "GET /failed");
    failed.status = Some(Status {
        code: 2,
        ..Status::default()
    });
    let mut commit = span(3, 1, "commit orders");
    commit.attributes = vec![pair("messaging.operation.type", text("settle"))];
    viewer.send(&request("web", vec![quick])).await;
    viewer.send(&request("api", vec![failed])).await;
    viewer.send(&request("worker", vec![commit])).await;
    let all = ["GET /failed", "GET /quick", "send orders"];
    assert_eq!(list(&viewer, "").await, all);
    let cases = [
        (
            "all=on",
            vec!["commit orders", "GET /failed", "GET /quick", "send orders"],
        ),
        ("limit=1", vec!["GET /failed"]),
        ("service=web", vec!["GET /quick"]),
        ("name=get", vec!["GET /failed", "GET /quick"]),
        ("topic=orders", vec!["send orders"]),
        ("errors=on", vec!["GET /failed"]),
        ("min_ms=500", vec!["GET /failed", "send orders"]),
        ("min_ms=1000.5", vec!["send orders"]),
        ("state=joined", vec!["send orders"]),
        ("state=orphaned", vec![]),
        ("attribute=app.order.id", vec!["GET /quick"]),
        ("attribute=app.order.id%3DOrder-7", vec!["GET /quick"]),
        ("attribute=app.order.id%3Dorder-7", vec![]),
        ("attribute=n%3D3", vec!["GET /quick"]),
        ("attribute=service.name%3Dapi", vec!["GET /failed"]),
        ("text=ORDER-7", vec!["GET /quick"]),
        ("text=a0000000000000000000000000000002", vec!["GET /failed"]),
        ("text=nothing", vec![]),
        ("text=0000000000000abc", vec!["GET /failed"]),
        ("text=0000000000000ABC", vec!["GET /failed"]),
        ("text=0000000000abc", vec![]),
        ("text=GET%20%2Fquick", vec!["GET /quick"]),
        ("text=get%20%2Fquickly", vec![]),
        ("text=%C3%A4", vec![]),
        ("service=web&errors=on", vec![]),
    ];
    for (query, expected) in cases {
        assert_eq!(list(&viewer, query).await, expected, "{query}");
    }
    for wrong in [
        "state=broken",
        "min_ms=x",
        "min_ms=-1",
        "min_ms=NaN",
        "limit=0",
        "limit=501",
    ] {
        let (status, _) = viewer.get(&format!("/api/live/traces?{wrong}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_search_looks_at_a_bounded_number_of_spans_unless_it_is_to_look_at_all() {
    let viewer = Running::with_bytes(usize::MAX).await;
    let sought = |trace| {
        let mut span = span(trace, 1, "sought");
        span.attributes = vec![pair("k", text("v"))];
        vec![span]
    };
    viewer.store.insert(request("api", sought(1)));
    let many = (0..100_000).map(|id| span(2, id + 1, "other")).collect();
    viewer.store.insert(request("api", many));
    viewer.store.insert(request("api", sought(3)));
    let search = async |query: &str| {
        let (_, answer) = viewer.get(&format!("/api/live/traces?{query}")).await;
        let found = answer["traces"].as_array().unwrap().iter();
        let found: Vec<_> = found.map(|trace| trace["traceId"].clone()).collect();
        (found, answer["searched"].clone(), answer["more"].clone())
    };
    let (newer, older) = (json!(trace_hex(3)), json!(trace_hex(1)));
    let cut = (vec![newer.clone()], json!(2), json!(true));
    assert_eq!(search("name=sought").await, cut);
    assert_eq!(search("text=sought").await, cut);
    let whole = (vec![newer, older], json!(3), json!(false));
    assert_eq!(search("name=sought&deep=on").await, whole);
    // An index tells which spans to look at.
    assert_eq!(search("attribute=k%3Dv").await, whole);
}

#[tokio::test]
async fn a_line_of_the_list_says_all_of_this() {
    let viewer = Running::start().await;
    let mut root = span(1, 1, "POST /orders");
    root.attributes = vec![pair("app.order.id", text("o-1"))];
    viewer
        .send(&request("api", vec![root, below(send(1, 2, 10), 1)]))
        .await;
    viewer
        .send(&request("worker", vec![below(process(1, 3, 10), 2)]))
        .await;
    let (_, answer) = viewer.get("/api/live/traces").await;
    let expected = json!({"traces": [{
        "traceId": trace_hex(1),
        "rootService": "api",
        "rootName": "POST /orders",
        "hasRoot": true,
        "startUnixNano": NOW.to_string(),
        "durationNano": 4 * SECOND,
        "spans": 3,
        "errors": 0,
        "services": [{"name": "api", "spans": 2}, {"name": "worker", "spans": 1}],
        "moreServices": 0,
        "state": "joined",
        "reason": "",
        "joined": 1,
        "ends": 1,
        "queueWaitMs": 250,
        "isQuiet": false,
        "orderId": "o-1",
    }], "more": false, "searched": 1, "held": 1});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_trace_that_did_not_change_is_not_sent_again() {
    let viewer = Running::start().await;
    viewer.send(&request("api", vec![span(1, 1, "x")])).await;
    let path = format!("/api/live/traces/{}", trace_hex(1));
    let (_, answer) = viewer.get(&path).await;
    let version = answer["version"].as_str().unwrap().to_owned();
    let path = format!("{path}?version={version}");
    assert_eq!(viewer.get_any(&path).await.0, StatusCode::NO_CONTENT);
    viewer.send(&request("api", vec![span(1, 2, "y")])).await;
    let (status, answer) = viewer.get(&path).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(answer["version"], json!(version));
}

#[tokio::test]
async fn topology_and_queue_waits_are_counted_from_spans() {
    let viewer = Running::start().await;
    let mut client = span(1, 4, "POST");
    client.kind = 3;
    let root = span(1, 1, "POST /orders");
    viewer
        .send(&request("api", vec![root, below(send(1, 2, 10), 1)]))
        .await;
    let worker = vec![below(process(1, 3, 10), 2), below(client, 3)];
    viewer.send(&request("worker", worker)).await;
    viewer
        .send(&request("bank", vec![below(span(1, 5, "POST"), 4)]))
        .await;
    let (_, answer) = viewer.get("/api/live/topology?seconds=60").await;
    let service = |name: &str| json!({"kind": "service", "name": name});
    let topic = json!({"kind": "topic", "name": "orders"});
    assert_eq!(
        answer["graph"],
        json!({
            "nodes": [service("api"), service("bank"), service("worker"), topic],
            "edges": [
                {"from": service("api"), "to": topic, "count": 1, "errors": 0},
                {"from": service("worker"), "to": service("bank"), "count": 1, "errors": 0},
                {"from": topic, "to": service("worker"), "count": 1, "errors": 0,
                 "waitP50Ms": 250, "waitP95Ms": 250},
            ],
            "beginnings": ["api"],
            "leftOut": 0,
            "spans": 5,
        })
    );
    let (_, answer) = viewer.get("/api/live/queue-wait?seconds=60").await;
    assert_eq!(
        answer["waits"],
        json!([{
            "topic": "orders", "group": "workers", "waitMs": 250,
            "atMs": (NOW + 3 * SECOND) / 1_000_000,
            "traceId": trace_hex(1), "spanId": "0000000000000003",
        }])
    );
    for wrong in ["0", "-1", "x", "99999999"] {
        let path = format!("/api/live/topology?seconds={wrong}");
        assert_eq!(viewer.get(&path).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn news_come_at_once_and_with_every_change_and_listeners_are_bounded() {
    let viewer = Running::start().await;
    let url = format!("http://{}/api/live/events", viewer.query);
    let listen = || async { viewer.client.get(&url).send().await.unwrap() };
    let mut first = listen().await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    let mut heard = String::new();
    let mut hear = async |what: &str| {
        while !heard.contains(what) {
            let chunk = tokio::time::timeout(Duration::from_secs(10), first.chunk());
            let chunk = chunk.await.expect("in time").unwrap().expect("more");
            heard.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    hear("event: change\ndata: 0").await;
    viewer.send(&request("api", vec![span(1, 1, "x")])).await;
    hear("event: change\ndata: 1").await;

    let mut others = Vec::new();
    for _ in 0..31 {
        let response = listen().await;
        assert_eq!(response.status(), StatusCode::OK);
        others.push(response);
    }
    let refused = listen().await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "2");
    // Listeners keep nobody from stopping.
    let began = std::time::Instant::now();
    viewer.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4));
    drop(others);
}

#[test]
fn the_newest_are_found_while_the_oldest_go() {
    use viewer::Store;
    let probe = Store::new(usize::MAX);
    probe.insert(request("api", vec![span(1, 1, "x")]));
    let store = Store::new(200 * probe.counts().bytes);
    for number in 0..250_u8 {
        store.insert(request("api", vec![span(number, 1, "x")]));
    }
    let numbers = || store.newest_first().map(|trace| trace.id[15]);
    assert!(numbers().eq((50..250).rev()));
    // Half way down, everything that is left to see goes.
    let mut reader = numbers();
    assert_eq!(reader.next(), Some(249));
    for number in 0..=u8::MAX {
        let mut other = span(number, 1, "x");
        other.trace_id[1] = 1;
        store.insert(request("api", vec![other]));
    }
    assert!(reader.eq((122..249).rev()), "only those it has at hand");
}

#[test]
fn what_leaves_takes_its_references_with_it() {
    use viewer::Store;
    let store = Store::new(20_000);
    let target = (trace_id(1).try_into().unwrap(), 1_u64.to_be_bytes());
    store.insert(request("worker", vec![linking(process(2, 2, 10), 1, 1, 0)]));
    assert_eq!(store.linking(&target.0, &target.1).len(), 1);
    assert_eq!(store.of_record("orders", "3", 10).len(), 1);
    let mut large = span(3, 1, "large");
    large.attributes = vec![pair("k", text(&"x".repeat(18_800)))];
    store.insert(request("api", vec![large]));
    assert_eq!(store.counts().evicted_traces, 1);
    assert_eq!(store.linking(&target.0, &target.1), []);
    assert_eq!(store.of_record("orders", "3", 10), []);
    assert_eq!(store.consumer_groups("orders"), ["workers"], "remembered");
}
