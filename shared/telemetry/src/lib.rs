//! One set-up of OpenTelemetry for every service, and the instrumentation of the edges that services
//! share.
//!
//! [`init`] reads the standard `OTEL_*` variables, installs traces, metrics and logs, and hands back
//! a guard whose [`Telemetry::shutdown`] flushes within a bound and says what was lost.
//! [`http_server`], [`http_client`] and [`database`] make the spans and the duration metrics at
//! three edges; the fourth, Kafka, has a crate of its own. What is exported and lost, and what the
//! process takes, are metrics besides; no instrument has more than 200 series. Nothing here knows of
//! orders or of Kafka.
//!
//! Beyond what the SDK reads by itself, these variables count:
//!
//! | Variable | Values | Default |
//! | --- | --- | --- |
//! | `OTEL_SDK_DISABLED` | `true`, `false` | `false` |
//! | `OTEL_PROPAGATORS` | `tracecontext`, `baggage`; `none` | `tracecontext,baggage` |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`, `OTEL_LOGS_EXPORTER` | `otlp`, `console`, `none` | `otlp` |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL`, and per signal | `http/protobuf`, `grpc` | `http/protobuf` |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE`, and per signal | PEM file of whom to trust over https | the system's |
//! | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `…_CLIENT_KEY`, and per signal | PEM files of our own | unset |
//! | `OTEL_BSP_MAX_QUEUE_SIZE` | spans that may wait | `16384` |
//! | `LOG_FORMAT` | `pretty`, `json` | `pretty` |
//! | `RUST_LOG` | filter of the log on stderr and of OTLP logs | `info` |
//! | `NO_COLOR` | anything: no colour | unset |
//!
//! Endpoints over https take the feature `tls`. A wrong value is an error that names the variable, for all that are wrong at once; so is a value
//! that the SDK would have ignored in silence.

mod client_error;
mod counting;
mod environment;
mod log_format;
mod losses;
mod operation;
mod own_metrics;
mod providers;
mod resource;
mod sdk_lines;
mod settings;
mod setup;
mod span_encoding;
mod span_export;
mod subscriber;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod url_redaction;

pub mod database;
pub mod http_client;
pub mod http_server;

pub use environment::SettingError;
pub use losses::{Loss, ShutdownReport};
pub use setup::{ServiceIdentity, Telemetry, TelemetryError, init};
pub use tls::TlsError;
