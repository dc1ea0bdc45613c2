//! The Collector and Jaeger as child processes, configured by the files of `deploy/`: every address
//! is a free loopback port, handed over in the variables that the files read.
//!
//! Not here: what is sent to them or read back, and Prometheus, which is in `prometheus.rs`.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::pipeline::{LIMIT, client};

const POLL: Duration = Duration::from_millis(50);

/// A program with a health page, which can be ended and started again with the same data.
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: HashMap<String, String>,
    pub(crate) health: String,
    pub(crate) folder: TempDir,
    pub(crate) process: Option<Child>,
}

impl Program {
    pub(crate) async fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log");
        let child = Command::new(&self.executable)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut child = child;
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = client().get(&self.health).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            let ended = child.try_wait().expect("its status");
            assert!(ended.is_none(), "ended: {ended:?}\n{}", self.last_words());
            assert!(Instant::now() < deadline, "late\n{}", self.last_words());
            tokio::time::sleep(POLL).await;
        }
        self.process = Some(child);
    }

    /// Ends it as `docker stop` does, and waits.
    async fn terminate(&mut self) {
        let mut child = self.process.take().expect("it runs");
        let pid = child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.expect("kill").success());
        tokio::time::timeout(LIMIT, child.wait())
            .await
            .expect("it ends in time")
            .expect("its status");
    }

    /// Ends it as a crash does: it has no time for anything.
    async fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().await.expect("it ends");
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A real Jaeger.
pub(crate) struct Jaeger {
    program: Program,
    otlp: u16,
    query: u16,
}

impl Jaeger {
    /// Starts one with storage of its own and further variables.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Jaeger {
        let [health, otlp, query, grpc] = free_ports();
        let folder = TempDir::new().expect("a folder");
        let variables = [
            ("JAEGER_HEALTH_LISTEN", loopback(health)),
            ("JAEGER_OTLP_LISTEN", loopback(otlp)),
            ("JAEGER_QUERY_LISTEN", loopback(query)),
            ("JAEGER_QUERY_GRPC_LISTEN", loopback(grpc)),
            ("JAEGER_DIRECTORY", path(&folder, "badger")),
        ];
        let mut program = Program {
            executable: executable("THROUGHLINE_JAEGER"),
            arguments: configured_by("jaeger.yaml"),
            environment: merge(&variables, environment),
            health: format!("http://{}/status", loopback(health)),
            folder,
            process: None,
        };
        program.start().await;
        Jaeger {
            program,
            otlp,
            query,
        }
    }

    /// Where its query API is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", loopback(self.query))
    }

    pub(crate) async fn terminate(&mut self) {
        self.program.terminate().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.program.start().await;
    }
}

/// A real Collector.
pub(crate) struct Collector {
    program: Program,
    otlp: u16,
    pub(crate) prometheus: u16,
    pub(crate) telemetry: u16,
}

impl Collector {
    /// Starts one that sends to `jaeger` what sampling keeps, and everything to the OTLP address
    /// `viewer`, with further variables.
    pub(crate) async fn start(
        jaeger: &Jaeger,
        viewer: &str,
        environment: &[(&str, &str)],
    ) -> Collector {
        let [health, otlp, grpc, prometheus, telemetry] = free_ports();
        let folder = TempDir::new().expect("a folder");
        let variables = [
            ("HEALTH_LISTEN", loopback(health)),
            ("OTLP_HTTP_LISTEN", loopback(otlp)),
            ("OTLP_GRPC_LISTEN", loopback(grpc)),
            ("PROMETHEUS_LISTEN", loopback(prometheus)),
            ("TELEMETRY_HOST", "127.0.0.1".to_owned()),
            ("TELEMETRY_PORT", telemetry.to_string()),
            ("QUEUE_DIRECTORY", path(&folder, "queue")),
            ("JAEGER_OTLP_ENDPOINT", loopback(jaeger.otlp)),
            ("VIEWER_OTLP_ENDPOINT", viewer.to_owned()),
        ];
        let mut program = Program {
            executable: executable("THROUGHLINE_COLLECTOR"),
            arguments: configured_by("collector.yaml"),
            environment: merge(&variables, environment),
            health: format!("http://{}", loopback(health)),
            folder,
            process: None,
        };
        program.start().await;
        Collector {
            program,
            otlp,
            prometheus,
            telemetry,
        }
    }

    /// Where it takes OTLP over HTTP.
    pub(crate) fn otlp(&self) -> String {
        format!("http://{}", loopback(self.otlp))
    }

    pub(crate) async fn terminate(&mut self) {
        self.program.terminate().await;
    }

    pub(crate) async fn kill(&mut self) {
        self.program.kill().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.program.start().await;
    }

    /// The metrics of spans, in the format that has exemplars.
    pub(crate) async fn span_metrics(&self) -> String {
        let url = format!("http://{}/metrics", loopback(self.prometheus));
        let request = client()
            .get(url)
            .header("accept", "application/openmetrics-text; version=1.0.0");
        let answer = request.send().await.expect("the Collector answers");
        answer.text().await.expect("a text")
    }

    /// How many traces the tail sampling has decided to keep and to drop.
    pub(crate) async fn decisions(&self) -> Decisions {
        let url = format!("http://{}/metrics", loopback(self.telemetry));
        let answer = client().get(url).send().await.expect("it answers");
        let text = answer.text().await.expect("a text");
        let of = |sampled: &str| {
            text.lines()
                .filter(|line| {
                    line.starts_with("otelcol_processor_tail_sampling_global_count_traces_sampled{")
                        && line.contains(sampled)
                })
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum::<f64>() as u64
        };
        Decisions {
            kept: of("sampled=\"true\""),
            dropped: of("sampled=\"false\""),
        }
    }

    /// Waits until it has decided on `count` traces.
    pub(crate) async fn decided(&self, count: u64) -> Decisions {
        let deadline = Instant::now() + LIMIT;
        loop {
            let decisions = self.decisions().await;
            if decisions.kept + decisions.dropped >= count {
                return decisions;
            }
            assert!(
                Instant::now() < deadline,
                "{decisions:?} of {count} in time\n{}",
                self.program.last_words()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What the tail sampling has decided since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decisions {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
}

/// A port that nobody listens on, and that no other call of this process is given. It lies below
/// the range from which the kernel hands out ports.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 6000) as u16;
    for _ in 0..10_000 {
        let port = 20_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

pub(crate) fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

pub(crate) fn executable(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| {
            panic!("{variable} names no program; `.ci/full observability` builds it")
        })
        .into()
}

pub(crate) fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file)
}

fn configured_by(file: &str) -> Vec<String> {
    vec!["--config".to_owned(), deployed(file).display().to_string()]
}

pub(crate) fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn merge(variables: &[(&str, String)], further: &[(&str, &str)]) -> HashMap<String, String> {
    let own = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let further = further
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    own.chain(further).collect()
}
