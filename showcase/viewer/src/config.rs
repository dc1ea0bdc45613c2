//! Where the viewer listens and how much it keeps, as options and as environment variables.
//!
//! Flattened into the command line of whoever starts a viewer, so that the options are the same
//! everywhere. It binds nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const MEBIBYTE: usize = 1024 * 1024;

/// Settings of a viewer. Port 0 takes any free port, see [`Viewer`](crate::Viewer).
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Config {
    /// Address of the page and the query API
    #[arg(
        long,
        env = "VIEWER_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8010"
    )]
    pub listen: SocketAddr,
    /// Address that takes OTLP over HTTP
    #[arg(
        long,
        env = "VIEWER_OTLP_HTTP",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:4318"
    )]
    pub otlp_http: SocketAddr,
    /// Address that takes OTLP over gRPC
    #[arg(
        long,
        env = "VIEWER_OTLP_GRPC",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:4317"
    )]
    pub otlp_grpc: SocketAddr,
    /// Memory for traces, in MiB; beyond it the oldest traces go
    #[arg(
        id = "max_memory",
        long = "max-memory",
        env = "VIEWER_MAX_MEMORY",
        value_name = "MIB",
        default_value = "256",
        value_parser = mebibytes
    )]
    pub max_bytes: usize,
    /// Where a runner serves the page's controls, as `http://HOST:PORT`; without one it has none
    #[arg(long, env = "VIEWER_CONTROL_URL", hide = true, value_parser = origin)]
    pub control_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Config {
            listen: loopback(8010),
            otlp_http: loopback(4318),
            otlp_grpc: loopback(4317),
            max_bytes: 256 * MEBIBYTE,
            control_url: None,
        }
    }
}

fn mebibytes(text: &str) -> Result<usize, String> {
    let count: usize = text
        .parse()
        .map_err(|_| "a whole number of MiB, 256 for example".to_owned())?;
    match count.checked_mul(MEBIBYTE) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("a number of MiB that this machine can have, at least 1".to_owned()),
    }
}

/// It goes into the page's security policy, so nothing but an address may be in it.
fn origin(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("http://");
    match address.map(str::parse::<SocketAddr>) {
        Some(Ok(address)) if address.ip().is_loopback() => Ok(format!("http://{address}")),
        _ => Err("http:// with a loopback address and a port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_command_line_without_options_is_the_default() {
        let command = Command::try_parse_from(["viewer"]).unwrap();
        assert_eq!(command.config, Config::default());
    }

    #[test]
    fn controls_are_on_loopback_and_nothing_else_is_in_their_address() {
        for right in ["http://127.0.0.1:8012", "http://[::1]:8012"] {
            let command = Command::try_parse_from(["viewer", "--control-url", right]).unwrap();
            assert_eq!(command.config.control_url.as_deref(), Some(right));
        }
        for wrong in [
            "",
            "http://10.0.0.1:1",
            "http://localhost:1",
            "https://127.0.0.1:1",
            "http://127.0.0.1:1/x",
            "http://127.0.0.1:1; script-src *",
        ] {
            let error = Command::try_parse_from(["viewer", "--control-url", wrong]);
            assert!(error.is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_is_given_in_mebibytes() {
        let command = Command::try_parse_from(["viewer", "--max-memory", "3"]).unwrap();
        assert_eq!(command.config.max_bytes, 3 * 1024 * 1024);
        for wrong in ["0", "-1", "1.5", "lots", "99999999999999999999"] {
            let error = Command::try_parse_from(["viewer", &format!("--max-memory={wrong}")]);
            assert!(error.is_err(), "{wrong}");
        }
    }
}
