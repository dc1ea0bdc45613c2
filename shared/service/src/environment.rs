//! Configuration from environment variables, typed, with every fault reported at once.
//!
//! Reading a variable also declares it: its name, default and meaning are what `--help` prints, so
//! help and behaviour cannot drift apart. The `OTEL_*` variables are `telemetry`'s.

use crate::secret::Secret;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;
use telemetry::http_client::Url;

/// Reads variables through a lookup, so that tests never touch the process's environment.
pub struct Environment<'a> {
    lookup: Lookup<'a>,
    variables: Vec<Variable>,
    faults: Vec<Fault>,
}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// A variable that a service reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// What holds if it is unset or empty; empty itself if the variable is optional.
    pub default: String,
    /// One sentence for `--help`.
    pub about: &'static str,
}

/// A variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct Fault {
    name: &'static str,
    reason: String,
}

/// Every variable that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Fault>);

impl Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the environment cannot be used:")?;
        for fault in &self.0 {
            write!(formatter, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl<'a> Environment<'a> {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::from_fn(|name| std::env::var(name).ok())
    }

    /// An environment made of `lookup`.
    pub fn from_fn(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            variables: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The value of `name`, or `default` if it is unset or empty. A value that does not parse is
    /// noted, and `default` stands in until [`finish`](Self::finish) reports it.
    pub fn read<T>(&mut self, name: &'static str, default: T, about: &'static str) -> T
    where
        T: FromStr<Err: Display> + Display,
    {
        self.declare(name, default.to_string(), about);
        self.parse(name).unwrap_or(default)
    }

    /// The value of `name`, or `None` if it is unset or empty.
    pub fn read_optional<T>(&mut self, name: &'static str, about: &'static str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        self.declare(name, String::new(), about);
        self.parse(name)
    }

    /// A duration given in milliseconds; zero is a fault, because no timeout of ours means "never".
    pub fn milliseconds(
        &mut self,
        name: &'static str,
        default: Duration,
        about: &'static str,
    ) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        match self.read(name, default, about) {
            0 => {
                self.fault(name, "must be at least 1 (milliseconds)".into());
                Duration::from_millis(default)
            }
            value => Duration::from_millis(value),
        }
    }

    /// A switch: `true`, `on`, `1` or `yes` against `false`, `off`, `0` or `no`, in any case.
    pub fn switch(&mut self, name: &'static str, default: bool, about: &'static str) -> bool {
        self.read(name, Switch(default), about).0
    }

    /// A secret: the value of the first variable, to the byte, or the content of the file that the
    /// second names, without the line end that editors leave. Each comes with its sentence for
    /// `--help`. `None` if both are unset or empty; both is a fault.
    pub fn secret(
        &mut self,
        (name, about): (&'static str, &'static str),
        (file_name, file_about): (&'static str, &'static str),
    ) -> Option<Secret> {
        self.declare(name, String::new(), about);
        let value = (self.lookup)(name).filter(|value| !value.is_empty());
        let file: String = match self.read_optional(file_name, file_about) {
            Some(file) => file,
            None => return value.map(Secret::new),
        };
        if value.is_some() {
            self.fault(
                file_name,
                format!("is set, and so is {name}; leave one out"),
            );
            return None;
        }
        match std::fs::read_to_string(&file) {
            Ok(content) if content.trim_end_matches(['\r', '\n']).is_empty() => {
                self.fault(file_name, format!("{file} is empty"));
                None
            }
            Ok(content) => Some(Secret::new(content.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.fault(file_name, format!("{file} cannot be read: {error}"));
                None
            }
        }
    }

    /// Whether the value of `name` is known to be unusable.
    pub(crate) fn has_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.name == name)
    }

    /// Notes that the value of `name` cannot be used.
    pub fn fault(&mut self, name: &'static str, reason: String) {
        self.faults.push(Fault { name, reason });
    }

    /// The variables that were read so far.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// `config`, if nothing was wrong.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that was noted.
    pub fn finish<C>(self, config: C) -> Result<C, ConfigError> {
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(self.faults))
        }
    }

    fn declare(&mut self, name: &'static str, default: String, about: &'static str) {
        self.variables.push(Variable {
            name,
            default,
            about,
        });
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let value = (self.lookup)(name).filter(|value| !value.trim().is_empty())?;
        match value.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }
}

/// The URL of another server, as text without a slash at the end. The client of `telemetry` speaks
/// plain HTTP only, so any other scheme is a fault when the service starts and not at each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(pub String);

impl Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for HttpUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_usable = Url::parse(text).is_ok_and(|url| {
            url.scheme() == "http" && url.query().is_none() && url.fragment().is_none()
        });
        // The text is not quoted: a URL may hold a password.
        is_usable
            .then(|| Self(text.trim_end_matches('/').to_owned()))
            .ok_or("must be http://HOST[:PORT][/PATH]")
    }
}

struct Switch(bool);

impl Display for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0 { "on" } else { "off" })
    }
}

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" | "yes" => Ok(Self(true)),
            "false" | "off" | "0" | "no" => Ok(Self(false)),
            _ => Err("must be on or off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_and_empty_give_the_default() {
        let mut environment = Environment::from_fn(|name| (name == "EMPTY").then(|| " ".into()));
        assert_eq!(environment.read("UNSET", 3_u16, "a number"), 3);
        assert_eq!(environment.read("EMPTY", 4_u16, "a number"), 4);
        assert_eq!(environment.read_optional::<u16>("OTHER", "a number"), None);
        assert_eq!(environment.variables().len(), 3);
        assert!(environment.finish(()).is_ok());
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let mut environment = Environment::from_fn(|name| match name {
            "PORT" => Some("seventy".into()),
            "TRUST" => Some("maybe".into()),
            "TIMEOUT_MS" => Some("0".into()),
            _ => None,
        });
        environment.read("PORT", 1_u16, "");
        environment.switch("TRUST", true, "");
        environment.milliseconds("TIMEOUT_MS", Duration::from_secs(1), "");
        assert_eq!(
            environment.finish(()).unwrap_err().to_string(),
            "the environment cannot be used:\n  PORT: invalid digit found in string\n  \
             TRUST: must be on or off\n  TIMEOUT_MS: must be at least 1 (milliseconds)"
        );
    }

    #[test]
    fn a_url_must_be_one_that_the_client_can_call() {
        for (text, expected) in [
            ("http://127.0.0.1:8001", Some("http://127.0.0.1:8001")),
            (" http://payments/api/ ", Some("http://payments/api")),
            ("https://payments", None),
            ("payments:8001", None),
            ("http://", None),
            ("http://user:hunter2@host:port", None),
            ("http://payments/?a=1", None),
            ("http://payments/#a", None),
        ] {
            let mut environment = Environment::from_fn(|_| Some(text.into()));
            let url: Option<HttpUrl> = environment.read_optional("URL", "");
            assert_eq!(url, expected.map(|url| HttpUrl(url.into())), "{text}");
            let reported = environment.finish(()).map_err(|error| error.to_string());
            assert_eq!(
                reported.err(),
                expected.is_none().then(|| {
                    "the environment cannot be used:\n  URL: must be http://HOST[:PORT][/PATH]"
                        .into()
                })
            );
        }
    }

    #[test]
    fn a_switch_takes_the_usual_words() {
        for (word, expected) in [("TRUE", true), ("1", true), ("Off", false), ("no", false)] {
            let mut environment = Environment::from_fn(|_| Some(word.into()));
            assert_eq!(environment.switch("SWITCH", !expected, ""), expected);
        }
    }
}
