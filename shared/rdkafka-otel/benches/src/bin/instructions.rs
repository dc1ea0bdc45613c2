//! Runs one fast path so many times, to be run under callgrind.
//!
//! `instructions NAME TIMES`. Two runs with different counts differ by the instructions of the path
//! alone; `.ci/instructions` takes that difference and compares it with what was committed. Does not
//! measure by itself.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use opentelemetry::trace::TraceFlags;
use rdkafka::message::OwnedHeaders;
use rdkafka_otel::Propagation;
use rdkafka_otel_benches::{Service, context, received, record, stale};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (name, times) = match &arguments[..] {
        [name, times] => (name.as_str(), times.parse().unwrap_or(0)),
        _ => ("", 0),
    };
    let fast = Propagation::w3c();
    let (sampled, unsampled) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);
    let repeat = |work: &dyn Fn()| {
        for _ in 0..times {
            work();
        }
        ExitCode::SUCCESS
    };
    match name {
        "extract-3" | "extract-20" => {
            let headers = received(if name == "extract-3" { 2 } else { 19 });
            repeat(&|| {
                _ = black_box(fast.creation_context(Some(black_box(&headers))));
            })
        }
        "inject-fresh" => {
            let cx = context(sampled);
            repeat(&|| {
                let mut headers = OwnedHeaders::new();
                fast.inject(black_box(&cx), &mut headers);
                black_box(headers);
            })
        }
        "inject-stale-20" => {
            let (cx, before) = (context(sampled), stale(20));
            repeat(&|| {
                let mut headers = before.clone();
                fast.inject(black_box(&cx), &mut headers);
                black_box(headers);
            })
        }
        "send-unsampled" | "send-sampled" => {
            let service = Service::new(true);
            let flags = if name == "send-sampled" {
                sampled
            } else {
                unsampled
            };
            let _parent = context(flags).attach();
            repeat(&|| {
                black_box(service.send());
            })
        }
        "process-unsampled" | "process-sampled" => {
            let service = Service::new(true);
            let flags = if name == "process-sampled" {
                sampled
            } else {
                unsampled
            };
            let record = record(flags);
            repeat(&|| service.process(black_box(&record)))
        }
        _ => {
            eprintln!("usage: instructions NAME TIMES; the names are in this file");
            ExitCode::FAILURE
        }
    }
}
