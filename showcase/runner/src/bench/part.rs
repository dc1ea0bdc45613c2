//! One half of a hop as a process of its own: what it is told, and what it answers.
//!
//! `produce` sends, `consume` receives; `feed` fills the topic for `consume` and is not measured.
//! A part prints `ready` when it can be measured, and its result as a line of JSON at its end. It
//! traces as an application would: with `telemetry` set up from the environment, and rdkafka-otel.

use crate::bench::mode::Mode;
use crate::bench::usage::Usage;
use crate::bench::{consume, feed, produce};
use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use telemetry::{ServiceIdentity, ShutdownReport, Telemetry};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, MissedTickBehavior};

/// Bytes of a record's value.
const VALUE: usize = 512;
/// Different keys, so that records spread over the partitions.
const KEYS: u64 = 1_024;
/// Records before those that are measured: they make the connection and fill the caches.
pub(crate) const WARM_UP: u64 = 1_000;
/// Longest that a part may take.
const LIMIT: Duration = Duration::from_secs(1_800);
const READY: &str = "ready";

/// What a part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Produce,
    Consume,
    Feed,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PartArguments {
    #[arg(value_enum)]
    pub(crate) role: Role,
    #[arg(long)]
    pub(crate) mode: Mode,
    #[arg(long)]
    pub(crate) brokers: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) records: u64,
    /// Records a second; as fast as can be without it.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// librdkafka properties, key=value[,key=value]
    #[arg(long, default_value = "")]
    pub(crate) properties: String,
}

/// What a part did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From the first record to the last.
    pub(crate) seconds: f64,
    /// Processor time in that time and in the export of its last spans; absent where it is unknown.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) peak_bytes: Option<u64>,
    /// Traces that were sampled.
    pub(crate) sampled: u64,
    /// What the process itself knows that it lost.
    pub(crate) spans_lost: u64,
}

impl Measured {
    pub(crate) fn new(
        seconds: f64,
        before: Option<Usage>,
        sampled: u64,
        report: ShutdownReport,
    ) -> Self {
        let after = Usage::own();
        Self {
            seconds,
            cpu_seconds: before
                .zip(after)
                .map(|(before, after)| after.cpu - before.cpu),
            peak_bytes: after.map(|usage| usage.peak),
            sampled,
            spans_lost: report.spans.total(),
        }
    }
}

/// Runs a part in this process.
pub(crate) async fn run(arguments: PartArguments) -> anyhow::Result<()> {
    let measured = match arguments.role {
        Role::Produce => produce::run(&arguments).await?,
        Role::Consume => consume::run(&arguments).await?,
        Role::Feed => feed::run(&arguments).await?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

impl PartArguments {
    /// The client configuration of this part.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "throughline-bench");
        if self.role == Role::Consume {
            config
                .set("group.id", "throughline-bench")
                .set("enable.auto.commit", "false")
                // A client that takes records more slowly than they are fetched would be measured by
                // how long librdkafka pauses behind a full queue: a second unless told otherwise.
                .set("fetch.queue.backoff.ms", "5")
                .set("auto.offset.reset", "earliest");
        } else {
            config
                .set("acks", "all")
                .set("enable.idempotence", "true")
                .set("linger.ms", "5");
        }
        for property in self.properties.split(',') {
            if let Some((key, value)) = property.split_once('=') {
                config.set(key.trim(), value.trim());
            }
        }
        config
    }

    /// Telemetry as an application sets it up; none where nothing is traced.
    pub(crate) fn telemetry(&self) -> anyhow::Result<Option<Telemetry>> {
        if !self.mode.is_traced() {
            return Ok(None);
        }
        let identity = ServiceIdentity {
            name: "throughline-bench",
            version: env!("CARGO_PKG_VERSION"),
        };
        Ok(Some(telemetry::init(identity)?))
    }

    /// The records to come.
    pub(crate) fn records(&self) -> Records {
        Records {
            value: [b'v'; VALUE],
            keys: (0..KEYS)
                .map(|key| format!("00000000-0000-0000-0000-{key:012}"))
                .collect(),
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            rate: self.rate,
            total: self.records,
            started: Instant::now(),
            restarted: 0,
            sent: 0,
        }
    }
}

/// Says that what comes now is what is measured.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Sends what is left, as far as there is telemetry.
pub(crate) async fn shut_down(telemetry: Option<Telemetry>) -> ShutdownReport {
    match telemetry {
        Some(telemetry) => telemetry.shutdown().await,
        None => ShutdownReport::default(),
    }
}

/// Keys, values and headers of records, all of a size.
pub(crate) struct Records {
    pub(crate) value: [u8; VALUE],
    keys: Vec<String>,
}

impl Records {
    pub(crate) fn key(&self, record: u64) -> &str {
        &self.keys[(record % KEYS) as usize]
    }

    /// Those that an application writes.
    pub(crate) fn headers(&self) -> OwnedHeaders {
        OwnedHeaders::new()
            .insert(Header {
                key: "content-type",
                value: Some("application/json"),
            })
            .insert(Header {
                key: "source",
                value: Some("throughline-bench"),
            })
    }
}

/// How many records are due.
pub(crate) struct Pace {
    rate: Option<f64>,
    total: u64,
    /// When the record with the number `restarted` was due.
    started: Instant,
    restarted: u64,
    sent: u64,
}

impl Pace {
    /// The numbers of the records that are due by now.
    pub(crate) fn due(&mut self) -> std::ops::Range<u64> {
        let due = match self.rate {
            // Small portions, so that a full queue is noticed between them.
            None => self.sent + 100,
            Some(rate) => {
                let since = (self.started.elapsed().as_secs_f64() * rate) as u64;
                self.restarted + since + 1
            }
        };
        let range = self.sent..due.clamp(self.sent, self.total);
        self.sent = range.end;
        range
    }

    /// The next record is due now.
    pub(crate) fn restart(&mut self) {
        (self.started, self.restarted) = (Instant::now(), self.sent);
    }

    /// Records that were due so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sent == self.total
    }

    pub(crate) fn is_flat_out(&self) -> bool {
        self.rate.is_none()
    }
}

/// The millisecond in which a paced part looks what is due.
pub(crate) fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// A part in a child process.
pub(crate) struct PartProcess {
    role: Role,
    process: tokio::process::Child,
    /// It leaves when this closes.
    _stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl PartProcess {
    /// Starts `arguments` in a process that exports to `sink`, and waits until it is ready.
    pub(crate) async fn start(
        program: &Path,
        arguments: &PartArguments,
        sink: &str,
        span_queue: u32,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        let role = match arguments.role {
            Role::Produce => "produce",
            Role::Consume => "consume",
            Role::Feed => "feed",
        };
        command
            .args(["part", role])
            .arg(format!("--mode={}", arguments.mode))
            .arg(format!("--brokers={}", arguments.brokers))
            .arg(format!("--topic={}", arguments.topic))
            .arg(format!("--records={}", arguments.records))
            .arg(format!("--properties={}", arguments.properties))
            .args(arguments.rate.map(|rate| format!("--rate={rate}")))
            .envs(arguments.mode.environment(sink, span_queue))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C is for whoever started the bench, which ends its parts itself.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn().context("cannot start this program again")?;
        let stdout = process.stdout.take().context("a part has no output")?;
        let mut part = Self {
            role: arguments.role,
            _stdin: process.stdin.take(),
            process,
            lines: BufReader::new(stdout).lines(),
        };
        while part.line().await? != READY {}
        Ok(part)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line())
            .await
            .with_context(|| format!("{:?} takes longer than {LIMIT:?}", self.role))??;
        match line {
            Some(line) => Ok(line),
            None => {
                let status = self.process.wait().await?;
                bail!("{:?} ended without a result ({status})", self.role)
            }
        }
    }

    /// Waits for its result.
    pub(crate) async fn result(mut self) -> anyhow::Result<Measured> {
        let line = self.line().await?;
        let measured = serde_json::from_str(&line)
            .with_context(|| format!("{:?} answers `{line}`", self.role))?;
        self.process.wait().await?;
        Ok(measured)
    }
}
