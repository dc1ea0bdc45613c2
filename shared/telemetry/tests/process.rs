//! Whole processes: the environment they are given, what they send, and what they say on stderr.
//!
//! Each test starts this very binary again with one of the ignored "children" below, because the
//! environment and the global providers belong to a process.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know tests, and not what tests call"
)]

mod collector;

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use collector::Collector;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use telemetry::http_client::{Client, Method};
use telemetry::{ServiceIdentity, Telemetry, TelemetryError};
use tokio::net::TcpListener;
use tokio::process::Command;

const IDENTITY: ServiceIdentity = ServiceIdentity {
    name: "orders-api",
    version: "1.2.3",
};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Ended {
    stdout: String,
    stderr: Vec<String>,
    took: Duration,
}

/// Runs a child with these variables and no others.
async fn run(child: &str, variables: &[(&str, &str)]) -> Ended {
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .unwrap()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("1 passed"),
        "no such child: {child}\n{stdout}"
    );
    Ended {
        stdout,
        stderr: stderr.lines().map(str::to_owned).collect(),
        took: started.elapsed(),
    }
}

impl Ended {
    fn lines(&self, part: &str) -> Vec<&str> {
        let lines = self.stderr.iter().map(String::as_str);
        lines.filter(|line| line.contains(part)).collect()
    }

    /// What the child printed after `name: `.
    fn answer(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let found = self
            .stderr
            .iter()
            .find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_else(|| panic!("no {name} in {:#?}", self.stderr))
    }
}

#[tracing::instrument]
fn settle_payment() {
    tracing::info!("settling");
}

fn start() -> Telemetry {
    telemetry::init(IDENTITY).unwrap()
}

async fn stop(telemetry: Telemetry) {
    let started = Instant::now();
    let report = telemetry.shutdown().await;
    eprintln!("report: {report}");
    eprintln!("shutdown: {}", started.elapsed().as_millis());
}

/// On a current-thread runtime, where a flush that blocks it would hang the gRPC exporter.
#[tokio::test]
#[ignore = "a child of other tests"]
async fn one_unit_of_work() {
    let telemetry = start();
    let caller = HashMap::from([("traceparent".to_owned(), CALLER.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &caller);
    let tracer = global::tracer("edge");
    let span = tracer
        .span_builder("process orders")
        .with_kind(SpanKind::Consumer)
        .start_with_context(&tracer, &parent);
    let context = parent.with_span(span);
    let mut headers = HashMap::new();
    global::get_text_map_propagator(|it| it.inject_context(&context, &mut headers));
    let mut headers: Vec<_> = headers
        .into_iter()
        .filter(|(_, it)| !it.is_empty())
        .collect();
    headers.sort();
    {
        let _active = context.clone().attach();
        settle_payment();
        let orders = global::meter("edge").u64_counter("app.orders").build();
        orders.add(1, &[KeyValue::new("app.payment.outcome", "approved")]);
    }
    let span_id = context.span().span_context().span_id();
    drop(context);
    eprintln!("injected: {headers:?}");
    eprintln!("span: {span_id}");
    stop(telemetry).await;
}

async fn one_unit_of_work_sent_to(collector: &Collector, endpoint: &str, protocol: &str) {
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=staging,team=a%2Cb",
            ),
            ("OTEL_SERVICE_NAME", "orders-api-blue"),
            ("LOG_FORMAT", "json"),
        ],
    )
    .await;
    assert_eq!(ended.answer("report"), "no telemetry lost");
    assert_eq!(ended.lines("telemetry::export"), [""; 0]);
    let received = collector.received();

    let spans = received.spans();
    let [business, edge] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!((edge.name.as_str(), edge.kind), ("process orders", 5));
    assert_eq!(
        (business.name.as_str(), business.kind),
        ("settle_payment", 1)
    );
    assert_eq!(business.attributes, []);
    let trace_id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert_eq!(edge.trace_id, trace_id);
    assert_eq!(edge.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(business.trace_id, trace_id);
    assert_eq!(business.parent_span_id, edge.span_id);

    let records = received.log_records();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0].trace_id, trace_id);
    assert_eq!(records[0].span_id, business.span_id);

    let mut metrics: Vec<_> = received
        .metrics()
        .iter()
        .map(|it| it.name.clone())
        .collect();
    metrics.sort();
    metrics.dedup();
    let expected = [
        "app.orders",
        "otel.sdk.exporter.log.exported",
        "otel.sdk.exporter.span.exported",
        "otel.sdk.log.created",
        "otel.sdk.processor.log.processed",
        "otel.sdk.processor.log.queue.capacity",
        "otel.sdk.processor.span.processed",
        "process.cpu.time",
        "process.memory.usage",
    ];
    assert_eq!(metrics, expected);

    let resources = received.resources();
    let instance = resources[0]["service.instance.id"].clone();
    let expected: std::collections::BTreeMap<_, _> = [
        ("deployment.environment.name", "staging"),
        ("service.instance.id", instance.as_str()),
        ("service.name", "orders-api-blue"),
        ("service.version", "1.2.3"),
        ("team", "a,b"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "0.33.1"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    assert_eq!(resources, [expected.clone(), expected.clone(), expected]);
    for headers in &received.headers {
        assert_eq!(headers["x-tenant"], "a b");
    }

    let line = ended.lines("settling");
    assert_eq!(line.len(), 1);
    let line: serde_json::Value = serde_json::from_str(line[0]).unwrap();
    assert_eq!(line["service"], "orders-api-blue");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let span_id: [u8; 8] = business.span_id.as_slice().try_into().unwrap();
    assert_eq!(
        line["span_id"],
        format!("{:016x}", u64::from_be_bytes(span_id))
    );
}

#[tokio::test]
async fn all_signals_arrive_over_http_with_one_resource() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    one_unit_of_work_sent_to(&collector, &endpoint, "http/protobuf").await;
}

#[tokio::test]
async fn all_signals_arrive_over_grpc_with_one_resource() {
    let collector = Collector::default();
    let endpoint = collector.over_grpc().await;
    one_unit_of_work_sent_to(&collector, &endpoint, "grpc").await;
}

#[tokio::test]
async fn each_signal_may_go_its_own_way_and_compressed() {
    let (http, grpc) = (Collector::default(), Collector::default());
    let (http_endpoint, grpc_endpoint) = (http.over_http().await, grpc.over_grpc().await);
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &http_endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &grpc_endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ],
    )
    .await;
    assert_eq!(ended.answer("report"), "no telemetry lost");
    let (http, grpc) = (http.received(), grpc.received());
    assert_eq!((grpc.spans().len(), grpc.logs.len()), (2, 0));
    assert_eq!(grpc.headers[0]["grpc-encoding"], "gzip");
    assert_eq!((http.traces.len(), http.metrics.len()), (0, 0));
    assert_eq!(http.log_records().len(), 1);
}

#[tokio::test]
async fn compression_over_http() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| async move {
        let _ = sender.send(headers["content-encoding"].clone());
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ],
    )
    .await;
    assert_eq!(seen.recv().await.unwrap(), "gzip");
}

#[tokio::test]
async fn a_disabled_sdk_sends_nothing_and_passes_contexts_on() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_SDK_DISABLED", "True"),
        ],
    )
    .await;
    assert_eq!(collector.received().headers.len(), 0);
    assert_eq!(ended.lines("settling").len(), 1, "the log on stderr stays");
    assert_eq!(
        ended.answer("injected"),
        format!("[(\"traceparent\", \"{CALLER}\")]")
    );
    assert_eq!(ended.answer("report"), "no telemetry lost");
}

#[tokio::test]
async fn signals_may_be_left_out() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ],
    )
    .await;
    let received = collector.received();
    assert_eq!((received.traces.len(), received.logs.len()), (0, 0));
    let metrics = received.metrics();
    let names: Vec<_> = metrics.iter().map(|it| it.name.as_str()).collect();
    assert!(names.contains(&"app.orders"), "{names:?}");
    let span = ended.answer("span").to_owned();
    let trace = "00-0af7651916cd43dd8448eb211c80319c";
    assert_eq!(
        ended.answer("injected"),
        format!("[(\"traceparent\", \"{trace}-{span}-01\")]")
    );
}

#[tokio::test]
async fn without_propagators_nothing_is_injected() {
    let none = run(
        "one_unit_of_work",
        &[("OTEL_PROPAGATORS", "none"), ("OTEL_SDK_DISABLED", "true")],
    )
    .await;
    assert_eq!(none.answer("injected"), "[]");
}

#[tokio::test]
async fn a_sampler_of_the_environment_is_obeyed() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_TRACES_SAMPLER", "ALWAYS_OFF"),
        ],
    )
    .await;
    assert_eq!(collector.received().traces.len(), 0);
    assert_eq!(collector.received().log_records().len(), 1);
    assert!(ended.answer("injected").ends_with("-00\")]"));
    assert_eq!(ended.answer("report"), "no telemetry lost");
}

#[tokio::test]
async fn the_console_shows_all_signals() {
    let ended = run(
        "one_unit_of_work",
        &[
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_METRICS_EXPORTER", "console"),
            ("OTEL_LOGS_EXPORTER", "console"),
        ],
    )
    .await;
    for shown in ["process orders", "app.orders", "settling"] {
        assert!(ended.stdout.contains(shown), "{}", ended.stdout);
    }
    assert_eq!(ended.answer("report"), "no telemetry lost");
}

#[tokio::test]
async fn a_collector_that_is_down_is_said_in_a_few_lines() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for protocol in ["http/protobuf", "grpc"] {
        let ended = run(
            "one_unit_of_work",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ],
        )
        .await;
        let report = "telemetry lost: 2 of 2 spans (2 in failed exports, 0 never sent), \
             1 of 1 log records (1 in failed exports, 0 never sent), the last metrics";
        assert_eq!(ended.answer("report"), report);
        let said = ended.lines(" WARN ");
        let last = said.last().unwrap();
        assert!(
            last.ends_with(&format!("telemetry::export: {report}")),
            "{last}"
        );
        for signal in ["spans", "metrics", "log records"] {
            assert_eq!(
                ended
                    .lines(&format!("cannot export {signal} to {endpoint}/: "))
                    .len(),
                1
            );
        }
        // Those four, the child's own four, and the line of the work itself.
        assert_eq!(ended.stderr.len(), 9, "{:#?}", ended.stderr);
        assert!(ended.took < Duration::from_secs(7), "{:?}", ended.took);
    }
}

/// A label of a thousand values, as a bug would have it.
#[tokio::test]
#[ignore = "a child of other tests"]
async fn an_id_as_a_label() {
    let telemetry = start();
    let orders = global::meter("edge").u64_counter("app.orders").build();
    for id in 0..1000 {
        orders.add(1, &[KeyValue::new("app.order.id", id)]);
    }
    stop(telemetry).await;
}

#[tokio::test]
async fn labels_beyond_the_bound_share_one_series() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    run("an_id_as_a_label", &environment).await;

    let metrics = collector.received().metrics();
    let orders = metrics.iter().find(|it| it.name == "app.orders").unwrap();
    let Some(Data::Sum(sum)) = &orders.data else {
        panic!("{orders:?}");
    };
    let overflow = sum.data_points.iter().filter(|point| {
        let mut labels = point.attributes.iter();
        labels.any(|label| label.key == "otel.metric.overflow")
    });
    let overflow: Vec<_> = overflow.map(|point| point.value.unwrap()).collect();
    assert_eq!(
        (sum.data_points.len(), overflow),
        (201, vec![Value::AsInt(800)])
    );
}

/// As many spans as `FLOOD` says, faster than any exporter takes them.
#[tokio::test]
#[ignore = "a child of other tests"]
async fn a_flood() {
    let telemetry = start();
    let tracer = global::tracer("edge");
    let flood: u32 = std::env::var("FLOOD").unwrap().parse().unwrap();
    let started = Instant::now();
    for _ in 0..flood {
        drop(tracer.start("process orders"));
    }
    eprintln!("worked: {}", started.elapsed().as_millis());
    stop(telemetry).await;
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_work_nor_shutdown() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let ended = run(
        "a_flood",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("FLOOD", "10000"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ],
    )
    .await;
    assert_eq!(
        ended.answer("report"),
        "telemetry lost: 10000 of 10000 spans (0 in failed exports, 10000 never sent); \
         the final flush ran out of time"
    );
    // 2,048, the queue of the SDK, would have been full.
    assert_eq!(ended.lines("queue full"), [""; 0]);
    assert!(ended.answer("worked").parse::<u64>().unwrap() < 1000);
    let shutdown: u64 = ended.answer("shutdown").parse().unwrap();
    assert!((4500..6000).contains(&shutdown), "{shutdown} ms");
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
}

#[tokio::test]
async fn spans_that_do_not_fit_the_queue_are_counted() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "a_flood",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("FLOOD", "1000"),
            ("OTEL_LOGS_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ],
    )
    .await;
    let arrived = collector.received().spans().len();
    assert!((10..1000).contains(&arrived), "{arrived} arrived");
    let lost = 1000 - arrived;
    assert_eq!(
        ended.answer("report"),
        format!("telemetry lost: {lost} of 1000 spans (0 in failed exports, {lost} never sent)")
    );
    assert_eq!(ended.lines("dropped a Span due to queue full").len(), 1);
}

/// All threads for blocking work are taken, so that no flush can even begin.
#[test]
#[ignore = "a child of other tests"]
fn a_stop_without_a_free_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let telemetry = start();
        drop(tokio::task::spawn_blocking(std::thread::park));
        drop(global::tracer("edge").start("process orders"));
        stop(telemetry).await;
    });
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_stop_is_bounded_whatever_else_runs() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "a_stop_without_a_free_thread",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            // Nothing is to be sent before the end.
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ],
    )
    .await;
    assert_eq!(
        ended.answer("report"),
        "telemetry lost: 1 of 1 spans (0 in failed exports, 1 never sent); \
         the final flush ran out of time"
    );
    let shutdown: u64 = ended.answer("shutdown").parse().unwrap();
    assert!((4500..6000).contains(&shutdown), "{shutdown} ms");
}

/// One call to the URL in `CALL`.
#[tokio::test]
#[ignore = "a child of other tests"]
async fn a_call() {
    let telemetry = start();
    let url = std::env::var("CALL").unwrap();
    let client = Client::new(Duration::from_secs(10), false).unwrap();
    let sent = client.request(Method::GET, url, "/answer").send().await;
    assert_eq!(sent.unwrap().status, 404);
    stop(telemetry).await;
}

#[tokio::test]
async fn what_is_logged_while_a_call_is_sent_belongs_to_its_span() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await;
    let ended = run(
        "a_call",
        &[
            ("CALL", &endpoint),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
            (
                "RUST_LOG",
                "hyper_util::client::legacy::connect::http=debug",
            ),
            ("LOG_FORMAT", "json"),
        ],
    )
    .await;
    let spans = collector.received().spans();
    assert_eq!(spans.len(), 1);
    let span_id: [u8; 8] = spans[0].span_id.as_slice().try_into().unwrap();
    let span_id = format!("{:016x}", u64::from_be_bytes(span_id));
    let connecting = ended.lines("connecting to");
    let line: serde_json::Value = serde_json::from_str(connecting[0]).unwrap();
    assert_eq!(line["span_id"], span_id, "{connecting:?}");
}

#[tokio::test]
#[ignore = "a child of other tests"]
async fn a_start_that_fails() {
    match telemetry::init(IDENTITY) {
        Ok(_) => eprintln!("started"),
        Err(error) => eprintln!("{error}"),
    }
}

#[tokio::test]
async fn wrong_variables_are_said_all_at_once() {
    let ended = run(
        "a_start_that_fails",
        &[
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("LOG_FORMAT", "xml"),
        ],
    )
    .await;
    assert_eq!(
        ended.stderr,
        [
            "wrong environment variables:",
            "  OTEL_PROPAGATORS: `b3` is not known; known are tracecontext, baggage, none",
            "  OTEL_TRACES_EXPORTER: `zipkin` is not known; known are otlp, console, none",
            "  LOG_FORMAT: `xml` is not known; known are pretty, json",
        ]
    );
}

#[tokio::test]
#[ignore = "a child of other tests"]
async fn a_second_start() {
    let telemetry = start();
    let second = telemetry::init(IDENTITY).err();
    assert!(matches!(second, Some(TelemetryError::SubscriberIsSet)));
    stop(telemetry).await;
}

#[tokio::test]
async fn telemetry_starts_once() {
    let ended = run("a_second_start", &[("OTEL_SDK_DISABLED", "true")]).await;
    assert_eq!(ended.answer("report"), "no telemetry lost");
}
