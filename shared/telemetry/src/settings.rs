//! What the environment asks for, read once before anything is built.
//!
//! The SDK reads many `OTEL_*` variables by itself and keeps silent, or logs into a subscriber that
//! is not there yet, when one of them is wrong. Here all of them are checked, and those that the SDK
//! ignores are given their meaning. Nothing is built here and no global is touched.

use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::Sampler;
use reqwest::Url;
use tracing_subscriber::EnvFilter;

use crate::ServiceIdentity;
use crate::environment::{Reader, SettingError};
use crate::log_format::LogFormat;
use crate::{resource, url_redaction};

/// More than the SDK's 2,048, which a service under load fills within one export.
const SPAN_QUEUE: usize = 16_384;

/// The specification's, for one request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP exporter would find that out at its first batch.
const WITHOUT_TLS: &str = "https needs TLS, which this program was built without: build it with \
                           --features tls, or send to a collector over http";

/// Where one signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exporter {
    Otlp {
        protocol: Protocol,
        /// For people: the exporter reads the variables itself.
        endpoint: String,
        /// For an endpoint over https.
        tls: Option<Box<Tls>>,
    },
    Console,
    None,
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Otlp { endpoint, .. } => endpoint,
            Self::Console => "the console",
            Self::None => "nowhere",
        })
    }
}

/// What an exporter over TLS needs that it does not read itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// As it was given; it may hold a password.
    pub(crate) endpoint: String,
    pub(crate) timeout: Duration,
    /// Whom to trust instead of the system's authorities.
    pub(crate) authorities: Option<PemFile>,
    /// The client's own certificate and the key to it.
    pub(crate) client: Option<(PemFile, PemFile)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// A file, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PemFile {
    pub(crate) variable: String,
    pub(crate) file: String,
}

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    HttpProtobuf,
    Grpc,
}

/// Which headers carry a context from one process to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagators {
    pub(crate) trace_context: bool,
    pub(crate) baggage: bool,
}

/// Everything the set-up needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `OTEL_SDK_DISABLED`: no signal leaves the process; propagation and the log on stderr stay.
    pub(crate) disabled: bool,
    pub(crate) propagators: Propagators,
    pub(crate) traces: Exporter,
    pub(crate) metrics: Exporter,
    pub(crate) logs: Exporter,
    pub(crate) sampler: Sampler,
    /// Finished spans that may wait for the exporter.
    pub(crate) span_queue: usize,
    /// Longest that one request with spans may take.
    pub(crate) span_timeout: Duration,
    /// Whether requests with spans are compressed.
    pub(crate) compresses_spans: bool,
    /// The attributes that all three signals share, except those that name the SDK.
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) log_format: LogFormat,
    /// `NO_COLOR` is absent. Whether stderr is a terminal is not known here.
    pub(crate) colour: bool,
    /// Directives of `RUST_LOG`, known to parse.
    pub(crate) log_filter: String,
}

impl Settings {
    /// Reads every variable from `environment`.
    ///
    /// # Errors
    ///
    /// All variables that are wrong, not only the first.
    pub(crate) fn read(
        identity: &ServiceIdentity,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<SettingError>> {
        let mut reader = Reader::new(&environment);
        reader.check_what_the_sdk_reads();
        let settings = Self {
            disabled: reader.boolean("OTEL_SDK_DISABLED"),
            propagators: reader.propagators(),
            traces: reader.exporter("TRACES"),
            metrics: reader.exporter("METRICS"),
            logs: reader.exporter("LOGS"),
            sampler: reader.sampler(),
            span_queue: reader
                .number("OTEL_BSP_MAX_QUEUE_SIZE", 1)
                .map_or(SPAN_QUEUE, |size| {
                    usize::try_from(size).unwrap_or(usize::MAX)
                }),
            span_timeout: reader.timeout("TRACES"),
            compresses_spans: reader.compresses_spans(),
            resource: reader.resource(identity),
            log_format: reader.choice(
                "LOG_FORMAT",
                &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)],
                LogFormat::Pretty,
            ),
            colour: reader.text("NO_COLOR").is_none(),
            log_filter: reader.log_filter(),
        };
        reader.finish(settings)
    }
}

impl Reader<'_> {
    fn propagators(&mut self) -> Propagators {
        const VARIABLE: &str = "OTEL_PROPAGATORS";
        let mut propagators = Propagators {
            trace_context: false,
            baggage: false,
        };
        let value = self
            .text(VARIABLE)
            .unwrap_or_else(|| "tracecontext,baggage".to_owned());
        if value.eq_ignore_ascii_case("none") {
            return propagators;
        }
        for name in value.split(',').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                "tracecontext" => propagators.trace_context = true,
                "baggage" => propagators.baggage = true,
                "none" => self.reject(
                    VARIABLE,
                    format!("`none` cannot stand beside others in `{value}`"),
                ),
                _ => self.reject(
                    VARIABLE,
                    format!("`{name}` is not known; known are tracecontext, baggage, none"),
                ),
            }
        }
        propagators
    }

    fn exporter(&mut self, signal: &str) -> Exporter {
        #[derive(Clone, Copy)]
        enum Kind {
            Otlp,
            Console,
            None,
        }
        let variable = format!("OTEL_{signal}_EXPORTER");
        if let Some(list) = self.text(&variable).filter(|value| value.contains(',')) {
            let problem = format!("`{list}` is a list; name one of otlp, console, none");
            self.reject(&variable, problem);
            return Exporter::None;
        }
        // Checked even where the exporter is not OTLP: a wrong value is wrong all the same.
        let protocol = self.protocol(signal);
        let (endpoint, tls) = self.endpoint(signal, protocol);
        let kind = self.choice(
            &variable,
            &[
                ("otlp", Kind::Otlp),
                ("console", Kind::Console),
                ("none", Kind::None),
            ],
            Kind::Otlp,
        );
        match kind {
            Kind::Otlp => Exporter::Otlp {
                protocol,
                endpoint,
                tls,
            },
            Kind::Console => Exporter::Console,
            Kind::None => Exporter::None,
        }
    }

    /// The variable of the signal if it is set, else the one for all signals.
    fn otlp_variable(&self, signal: &str, name: &str) -> String {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{name}");
        if self.text(&own).is_some() {
            own
        } else {
            format!("OTEL_EXPORTER_OTLP_{name}")
        }
    }

    fn protocol(&mut self, signal: &str) -> Protocol {
        let variable = self.otlp_variable(signal, "PROTOCOL");
        self.choice(
            &variable,
            &[
                ("http/protobuf", Protocol::HttpProtobuf),
                ("grpc", Protocol::Grpc),
            ],
            Protocol::HttpProtobuf,
        )
    }

    /// The endpoint for people, and what it takes if it is over https.
    fn endpoint(&mut self, signal: &str, protocol: Protocol) -> (String, Option<Box<Tls>>) {
        let variable = self.otlp_variable(signal, "ENDPOINT");
        let Some(endpoint) = self.text(&variable) else {
            let default = match protocol {
                Protocol::HttpProtobuf => "http://localhost:4318",
                Protocol::Grpc => "http://localhost:4317",
            };
            return (default.to_owned(), None);
        };
        match Url::parse(&endpoint) {
            Ok(url) if url.scheme() == "http" && url.has_host() => {
                return (url_redaction::full(&url), None);
            }
            Ok(url) if url.scheme() == "https" && url.has_host() => {
                if cfg!(feature = "tls") {
                    let shown = url_redaction::full(&url);
                    return (shown, Some(Box::new(self.tls(signal, endpoint))));
                }
                self.reject(&variable, WITHOUT_TLS.to_owned());
            }
            _ => self.reject(
                &variable,
                "not a URL of the form http://host:port or https://host:port".to_owned(),
            ),
        }
        (String::new(), None)
    }

    fn tls(&mut self, signal: &str, endpoint: String) -> Tls {
        let certificate = self.pem_file(signal, "CLIENT_CERTIFICATE");
        let key = self.pem_file(signal, "CLIENT_KEY");
        for (one, other, missing) in [
            (&certificate, &key, "CLIENT_KEY"),
            (&key, &certificate, "CLIENT_CERTIFICATE"),
        ] {
            if let (Some(set), None) = (one, other) {
                let variable = self.otlp_variable(signal, missing);
                let problem = format!("is needed with {}", set.variable);
                self.reject(&variable, problem);
            }
        }
        Tls {
            endpoint,
            // That it is a number is checked elsewhere.
            timeout: self.timeout(signal),
            authorities: self.pem_file(signal, "CERTIFICATE"),
            client: certificate.zip(key),
        }
    }

    fn pem_file(&self, signal: &str, name: &str) -> Option<PemFile> {
        let variable = self.otlp_variable(signal, name);
        let file = self.text(&variable)?;
        Some(PemFile { variable, file })
    }

    /// What is wrong with it is told once, where all of them are checked.
    fn timeout(&self, signal: &str) -> Duration {
        let variable = self.otlp_variable(signal, "TIMEOUT");
        let millis = self.text(&variable).and_then(|text| text.parse().ok());
        millis.map_or(EXPORT_TIMEOUT, Duration::from_millis)
    }

    fn compresses_spans(&self) -> bool {
        let variable = self.otlp_variable("TRACES", "COMPRESSION");
        self.text(&variable)
            .is_some_and(|value| value.eq_ignore_ascii_case("gzip"))
    }

    fn sampler(&mut self) -> Sampler {
        #[derive(Clone, Copy)]
        enum Root {
            On,
            Off,
            Ratio,
        }
        let (parent_based, root) = self.choice(
            "OTEL_TRACES_SAMPLER",
            &[
                ("always_on", (false, Root::On)),
                ("always_off", (false, Root::Off)),
                ("traceidratio", (false, Root::Ratio)),
                ("parentbased_always_on", (true, Root::On)),
                ("parentbased_always_off", (true, Root::Off)),
                ("parentbased_traceidratio", (true, Root::Ratio)),
            ],
            (true, Root::On),
        );
        let root = match root {
            Root::On => Sampler::AlwaysOn,
            Root::Off => Sampler::AlwaysOff,
            Root::Ratio => Sampler::TraceIdRatioBased(self.ratio()),
        };
        if parent_based {
            Sampler::ParentBased(Box::new(root))
        } else {
            root
        }
    }

    fn ratio(&mut self) -> f64 {
        const VARIABLE: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(value) = self.text(VARIABLE) else {
            return 1.0;
        };
        match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                self.reject(VARIABLE, format!("`{value}` is not a number from 0 to 1"));
                1.0
            }
        }
    }

    fn resource(&mut self, identity: &ServiceIdentity) -> Vec<KeyValue> {
        const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let listed = self.text(VARIABLE).unwrap_or_default();
        let listed = resource::parse_attributes(&listed).unwrap_or_else(|problem| {
            self.reject(VARIABLE, problem);
            Vec::new()
        });
        resource::attributes(identity, self.text("OTEL_SERVICE_NAME"), listed)
    }

    fn log_filter(&mut self) -> String {
        const VARIABLE: &str = "RUST_LOG";
        let directives = self.text(VARIABLE).unwrap_or_else(|| "info".to_owned());
        if let Err(error) = EnvFilter::builder().parse(&directives) {
            self.reject(VARIABLE, format!("`{directives}`: {error}"));
        }
        directives
    }

    fn check_what_the_sdk_reads(&mut self) {
        for variable in [
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "OTEL_BSP_EXPORT_TIMEOUT",
            "OTEL_BLRP_SCHEDULE_DELAY",
            "OTEL_BLRP_MAX_QUEUE_SIZE",
            "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
            "OTEL_BLRP_EXPORT_TIMEOUT",
            "OTEL_METRIC_EXPORT_INTERVAL",
            "OTEL_METRIC_EXPORT_TIMEOUT",
        ] {
            self.number(variable, 1);
        }
        for variable in [
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            "OTEL_SPAN_LINK_COUNT_LIMIT",
        ] {
            self.number(variable, 0);
        }
        for scope in ["", "TRACES_", "METRICS_", "LOGS_"] {
            self.number(&format!("OTEL_EXPORTER_OTLP_{scope}TIMEOUT"), 1);
            self.boolean(&format!("OTEL_EXPORTER_OTLP_{scope}INSECURE"));
            let compression = format!("OTEL_EXPORTER_OTLP_{scope}COMPRESSION");
            self.choice(&compression, &[("gzip", ()), ("none", ())], ());
            self.check_headers(&format!("OTEL_EXPORTER_OTLP_{scope}HEADERS"));
        }
        self.choice(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            &[("cumulative", ()), ("delta", ()), ("lowmemory", ())],
            (),
        );
    }

    fn check_headers(&mut self, variable: &str) {
        let headers = self.text(variable).unwrap_or_default();
        let well_formed = |entry: &str| {
            entry
                .split_once('=')
                .is_some_and(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
        };
        if !headers.split_terminator(',').all(well_formed) {
            // The value is a credential more often than not.
            self.reject(variable, "not of the form key=value,key=value".to_owned());
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
