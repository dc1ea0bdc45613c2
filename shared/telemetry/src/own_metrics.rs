//! What the process says of itself: spans and log records that were exported, or failed to be, and
//! what it takes of the machine. All of it is looked up when metrics are collected, and costs nothing
//! in between.
//!
//! What a full queue drops is the SDK's own `otel.sdk.processor.span.processed`. Names are those of
//! the conventions for SDKs and processes.

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, global};

use crate::losses::Account;

/// The conventions leave the cause of a failed export to the exporter.
const EXPORT_FAILED: &str = "export_failed";

/// Registers with the global meter provider, which must have been set before.
pub(crate) fn register(spans: &Arc<Account>, log_records: &Arc<Account>) {
    let meter = global::meter("telemetry.own_metrics");
    exported(&meter, "otel.sdk.exporter.span.exported", "{span}", spans);
    exported(
        &meter,
        "otel.sdk.exporter.log.exported",
        "{log_record}",
        log_records,
    );
    #[cfg(unix)]
    process(&meter);
}

fn exported(meter: &Meter, name: &'static str, unit: &'static str, account: &Arc<Account>) {
    let account = Arc::clone(account);
    let failed = [KeyValue::new("error.type", EXPORT_FAILED)];
    meter
        .u64_observable_counter(name)
        .with_unit(unit)
        .with_description("Items whose export has finished, successful or failed.")
        .with_callback(move |observer| {
            // Both from the beginning: a counter that starts with its first failure has no rate then.
            observer.observe(account.exported(), &[]);
            observer.observe(account.failed(), &failed);
        })
        .build();
}

#[cfg(unix)]
fn process(meter: &Meter) {
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("Processor time of this process, in user and system mode together.")
        .with_callback(|observer| observer.observe(processor_seconds(), &[]))
        .build();
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("The amount of physical memory in use.")
        .with_callback(|observer| {
            if let Some(bytes) = resident_bytes() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
}

#[cfg(unix)]
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `None` where there is no `/proc`.
#[cfg(unix)]
fn resident_bytes() -> Option<i64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = sizes.split(' ').nth(1)?.parse().ok()?;
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    Some(pages * page)
}
