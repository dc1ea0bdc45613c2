//! Where and of what a bench runs, as far as that can be told, and what speaks against it.

use crate::bench::usage::Usage;
use serde::Serialize;
use std::process::Command;

/// What figures belong to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    system: String,
    processor: Option<String>,
    cores: usize,
    memory_mb: Option<u64>,
    /// Of the working directory; with `+` if files differ from it.
    commit: Option<String>,
    is_release_build: bool,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mb: memory
                .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok())
                .map(|kibibytes| kibibytes / 1024),
            commit: commit(),
            is_release_build: !cfg!(debug_assertions),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unknown = || "unknown".to_owned();
        write!(
            formatter,
            "{} cores of {}, {}, {}; commit {}; {} build",
            self.cores,
            self.processor.clone().unwrap_or_else(unknown),
            self.memory_mb
                .map_or_else(unknown, |megabytes| format!("{megabytes} MB")),
            self.system,
            self.commit.clone().unwrap_or_else(unknown),
            if self.is_release_build {
                "release"
            } else {
                "DEBUG"
            },
        )
    }
}

/// What makes figures of this process doubtful.
pub(crate) fn warnings() -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("this is a debug build, whose figures mean nothing; use cargo run --release");
    }
    if Usage::own().is_none() {
        warnings.push(
            "this system has no /proc: processor time and memory stay unknown, rates and spans do not",
        );
    }
    warnings
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let plus = if changes.is_empty() { "" } else { "+" };
    Some(format!("{commit}{plus}"))
}
