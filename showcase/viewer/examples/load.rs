//! Load: spans at a steady rate into a viewer of its own, while its APIs are asked as pages ask them.
//! Prints what it took; fails when that is too much.
//!
//! ```sh
//! cargo build --release -p viewer && cargo run --release -p viewer --example load -- 60 20000
//! ```
//!
//! Seconds and spans per second. Everything is on one machine: sender, viewer and asker share its
//! cores, which the figures include. Not a test: it needs a release build and a quiet machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark ends at the first thing that goes wrong"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// As SDKs batch.
const BATCH: u64 = 500;
/// An order's trace has 16 spans.
const SPANS_PER_TRACE: u64 = 16;
const BOUND_MIB: u64 = 256;
/// What a process needs beside the traces, and what its allocator holds back.
const ALLOWED_MIB: u64 = BOUND_MIB * 3 / 2;
const ALLOWED_P99: Duration = Duration::from_millis(100);

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, text: &str) -> KeyValue {
    pair(key, Value::StringValue(text.to_owned()))
}

fn trace_id(number: u64) -> Vec<u8> {
    let mut id = vec![0x10; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// One span of a trace like an order's: a send, its processing, and calls.
fn span(number: u64) -> Span {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap().as_nanos()).unwrap();
    let (trace, at) = (number / SPANS_PER_TRACE, number % SPANS_PER_TRACE);
    let kind = match at {
        3 => 4,
        4 => 5,
        0 => 2,
        _ => 3,
    };
    let mut attributes = vec![
        text("app.order.id", &format!("order-{trace}")),
        text("messaging.system", "kafka"),
        text("messaging.destination.name", "orders"),
        text("messaging.destination.partition.id", "3"),
        pair("messaging.kafka.offset", Value::IntValue(trace as i64)),
        text("server.address", "127.0.0.1"),
    ];
    if kind == 5 {
        attributes.push(text("messaging.consumer.group.name", "workers"));
        attributes.push(pair("kafka.record.queue_time_ms", Value::IntValue(12)));
    }
    Span {
        trace_id: trace_id(trace),
        span_id: (number + 1).to_be_bytes().to_vec(),
        parent_span_id: match at {
            0 => Vec::new(),
            _ => number.to_be_bytes().to_vec(),
        },
        name: format!("step {at}"),
        kind,
        start_time_unix_nano: now - 1_000_000 * (SPANS_PER_TRACE - at),
        end_time_unix_nano: now,
        attributes,
        ..Span::default()
    }
}

fn batch(first: u64) -> Vec<u8> {
    let spans = (first..first + BATCH).map(span).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "load")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

fn resident_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let seconds = arguments.next().and_then(Result::ok).unwrap_or(60);
    let rate = arguments.next().and_then(Result::ok).unwrap_or(20_000);

    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().with_file_name("viewer");
    let mut viewer = Command::new(&program)
        .args(["--listen=127.0.0.1:0", "--otlp-http=127.0.0.1:0"])
        .args(["--otlp-grpc=127.0.0.1:0", "--max-memory=256"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cargo build --release -p viewer comes first");
    let process = viewer.id().unwrap();
    let mut lines = BufReader::new(viewer.stdout.take().unwrap()).lines();
    let mut address = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let (page, otlp) = (address().await, address().await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();

    let sent = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    let sender = {
        let (http, sent) = (http.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            let mut tick = interval(Duration::from_secs(1) * BATCH as u32 / rate as u32);
            // Late batches are made up for: the rate is the rate.
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut late = Duration::ZERO;
            while Instant::now() < until {
                let due = tick.tick().await;
                let body = batch(sent.load(Ordering::Relaxed));
                let request = http.post(format!("{otlp}/v1/traces")).body(body);
                let request = request.header("content-type", "application/x-protobuf");
                assert!(request.send().await.unwrap().status().is_success());
                sent.fetch_add(BATCH, Ordering::Relaxed);
                late = late.max(due.elapsed());
            }
            late
        })
    };

    let mut asked: Vec<(&str, Vec<Duration>)> = Vec::new();
    let mut most = 0;
    let mut turn = 0_usize;
    while Instant::now() < until {
        let trace = sent.load(Ordering::Relaxed).saturating_sub(BATCH) / SPANS_PER_TRACE;
        let trace = trace_id(trace)
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let order = format!(
            "/api/live/traces?attribute=app.order.id%3Dorder-{}",
            turn * 100
        );
        let trace = format!("/api/live/traces/{trace}");
        let text = format!("/api/live/traces?text=order-{}x", turn * 100);
        let search = format!(
            "/api/v3/traces?query.start_time_min=2020-01-01T00:00:00Z\
             &query.start_time_max=2100-01-01T00:00:00Z\
             &query.attributes=%7B%22app.order.id%22%3A%22order-{}%22%7D",
            turn * 100
        );
        let questions = [
            ("list", "/api/live/traces"),
            ("a trace", &trace),
            ("list by attribute", &order),
            ("list by a text that is nowhere", &text),
            ("list by errors", "/api/live/traces?errors=on"),
            ("list by state", "/api/live/traces?state=orphaned"),
            ("search by attribute", &search),
            ("services", "/api/v3/services"),
            ("operations", "/api/v3/operations?service=load"),
            ("topology", "/api/live/topology?seconds=60"),
            ("queue wait", "/api/live/queue-wait?seconds=60"),
        ];
        // A page asks for its list most of the time.
        let (name, path) = questions[if turn.is_multiple_of(2) {
            0
        } else {
            turn / 2 % questions.len()
        }];
        let began = Instant::now();
        let answer = http.get(format!("{page}{path}")).send().await.unwrap();
        let status = answer.status();
        answer.bytes().await.unwrap();
        let took = began.elapsed();
        // A search that finds nothing is answered so.
        let is_answer = status.is_success() || status == reqwest::StatusCode::NOT_FOUND;
        assert!(is_answer, "{path}: {status}");
        match asked.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(took),
            None => asked.push((name, vec![took])),
        }
        most = most.max(resident_mib(process));
        turn += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = timeout(Duration::from_secs(30), sender)
        .await
        .unwrap()
        .unwrap();
    let sent = sent.load(Ordering::Relaxed);
    println!(
        "{sent} spans in {seconds} s ({} a second; the latest batch was {late:?} late)",
        sent / seconds
    );
    println!("resident at most {most} MiB, bound {BOUND_MIB} MiB");
    let mut all: Vec<Duration> = Vec::new();
    let mut slowest = Duration::ZERO;
    for (name, times) in &mut asked {
        println!("{name}: {}", figures(times));
        slowest = slowest.max(at(times, 99));
        all.extend(times.iter());
    }
    println!("all questions: {}", figures(&mut all));
    if slowest <= ALLOWED_P99 && most <= ALLOWED_MIB && sent >= seconds * rate * 98 / 100 {
        ExitCode::SUCCESS
    } else {
        println!(
            "too much: p99 of each question at most {ALLOWED_P99:?}, {ALLOWED_MIB} MiB, and 98 % \
             of the rate"
        );
        ExitCode::FAILURE
    }
}

/// Of sorted times.
fn at(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn figures(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!(
        "{} times, p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
        times.len(),
        at(times, 50),
        at(times, 99),
        at(times, 100)
    )
}
