//! One service as a child process: its announcements, its log, its end.
//!
//! The child keeps a pipe from us as its standard input and leaves when that closes. So it leaves
//! when we do, however we end; a killed runner leaves nobody behind who holds a port.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdin, Command};

/// How long a child may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a child may take to finish what is in hand and flush before it is killed. The services
/// allow 10 s for the one and 5 s for the other.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a log is shown when its child failed.
const LAST_LINES: usize = 8;

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `throughline` program.
    pub program: PathBuf,
    /// Arguments to it.
    pub arguments: Vec<String>,
    /// The service's name, for messages and the log file.
    pub name: String,
    /// Variables on top of our own environment.
    pub environment: Vec<(String, String)>,
    /// What it announces to listen for; it counts as started when all of it is announced.
    pub announces: Vec<String>,
    /// Folder for its log.
    pub logs: PathBuf,
}

/// A running child.
pub struct Child {
    name: String,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    addresses: HashMap<String, SocketAddr>,
    log: PathBuf,
}

/// A child that did not start, or that left of itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The operating system refused.
    #[error("{name} cannot be started")]
    Spawn {
        /// The service.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended before or after it was ready.
    #[error("{name} ended ({status}). Its last words, from {}:\n{last_words}", log.display())]
    Ended {
        /// The service.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        last_words: String,
    },
    /// It did not say that it listens.
    #[error("{name} does not listen after {START_TIMEOUT:?}; its log is {}", log.display())]
    Late {
        /// The service.
        name: String,
        /// Its log.
        log: PathBuf,
    },
}

impl Child {
    /// Starts a child and waits until it has announced everything it listens on.
    ///
    /// # Errors
    /// [`ChildError`]; a child that is late is killed.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child.
    pub async fn start(launch: Launch) -> Result<Self, ChildError> {
        let log = launch.logs.join(format!("{}.log", launch.name));
        let spawn_error = |source| ChildError::Spawn {
            name: launch.name.clone(),
            source,
        };
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(spawn_error)?)
            .kill_on_drop(true);
        // Ctrl-C in a terminal goes to the whole foreground group; the children are stopped by us,
        // one after the other.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn().map_err(spawn_error)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take();
        let mut child = Self {
            name: launch.name,
            process,
            stdin,
            addresses: HashMap::new(),
            log,
        };
        if let Some(stdout) = stdout {
            let mut lines = BufReader::new(stdout).lines();
            let announced = async {
                while !launch
                    .announces
                    .iter()
                    .all(|what| child.addresses.contains_key(what))
                {
                    match lines.next_line().await {
                        Ok(Some(line)) => child.addresses.extend(announcement(&line)),
                        Ok(None) | Err(_) => return false,
                    }
                }
                true
            };
            match tokio::time::timeout(START_TIMEOUT, announced).await {
                Ok(true) => {}
                Ok(false) => return Err(child.ended().await),
                Err(_) => {
                    return Err(ChildError::Late {
                        name: child.name,
                        log: child.log,
                    });
                }
            }
            // Whatever else it prints is read, so that it never blocks on a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
        Ok(child)
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens for `what`, as announced.
    pub fn address(&self, what: &str) -> Option<SocketAddr> {
        self.addresses.get(what).copied()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Its log: what it wrote to standard error.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until it ends, and says how.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&mut self) -> ChildError {
        match self.process.wait().await {
            Ok(status) => ChildError::Ended {
                name: self.name.clone(),
                status,
                last_words: last_words(&self.log),
                log: self.log.clone(),
            },
            Err(source) => ChildError::Spawn {
                name: self.name.clone(),
                source,
            },
        }
    }

    /// Asks it to leave by closing its standard input, and waits. `Ok(false)` if it had to be
    /// killed after 20 s.
    ///
    /// # Errors
    /// If it left with an exit code that is not 0, before or now.
    pub async fn stop(mut self) -> Result<bool, ChildError> {
        drop(self.stdin.take());
        match tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(true),
            Ok(_) => Err(self.ended().await),
            Err(_) => {
                let _ = self.process.kill().await;
                Ok(false)
            }
        }
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(mut self) {
        let _ = self.process.kill().await;
    }
}

/// `NAME listening on [http://]HOST:PORT`.
fn announcement(line: &str) -> Option<(String, SocketAddr)> {
    let (what, place) = line.split_once(" listening on ")?;
    let place = place.trim();
    let address = place.strip_prefix("http://").unwrap_or(place);
    Some((what.to_owned(), address.parse().ok()?))
}

fn last_words(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LAST_LINES);
    lines
        .get(start..)
        .unwrap_or_default()
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_name_and_an_address() {
        assert_eq!(
            announcement("payment gateway listening on http://127.0.0.1:8002"),
            Some((
                "payment gateway".into(),
                SocketAddr::from(([127, 0, 0, 1], 8002))
            ))
        );
        assert_eq!(announcement("anything else"), None);
        assert_eq!(announcement("x listening on nowhere"), None);
    }
}
