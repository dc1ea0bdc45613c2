//! The `throughline` command as people use it: what it prints, how it ends, what it leaves behind.

use crate::world::LIMIT;
use std::net::TcpListener;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_throughline");
const FREE_PORTS: [&str; 9] = [
    "--orders-api-port=0",
    "--payments-port=0",
    "--gateway-port=0",
    "--order-processor-port=0",
    "--viewer-port=0",
    "--control-port=0",
    "--otlp-grpc-port=0",
    "--otlp-http-port=0",
    "--broker-port=0",
];

/// A showcase in the foreground, as `cargo run` starts it.
struct Showcase {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    printed: String,
}

impl Showcase {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(FREE_PORTS)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stdout = process.stdout.take().expect("a pipe");
        Self {
            process,
            lines: BufReader::new(stdout).lines(),
            printed: String::new(),
        }
    }

    /// Reads on until a line holds `text`.
    async fn printed(&mut self, text: &str) {
        loop {
            let line = timeout(LIMIT, self.lines.next_line())
                .await
                .unwrap_or_else(|_| panic!("no {text:?} in time:\n{}", self.printed))
                .expect("text")
                .unwrap_or_else(|| panic!("ends without {text:?}:\n{}", self.printed));
            self.printed.push_str(&line);
            self.printed.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    /// The word after `label` in what was printed.
    fn word(&self, label: &str) -> String {
        let (_, after) = self
            .printed
            .split_once(label)
            .unwrap_or_else(|| panic!("no {label:?} in\n{}", self.printed));
        after.split_whitespace().next().expect("a word").to_owned()
    }

    fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    async fn end(mut self) -> (ExitStatus, String) {
        let mut errors = String::new();
        let mut stderr = self.process.stderr.take().expect("a pipe");
        let ended = timeout(LIMIT, async {
            // Both pipes are read to the end, so that it never blocks on one.
            while let Ok(Some(_)) = self.lines.next_line().await {}
            stderr.read_to_string(&mut errors).await.expect("text");
            self.process.wait().await.expect("a status")
        });
        (ended.await.expect("in time"), errors)
    }
}

async fn command(arguments: &[&str]) -> Output {
    let running = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    timeout(LIMIT, running)
        .await
        .expect("in time")
        .expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status()
        .await;
    assert!(sent.expect("kill runs").success());
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    let children = Path::new("/proc").join(parent.to_string()).join("task");
    std::fs::read_dir(children)
        .expect("a Linux /proc")
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

async fn all_gone(processes: &[u32]) {
    let deadline = Instant::now() + LIMIT;
    while processes
        .iter()
        .any(|id| Path::new("/proc").join(id.to_string()).exists())
    {
        assert!(Instant::now() < deadline, "{processes:?} are still there");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_showcase_prints_a_joined_trace_and_the_other_commands_work_on_it() {
    let mut showcase = Showcase::start(&[]);
    showcase.printed("Ctrl-C stops everything").await;
    let printed = showcase.printed.clone();
    for line in [
        "POST /orders",
        "└─ send orders ",
        "└─ process orders ",
        "└─ process order-status ",
        "queue wait",
        "16 spans, 3 services",
    ] {
        assert!(printed.contains(line), "{line} in:\n{printed}");
    }
    assert!(!printed.contains('\u{1b}'), "no colours in a pipe");
    let orders_api = showcase.word("Orders API   ");
    let viewer = showcase.word("Live page    ");
    let brokers = showcase.word("Kafka        ");
    let trace_id = showcase.word("   trace ");

    let trace = command(&["trace", &trace_id, "--viewer", &viewer]).await;
    assert!(trace.status.success(), "{}", stderr(&trace));
    assert!(stdout(&trace).contains("16 spans, 3 services"));

    let unknown = "0".repeat(31) + "1";
    let trace = command(&["trace", &unknown, "--viewer", &viewer]).await;
    assert_eq!(trace.status.code(), Some(1));
    assert!(
        stderr(&trace).contains("has no trace"),
        "{}",
        stderr(&trace)
    );

    let mut tail = Command::new(PROGRAM)
        .args(["tail", "orders", "--from-beginning", "--brokers", &brokers])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let taken_apart = format!("version 00  trace {trace_id}");
    timeout(LIMIT, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains(&taken_apart) {
                return;
            }
        }
        panic!("tail ended");
    })
    .await
    .expect("in time");
    signal("-INT", tail.id().expect("it runs")).await;
    assert!(tail.wait().await.expect("a status").success());

    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("order.json");
    let order = crate::world::order("pm_ok");
    std::fs::write(&file, order.to_string()).expect("written");
    let file = file.to_str().expect("UTF-8");
    let urls = ["--orders-api", &orders_api, "--viewer", &viewer];
    let posted = command(
        &[
            &[
                "order",
                "--json",
                file,
                "--payment-method",
                "pm_fail_twice",
                "--count",
                "2",
            ],
            &urls[..],
        ]
        .concat(),
    )
    .await;
    assert!(posted.status.success(), "{}", stderr(&posted));
    assert_eq!(
        stdout(&posted).matches("24 spans, 3 services").count(),
        2,
        "{}",
        stdout(&posted)
    );

    std::fs::write(file, "{\"customer\": ").expect("written");
    let broken = command(&[&["order", "--json", file], &urls[..]].concat()).await;
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        stderr(&broken).contains("is not JSON"),
        "{}",
        stderr(&broken)
    );
    std::fs::write(file, "{}").expect("written");
    let refused = command(&[&["order", "--json", file], &urls[..]].concat()).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("/customer"),
        "{}",
        stderr(&refused)
    );

    let children = children_of(showcase.id());
    assert_eq!(children.len(), 5, "broker, viewer and three services");
    signal("-INT", showcase.id()).await;
    let (status, errors) = showcase.end().await;
    assert!(status.success(), "{errors}");
    assert_eq!(errors, "");
    all_gone(&children).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_showcase_leaves_no_child_and_can_be_started_again() {
    let data = TempDir::new().expect("a folder");
    let data = data.path().to_str().expect("UTF-8");
    let mut showcase = Showcase::start(&["--data", data]);
    showcase.printed("Ctrl-C stops everything").await;
    let children = children_of(showcase.id());
    assert_eq!(children.len(), 5);
    signal("-KILL", showcase.id()).await;
    showcase.end().await;
    all_gone(&children).await;

    let mut again = Showcase::start(&["--data", data]);
    again.printed("16 spans, 3 services").await;
    signal("-TERM", again.id()).await;
    let (status, errors) = again.end().await;
    assert!(status.success(), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_dies_ends_the_showcase_and_is_named() {
    let mut showcase = Showcase::start(&[]);
    showcase.printed("Ctrl-C stops everything").await;
    let children = children_of(showcase.id());
    let processor = children
        .iter()
        .copied()
        .find(|id| {
            let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.contains("order-processor")
        })
        .expect("the processor");
    signal("-KILL", processor).await;
    let (status, errors) = showcase.end().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        errors.contains("order-processor ended (signal: 9"),
        "{errors}"
    );
    all_gone(&children).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for option in [
        "broker",
        "viewer",
        "control",
        "otlp-grpc",
        "payments",
        "orders-api",
    ] {
        let port = format!("--{option}-port={}", address.port());
        let others: Vec<&str> = FREE_PORTS
            .into_iter()
            .filter(|free| !free.contains(&format!("--{option}-port")))
            .chain([port.as_str()])
            .collect();
        let output = command(&others).await;
        assert_eq!(output.status.code(), Some(1));
        let errors = stderr(&output);
        assert!(errors.contains(&address.to_string()), "{option}: {errors}");
        assert!(errors.contains("choose another"), "{option}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_to_do() {
    let nowhere = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let url = format!("http://{nowhere}");
    for (arguments, expected) in [
        (&["order", "--orders-api", &url][..], "start the showcase"),
        (&["trace", "1", "--viewer", &url], "is the showcase running"),
        (
            &["tail", "orders", "--brokers", &nowhere],
            "no Kafka broker answers",
        ),
        (&["--brokers", &nowhere], "no Kafka broker answers"),
    ] {
        let output = command(arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = stderr(&output);
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert!(errors.contains(&nowhere), "{arguments:?}: {errors}");
    }
}

/// A broker that somebody else runs: the real one of `KAFKA_BROKERS`, where topics are created, or
/// an embedded one that was started by itself and has them.
#[tokio::test(flavor = "multi_thread")]
async fn the_showcase_runs_on_a_given_broker() {
    let (_broker, brokers) = given_broker().await;
    let mut showcase = Showcase::start(&["--brokers", &brokers]);
    showcase.printed("16 spans, 3 services").await;
    showcase.printed("Ctrl-C stops everything").await;
    assert_eq!(children_of(showcase.id()).len(), 4, "no broker of its own");
    signal("-INT", showcase.id()).await;
    let (status, errors) = showcase.end().await;
    assert!(status.success(), "{errors}");
}

async fn given_broker() -> (Option<Child>, String) {
    if let Ok(brokers) = std::env::var("KAFKA_BROKERS") {
        return (None, brokers);
    }
    let mut broker = Command::new(PROGRAM)
        .args(["broker", "--listen=127.0.0.1:0"])
        .args([
            "--topic=orders:12",
            "--topic=order-status:12",
            "--topic=orders.dlq:12",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(broker.stdout.take().expect("a pipe")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("in time");
    let line = line.expect("text").expect("an announcement");
    let address = line.strip_prefix("broker listening on ").expect("its form");
    (Some(broker), address.to_owned())
}
