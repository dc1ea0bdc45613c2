//! A service as the process that its users start: environment in, addresses out, signals, exit code.

use super::PATIENCE;
use crate::Service;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A running service. Dropped, it is killed.
pub struct ServiceProcess {
    /// Where it serves HTTP, without a slash at the end.
    pub url: String,
    child: Child,
    log: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub output: String,
    /// All of its standard error, where the log goes.
    pub errors: String,
}

impl ServiceProcess {
    /// Starts `program`, which is service `S`, with these variables and no others, and waits until
    /// it listens. It takes a free port, and exports no telemetry, unless the variables say so.
    ///
    /// # Panics
    /// If it does not come to listening; with its log.
    pub async fn start<S: Service>(program: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command(program, variables).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let errors = tokio::spawn(keep(child.stderr.take().unwrap(), log.clone()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let announced = format!("{} listening on ", S::NAME);
        let url = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix(&announced) {
                    return Some(url.to_owned());
                }
            }
            None
        });
        let Some(url) = url.await.ok().flatten() else {
            panic!("{} does not listen:\n{}", S::NAME, text(&log));
        };
        let rest = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            url,
            child,
            log,
            readers: [errors, rest],
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Asks it to stop, as a process manager does, and does not wait.
    ///
    /// # Panics
    /// If it has ended already.
    pub async fn terminate(&self) {
        let id = self.child.id().unwrap();
        // There is no safe way to send a signal from Rust's own library.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {id}")])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself, and gives its status and its whole log.
    ///
    /// # Panics
    /// If it goes on.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("still running:\n{}", self.log());
        };
        for reader in &mut self.readers {
            reader.await.unwrap();
        }
        (status.unwrap(), self.log())
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// If it goes on, or ends with a failure.
    pub async fn stop(mut self) -> String {
        self.terminate().await;
        let (status, log) = self.ended().await;
        assert!(status.success(), "{status}:\n{log}");
        log
    }

    /// Ends it at once, with nothing flushed.
    ///
    /// # Panics
    /// If it has ended already.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.url, self.log());
        }
    }
}

/// Runs `program` with these arguments and variables to its end.
///
/// # Panics
/// If it does not end.
pub async fn run_to_end(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Exit {
    let output = command(program, variables).args(arguments).output();
    let output = timeout(PATIENCE, output).await.unwrap().unwrap();
    Exit {
        status: output.status,
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The variables that `program --help` lists, in order.
///
/// # Panics
/// If it shows no help.
pub async fn variables_in_help(program: &str) -> Vec<String> {
    let exit = run_to_end(program, &["--help"], &[]).await;
    assert!(exit.status.success(), "{}", exit.errors);
    let (_, environment) = exit.output.split_once("\nEnvironment:\n").unwrap();
    let (variables, _) = environment.split_once("\n\n").unwrap();
    variables
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

fn command(program: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("OTEL_SDK_DISABLED", "true"),
            ("NO_COLOR", "1"),
        ])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn keep(source: impl AsyncRead + Unpin, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn text(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
