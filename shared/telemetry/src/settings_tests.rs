//! Every variable, its default, and what is said of a bad value.

use super::*;

const IDENTITY: ServiceIdentity = ServiceIdentity {
    name: "orders-api",
    version: "1.2.3",
};

fn read(variables: &[(&str, &str)]) -> Result<Settings, Vec<SettingError>> {
    Settings::read(&IDENTITY, |name| {
        variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    read(variables)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

const ALL: [&str; 49] = [
    "OTEL_SDK_DISABLED",
    "OTEL_PROPAGATORS",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_LOGS_EXPORTER",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "LOG_FORMAT",
    "RUST_LOG",
];

fn assert_defaults(settings: &Settings) {
    let otlp = Exporter::Otlp {
        protocol: Protocol::HttpProtobuf,
        endpoint: "http://localhost:4318".to_owned(),
        tls: None,
    };
    assert!(!settings.disabled);
    assert_eq!(
        settings.propagators,
        Propagators {
            trace_context: true,
            baggage: true
        }
    );
    assert_eq!(settings.traces, otlp);
    assert_eq!(settings.metrics, otlp);
    assert_eq!(settings.logs, otlp);
    assert_eq!(format!("{:?}", settings.sampler), "ParentBased(AlwaysOn)");
    assert_eq!(settings.span_queue, 16_384);
    assert_eq!(settings.log_format, LogFormat::Pretty);
    assert_eq!(settings.log_filter, "info");
    assert!(settings.colour);
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    assert_defaults(&read(&[]).unwrap());
}

#[test]
fn an_empty_or_blank_variable_counts_as_unset() {
    for blank in ["", "  "] {
        let mut variables: Vec<(&str, &str)> = ALL.iter().map(|name| (*name, blank)).collect();
        variables.push(("NO_COLOR", blank));
        assert_defaults(&read(&variables).unwrap());
    }
}

#[test]
fn good_values_are_taken() {
    let settings = read(&[
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_PROPAGATORS", "baggage"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://ann:pw@collector:4317",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Basic abc%3D,x=y",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
        ("LOG_FORMAT", "JSON"),
        ("RUST_LOG", "warn,payments=debug"),
        ("NO_COLOR", "1"),
    ])
    .unwrap();
    assert!(settings.disabled);
    assert_eq!(
        settings.propagators,
        Propagators {
            trace_context: false,
            baggage: true
        }
    );
    assert_eq!(settings.traces, Exporter::Console);
    assert_eq!(settings.metrics, Exporter::None);
    let logs = Exporter::Otlp {
        protocol: Protocol::Grpc,
        endpoint: "http://REDACTED:REDACTED@collector:4317/".to_owned(),
        tls: None,
    };
    assert_eq!(settings.logs, logs);
    assert_eq!(settings.span_queue, 64);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.log_filter, "warn,payments=debug");
    assert!(!settings.colour);
}

#[test]
fn propagators() {
    let cases = [
        ("none", (false, false)),
        ("NONE", (false, false)),
        ("tracecontext", (true, false)),
        ("baggage , tracecontext", (true, true)),
        ("tracecontext,tracecontext", (true, false)),
    ];
    for (value, (trace_context, baggage)) in cases {
        let settings = read(&[("OTEL_PROPAGATORS", value)]).unwrap();
        let expected = Propagators {
            trace_context,
            baggage,
        };
        assert_eq!(settings.propagators, expected, "{value}");
    }
}

#[test]
fn samplers() {
    let cases = [
        ("always_on", "", "AlwaysOn"),
        ("always_off", "", "AlwaysOff"),
        ("traceidratio", "0.25", "TraceIdRatioBased(0.25)"),
        ("traceidratio", "", "TraceIdRatioBased(1.0)"),
        ("parentbased_always_on", "", "ParentBased(AlwaysOn)"),
        ("parentbased_always_off", "", "ParentBased(AlwaysOff)"),
        (
            "parentbased_traceidratio",
            "0",
            "ParentBased(TraceIdRatioBased(0.0))",
        ),
    ];
    for (sampler, argument, expected) in cases {
        let settings = read(&[
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
        .unwrap();
        assert_eq!(format!("{:?}", settings.sampler), expected);
    }
}

#[test]
fn each_bad_value_is_named_with_what_would_be_right() {
    let exporters = "known are otlp, console, none";
    let protocols = "known are http/protobuf, grpc";
    let number = "is not a whole number from 1 to 4294967295";
    let cases = [
        (
            "OTEL_SDK_DISABLED",
            "yes",
            "`yes` is not known; known are true, false".to_owned(),
        ),
        (
            "OTEL_PROPAGATORS",
            "b3",
            "`b3` is not known; known are tracecontext, baggage, none".to_owned(),
        ),
        (
            "OTEL_PROPAGATORS",
            "baggage,none",
            "`none` cannot stand beside others in `baggage,none`".to_owned(),
        ),
        (
            "OTEL_PROPAGATORS",
            "baggage,",
            "`` is not known; known are tracecontext, baggage, none".to_owned(),
        ),
        (
            "OTEL_TRACES_EXPORTER",
            "jaeger",
            format!("`jaeger` is not known; {exporters}"),
        ),
        (
            "OTEL_METRICS_EXPORTER",
            "prometheus",
            format!("`prometheus` is not known; {exporters}"),
        ),
        (
            "OTEL_LOGS_EXPORTER",
            "otlp,console",
            "`otlp,console` is a list; name one of otlp, console, none".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/json",
            format!("`http/json` is not known; {protocols}"),
        ),
        (
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            "localhost:4318",
            "not a URL of the form http://host:port or https://host:port".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "collector",
            "not a URL of the form http://host:port or https://host:port".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            format!("`10s` {number}"),
        ),
        (
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
            "0",
            format!("`0` {number}"),
        ),
        (
            "OTEL_EXPORTER_OTLP_INSECURE",
            "1",
            "`1` is not known; known are true, false".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "zstd",
            "`zstd` is not known; known are gzip, none".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Bearer secret",
            "not of the form key=value,key=value".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "a=b,=c",
            "not of the form key=value,key=value".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "x",
            "`x` is not known; known are cumulative, delta, lowmemory".to_owned(),
        ),
        (
            "OTEL_TRACES_SAMPLER",
            "sometimes",
            "`sometimes` is not known; known are always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
                .to_owned(),
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", format!("`0` {number}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", format!("`-1` {number}")),
        ("OTEL_BSP_SCHEDULE_DELAY", " 1", format!("` 1` {number}")),
        (
            "OTEL_BLRP_MAX_QUEUE_SIZE",
            "4294967296",
            format!("`4294967296` {number}"),
        ),
        (
            "OTEL_METRIC_EXPORT_INTERVAL",
            "1.5",
            format!("`1.5` {number}"),
        ),
        (
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            "many",
            "`many` is not a whole number from 0 to 4294967295".to_owned(),
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=1,b",
            "`b` is not of the form key=value".to_owned(),
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=%FF",
            "`a=%FF` has no key, or does not decode to UTF-8".to_owned(),
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "=1",
            "`=1` has no key, or does not decode to UTF-8".to_owned(),
        ),
        (
            "LOG_FORMAT",
            "logfmt",
            "`logfmt` is not known; known are pretty, json".to_owned(),
        ),
        (
            "RUST_LOG",
            "a=loud",
            "`a=loud`: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5".to_owned(),
        ),
    ];
    for (variable, value, problem) in cases {
        assert_eq!(
            problems(&[(variable, value)]),
            [format!("{variable}: {problem}")]
        );
    }
}

#[test]
fn a_bad_ratio_is_named() {
    for value in ["2", "-0.1", "NaN", "half"] {
        let problems = problems(&[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", value),
        ]);
        let expected = format!("OTEL_TRACES_SAMPLER_ARG: `{value}` is not a number from 0 to 1");
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn all_bad_values_are_named_at_once() {
    let variables: Vec<String> = read(&[
        ("RUST_LOG", "a=loud"),
        ("OTEL_PROPAGATORS", "b3,jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp"),
    ])
    .unwrap_err()
    .into_iter()
    .map(|error| error.variable)
    .collect();
    // The protocol is asked for once for each signal.
    let mut distinct = variables.clone();
    distinct.dedup();
    assert_eq!(
        distinct,
        [
            "OTEL_PROPAGATORS",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "RUST_LOG"
        ]
    );
}

fn resource(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    read(variables)
        .unwrap()
        .resource
        .iter()
        .filter(|attribute| attribute.key.as_str() != "service.instance.id")
        .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
        .collect()
}

#[test]
fn the_environment_overrides_the_resource_and_its_own_list() {
    let expected = |name: &str, environment: &str| {
        vec![
            ("service.name".to_owned(), name.to_owned()),
            ("service.version".to_owned(), "1.2.3".to_owned()),
            (
                "deployment.environment.name".to_owned(),
                environment.to_owned(),
            ),
        ]
    };
    assert_eq!(resource(&[]), expected("orders-api", "development"));

    let listed = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=listed, deployment.environment.name=staging,team=a%2Cb%3D%20c,",
    );
    let team = ("team".to_owned(), "a,b= c".to_owned());
    let mut with_team = expected("listed", "staging");
    with_team.push(team.clone());
    assert_eq!(resource(&[listed]), with_team);

    let mut named = expected("named", "staging");
    named.push(team);
    assert_eq!(resource(&[listed, ("OTEL_SERVICE_NAME", "named")]), named);
}

#[test]
fn each_process_has_an_instance_id_of_its_own() {
    let id = || resource::text(&read(&[]).unwrap().resource, "service.instance.id").unwrap();
    let (one, other) = (id(), id());
    assert_ne!(one, other);
    assert!(uuid::Uuid::parse_str(&one).is_ok());
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_is_refused_by_a_build_without_tls() {
    assert_eq!(
        problems(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://h:4318")]),
        [
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: https needs TLS, which this program was built \
             without: build it with --features tls, or send to a collector over http"
        ]
    );
}

#[cfg(feature = "tls")]
#[test]
fn https_takes_its_files_and_timeout_from_the_signal_or_from_all_and_hides_credentials() {
    let settings = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hunter2@h:4318"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://h:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "traces.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "client.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client.key"),
    ])
    .unwrap();
    let pem = |variable: &str, file: &str| PemFile {
        variable: format!("OTEL_EXPORTER_OTLP_{variable}"),
        file: file.to_owned(),
    };
    let otlp = |authorities| Exporter::Otlp {
        protocol: Protocol::HttpProtobuf,
        endpoint: "https://REDACTED:REDACTED@h:4318/".to_owned(),
        tls: Some(Box::new(Tls {
            endpoint: "https://user:hunter2@h:4318".to_owned(),
            timeout: Duration::from_secs(3),
            authorities: Some(authorities),
            client: Some((
                pem("CLIENT_CERTIFICATE", "client.pem"),
                pem("CLIENT_KEY", "client.key"),
            )),
        })),
    };
    assert_eq!(
        settings.traces,
        otlp(pem("TRACES_CERTIFICATE", "traces.pem"))
    );
    assert_eq!(settings.metrics, otlp(pem("CERTIFICATE", "ca.pem")));
    assert!(matches!(settings.logs, Exporter::Otlp { tls: None, .. }));
    assert!(!format!("{settings:?}").contains("hunter2"));

    assert_eq!(
        problems(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://h"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client.key"),
        ]),
        ["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: is needed with OTEL_EXPORTER_OTLP_CLIENT_KEY"]
    );
}
