//! `load` and `bench` in a size of seconds: that they run, that what they count adds up, and that a
//! loss is told. Never how long anything took.

use crate::world::{LIMIT, World};
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

fn throughline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    timeout(2 * LIMIT, command.output())
        .await
        .expect("it ends")
        .expect("it starts")
}

/// `bench` on the broker that the tests have.
async fn bench(arguments: &[&str]) -> Output {
    let mut command = throughline(&["bench"]);
    command.args(arguments);
    if let Ok(brokers) = std::env::var("KAFKA_BROKERS") {
        command.arg(format!("--brokers={brokers}"));
    }
    output(command).await
}

fn json_of(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON; {errors}"))
}

/// Of every run: scenario, mode, and spans expected.
fn runs(report: &Value) -> Vec<(String, String, u64)> {
    let runs = report["runs"].as_array().expect("runs");
    runs.iter()
        .map(|run| {
            assert_eq!(run["spans"]["got"], run["spans"]["expected"], "{run}");
            assert!(run["rate"].as_f64().expect("a rate") > 0.0, "{run}");
            (
                run["scenario"].as_str().expect("text").to_owned(),
                run["mode"].as_str().expect("text").to_owned(),
                run["spans"]["expected"].as_u64().expect("a number"),
            )
        })
        .collect()
}

fn row(scenario: &str, mode: &str, spans: u64) -> (String, String, u64) {
    (scenario.to_owned(), mode.to_owned(), spans)
}

#[tokio::test]
async fn a_hop_is_measured_with_every_span() {
    let output = bench(&[
        "hop",
        "--records=2000",
        "--rate=10000",
        "--flat-out-records=2000",
        "--flat-out-modes=untraced,100%",
        "--modes=untraced,10%,100%",
        "--rounds=1",
        "--json",
    ])
    .await;
    let report = json_of(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["complaints"], json!([]));
    let mut runs = runs(&report);
    // How many roots are sampled is the sampler's choice, whose likelihood `bench` checks; each
    // has two spans.
    let chosen = runs.remove(1);
    assert_eq!((&*chosen.0, &*chosen.1), ("produce, paced", "10 %"));
    assert_eq!(chosen.2 % 2, 0);
    // A thousand records of warm-up come before those that are measured.
    let expected = [
        row("produce, paced", "untraced", 0),
        row("produce, paced", "100 %", 2 * 3_000),
        row("consume, paced", "untraced", 0),
        row("consume, paced", "10 %", 300),
        row("consume, paced", "100 %", 3_000),
        row("produce, flat out", "untraced", 0),
        row("produce, flat out", "100 %", 2 * 3_000),
        row("consume, flat out", "untraced", 0),
        row("consume, flat out", "100 %", 3_000),
    ];
    assert_eq!(runs, expected);
    if cfg!(target_os = "linux") {
        let process = &report["runs"][0]["processes"][0];
        assert!(process["cpu"].is_number() && process["peak"].is_number());
    }
}

#[tokio::test]
async fn a_sink_that_forgets_makes_the_bench_fail() {
    let output = bench(&[
        "hop",
        "--records=3000",
        "--rate=10000",
        "--flat-out-records=0",
        "--modes=100%",
        "--rounds=1",
        "--sink-forgets=2",
    ])
    .await;
    let (table, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{table}\n{errors}");
    for scenario in ["produce, paced", "consume, paced"] {
        let complaint = table
            .lines()
            .find(|line| line.starts_with(&format!("FAILED: {scenario}, 100 %, round 1: ")))
            .unwrap_or_else(|| panic!("no complaint about {scenario}:\n{table}"));
        assert!(complaint.ends_with(" spans were lost"), "{complaint}");
    }
    assert_eq!(table.matches("| traced, 100 %: **FAILED** |").count(), 2);
    assert!(errors.contains("throughline: 2 complaints; see above"));
}

#[tokio::test]
async fn the_pipeline_is_measured_with_every_span() {
    let output = bench(&[
        "pipeline",
        "--orders=30",
        "--warm-up=5",
        "--in-flight=5",
        "--modes=untraced,100%",
        "--rounds=1",
        "--json",
    ])
    .await;
    let report = json_of(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["complaints"], json!([]));
    assert_eq!(
        runs(&report),
        [
            row("pipeline", "untraced", 0),
            // Every order has the spans of `traces/joined.txt`, warm-up included.
            row("pipeline", "100 %", 35 * 16),
        ]
    );
    let processes = report["runs"][1]["processes"].as_array().expect("them");
    let names: Vec<&str> = processes
        .iter()
        .filter_map(|process| process["name"].as_str())
        .collect();
    assert_eq!(names, ["orders-api", "order-processor", "payments"]);
}

#[tokio::test]
async fn a_soak_asks_for_every_trace() {
    let output = bench(&[
        "soak",
        "--rate=10",
        "--duration=3s",
        "--mode=100%",
        "--order-processors=2",
        "--json",
    ])
    .await;
    let report = json_of(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["load"]["finished"], json!(30));
    assert_eq!(report["load"]["sampled"], json!(30));
    assert_eq!(report["load"]["traces"], json!({"asked": 30, "joined": 30}));
    if cfg!(target_os = "linux") {
        let memory = report["memory"].as_array().expect("them");
        let names: Vec<&str> = memory
            .iter()
            .filter_map(|process| process["process"].as_str())
            .collect();
        let expected = [
            "orders-api",
            "order-processor",
            "payments",
            "order-processor-2",
        ];
        assert_eq!(names, expected);
    }
}

/// `load` against the stack that tests share.
fn load(world: &World, arguments: &[&str]) -> Command {
    let mut command = throughline(&["load", "--json"]);
    command
        .args(arguments)
        .arg(format!("--orders-api={}", world.stack.orders_api()))
        .arg(format!("--viewer={}", world.stack.viewer()))
        .arg(format!("--brokers={}", world.stack.brokers()))
        .arg(format!("--topic-prefix={}", world.prefix()));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_a_load_is_followed_to_its_end() {
    let world = World::shared().await;
    let loops = [["--in-flight=4", "--count=40"], ["--rate=40", "--count=40"]];
    for [pace, count] in loops {
        let mix = "--payment-method=pm_ok=3,pm_declined=1";
        let output = output(load(world, &[pace, count, mix])).await;
        let report = json_of(&output);
        assert!(output.status.success(), "{report:#}");
        for (field, expected) in [
            ("sent", json!(40)),
            ("accepted", json!(40)),
            ("finished", json!(40)),
            ("unfinished", json!(0)),
            ("failed", json!(0)),
            ("sampled", json!(40)),
            ("outcomes", json!({"declined": 10, "paid": 30})),
            ("interrupted", json!(false)),
        ] {
            assert_eq!(report[field], expected, "{field} of {report:#}");
        }
        let traces = &report["traces"];
        assert!(traces["asked"].as_u64().expect("a number") > 0);
        assert_eq!(traces["joined"], traces["asked"]);
        for latency in ["accept", "end_to_end"] {
            let figure = |name: &str| report[latency][name].as_f64().expect("a number");
            assert!(0.0 < figure("p50") && figure("p50") <= figure("max"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_load_tells_what_it_has() {
    let world = World::shared().await;
    let mut process = load(world, &["--rate=50", "--duration=1h"])
        .spawn()
        .expect("it starts");
    let stderr = process.stderr.take().expect("a pipe");
    let mut progress = BufReader::new(stderr).lines();
    let line = timeout(LIMIT, progress.next_line())
        .await
        .expect("progress in time")
        .expect("text");
    assert!(line.expect("a line").contains("/s finished"));
    let id = process.id().expect("it runs").to_string();
    let killed = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(killed.expect("kill").success());
    let output = timeout(LIMIT, process.wait_with_output())
        .await
        .expect("it leaves")
        .expect("its output");
    let report = json_of(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["interrupted"], json!(true));
    assert!(report["accepted"].as_u64().expect("a number") > 0);
}

#[tokio::test]
async fn a_load_without_a_pipeline_says_what_to_do() {
    let mut command = throughline(&["load", "--viewer=none"]);
    command.arg("--orders-api=http://127.0.0.1:1");
    let output = output(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("start the showcase with `cargo run` first"));
}
