//! What the parts cost: nanoseconds an operation, each beside the ways that people use today.
//!
//! `cargo bench -p rdkafka-otel-benches --bench cost`. Every round measures every contender of a group once,
//! so that what else the machine does falls on all of them alike; ratios are taken within a round.
//! Shown are medians over the rounds, with the range in which four of five rounds lie. Needs no
//! broker; `kafka.rs` has one.

#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceFlags;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka_otel::{Propagation, extract_with, inject_with};
use rdkafka_otel_benches::{
    SDK_PROPAGATOR, Service, TRACEPARENT, bare_parse, context, extract_by_first_match,
    extract_by_map, inject_by_rebuilding, inject_by_taking, received, record, stale,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(4);

type Contender<'a> = (&'a str, Box<dyn Fn() + 'a>);

fn contender<'a, T>(name: &'a str, work: impl Fn() -> T + 'a) -> Contender<'a> {
    let work = move || {
        black_box(work());
    };
    (name, Box::new(work))
}

fn nanoseconds(work: &dyn Fn(), times: u32) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        work();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

/// The value below which this share of the sorted values lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Measures the contenders against the first of them.
fn group(title: &str, contenders: &[Contender<'_>]) {
    let times: Vec<u32> = contenders
        .iter()
        .map(|(_, work)| {
            let one = nanoseconds(work, 2_000);
            (ROUND.as_nanos() as f64 / one).max(1.0) as u32
        })
        .collect();
    let mut measured = vec![Vec::new(); contenders.len()];
    let mut ratios = measured.clone();
    for _ in 0..ROUNDS {
        let round: Vec<f64> = contenders
            .iter()
            .zip(&times)
            .map(|((_, work), times)| nanoseconds(work, *times))
            .collect();
        for (index, one) in round.iter().enumerate() {
            measured[index].push(*one);
            ratios[index].push(one / round[0]);
        }
    }
    println!("\n{title}\n");
    println!("| | ns | 80 % of rounds | × |\n| --- | --- | --- | --- |");
    for (index, (name, _)) in contenders.iter().enumerate() {
        measured[index].sort_by(f64::total_cmp);
        ratios[index].sort_by(f64::total_cmp);
        let all = &measured[index];
        println!(
            "| {name} | {:.0} | {:.0}–{:.0} | {:.2} |",
            quantile(all, 0.5),
            quantile(all, 0.1),
            quantile(all, 0.9),
            quantile(&ratios[index], 0.5),
        );
    }
}

fn extracting() {
    let fast = Propagation::w3c();
    let three = received(2);
    group(
        "Extract: a valid `traceparent` in 3 headers → `SpanContext`",
        &[
            contender(
                "bare parse of the 55 bytes, by the API's `from_hex`",
                || bare_parse(black_box(TRACEPARENT)),
            ),
            contender("**`Propagation::creation_context`**", || {
                fast.creation_context(Some(black_box(&three)))
            }),
        ],
    );
    for count in [3, 20] {
        let headers = received(count - 1);
        let title = format!("Extract: {count} headers → `Context`");
        group(
            &title,
            &[
                contender("**`Propagation::extract`**", || {
                    fast.extract(Some(black_box(&headers)))
                }),
                contender("`extract_with` and the SDK's propagator", || {
                    extract_with(&*SDK_PROPAGATOR, Some(black_box(&headers)))
                }),
                contender("first match by rdkafka's iterator", || {
                    extract_by_first_match(black_box(&headers))
                }),
                contender("copy into a `HashMap`", || {
                    extract_by_map(black_box(&headers))
                }),
            ],
        );
    }
}

fn injecting() {
    let fast = Propagation::w3c();
    let cx = context(TraceFlags::SAMPLED);
    group(
        "Inject: into fresh headers → `OwnedHeaders`",
        &[
            contender("bare insert of 55 bytes that are there", || {
                OwnedHeaders::new().insert(Header {
                    key: "traceparent",
                    value: Some(black_box(TRACEPARENT)),
                })
            }),
            contender("**`Propagation::inject`**", || {
                let mut headers = OwnedHeaders::new();
                fast.inject(black_box(&cx), &mut headers);
                headers
            }),
            contender("`inject_with` and the SDK's propagator", || {
                let mut headers = OwnedHeaders::new();
                inject_with(&*SDK_PROPAGATOR, black_box(&cx), &mut headers);
                headers
            }),
            contender("`Option::take`", || {
                inject_by_taking(black_box(&cx), OwnedHeaders::new())
            }),
            contender("rebuild on every `set`", || {
                let mut headers = OwnedHeaders::new();
                inject_by_rebuilding(black_box(&cx), &mut headers);
                headers
            }),
        ],
    );
    for count in [5, 20] {
        let headers = stale(count);
        let title = format!(
            "Inject: into {count} headers with stale fields, copied first → `OwnedHeaders`"
        );
        group(
            &title,
            &[
                contender("bare librdkafka: remove two, insert one", || {
                    bare_replace(headers.clone())
                }),
                contender("the copy alone", || headers.clone()),
                contender("**`Propagation::inject`**", || {
                    let mut headers = headers.clone();
                    fast.inject(black_box(&cx), &mut headers);
                    headers
                }),
                contender("`Option::take` (leaves the stale ones)", || {
                    inject_by_taking(black_box(&cx), headers.clone())
                }),
                contender("rebuild on every `set` (leaves the stale ones)", || {
                    let mut headers = headers.clone();
                    inject_by_rebuilding(black_box(&cx), &mut headers);
                    headers
                }),
            ],
        );
    }
}

#[allow(unsafe_code)]
fn bare_replace(headers: OwnedHeaders) -> OwnedHeaders {
    let list = std::ptr::from_ref(headers.as_borrowed()).cast_mut().cast();
    // SAFETY: the list is owned here and nothing else refers into it; the keys are C strings.
    unsafe {
        rdkafka::bindings::rd_kafka_header_remove(list, c"traceparent".as_ptr());
        rdkafka::bindings::rd_kafka_header_remove(list, c"tracestate".as_ptr());
    }
    headers.insert(Header {
        key: "traceparent",
        value: Some(black_box(TRACEPARENT)),
    })
}

fn spans() {
    let sampling = Service::new(true);
    let quiet = Service::new(false);
    let cases = [
        ("sampled", &sampling, TraceFlags::SAMPLED),
        ("parent not sampled", &sampling, TraceFlags::NOT_SAMPLED),
    ];
    for (title, service, flags) in cases {
        {
            let _parent = context(flags).attach();
            send_group(title, service);
        }
        process_group(title, service, flags);
        both_group(title, service, flags);
    }
    send_group("root that is not sampled", &quiet);
}

fn send_group(title: &str, service: &Service) {
    let title = format!("Send span, {title}, with its header → `OwnedHeaders`");
    group(
        &title,
        &[
            contender("bare API, the same attributes", || service.bare_send()),
            contender("**`SendTracer`**", || service.send()),
        ],
    );
}

fn process_group(title: &str, service: &Service, flags: TraceFlags) {
    let record = record(flags);
    let title = format!("Process span, {title}, with its extraction → `()`");
    group(
        &title,
        &[
            contender("bare API, the same attributes", || {
                service.bare_process(&record)
            }),
            contender("**`ProcessTracer`**", || service.process(&record)),
        ],
    );
}

fn both_group(title: &str, service: &Service, flags: TraceFlags) {
    let record = record(flags);
    let _parent = context(flags).attach();
    let title = format!("Send and process, {title} → `()`");
    group(
        &title,
        &[
            contender("bare API, the same attributes", || {
                service.bare_send();
                service.bare_process(&record);
            }),
            contender("**`SendTracer` and `ProcessTracer`**", || {
                service.send();
                service.process(&record);
            }),
        ],
    );
}

fn main() {
    extracting();
    injecting();
    spans();
}
