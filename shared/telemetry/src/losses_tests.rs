//! What is counted, and when it is said.

use super::*;
use crate::log_format::LogFormat;
use crate::log_format::tests::lines;

fn failure() -> OTelSdkResult {
    Err(OTelSdkError::InternalFailure("no route".to_owned()))
}

fn messages(work: impl FnOnce()) -> Vec<String> {
    let lines = lines(LogFormat::Json, false, None, work);
    let messages = lines.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!(
            "{} {}",
            line["level"].as_str().unwrap(),
            line["message"].as_str().unwrap()
        )
    });
    messages.collect()
}

#[test]
fn an_account_knows_what_was_refused_and_what_was_never_sent() {
    let account = Account::new("spans", &Exporter::Console);
    for _ in 0..10 {
        account.accept();
    }
    messages(|| {
        account.settle(4, &Ok(()));
        account.settle(3, &failure());
    });
    let loss = account.loss();
    assert_eq!(
        loss,
        Loss {
            accepted: 10,
            refused: 3,
            unsent: 3
        }
    );
    assert_eq!(loss.total(), 6);
}

#[test]
fn a_failure_is_said_once_and_so_is_the_recovery() {
    let otlp = Exporter::Otlp {
        protocol: crate::settings::Protocol::Grpc,
        endpoint: "http://h:4317/".to_owned(),
        tls: None,
    };
    let said = messages(|| {
        let account = Account::new("spans", &otlp);
        account.settle(1, &Ok(()));
        for _ in 0..3 {
            account.settle(2, &failure());
        }
        account.settle(1, &Ok(()));
        account.settle(1, &Ok(()));
        account.settle(5, &failure());
    });
    assert_eq!(
        said,
        [
            "WARN cannot export spans to http://h:4317/: Operation failed: no route; 2 lost so far (said at most every 30 s)",
            "INFO exporting spans works again; 6 were lost",
            "WARN cannot export spans to http://h:4317/: Operation failed: no route; 11 lost so far (said at most every 30 s)",
        ]
    );
}

#[test]
fn a_report_is_one_line() {
    let loss = Loss {
        accepted: 9,
        refused: 2,
        unsent: 1,
    };
    let clean = Loss {
        accepted: 9,
        ..Loss::default()
    };
    let cases = [
        (
            ShutdownReport {
                spans: clean,
                ..Default::default()
            },
            "no telemetry lost",
        ),
        (
            ShutdownReport {
                spans: loss,
                log_records: clean,
                ..Default::default()
            },
            "telemetry lost: 3 of 9 spans (2 in failed exports, 1 never sent)",
        ),
        (
            ShutdownReport {
                log_records: loss,
                metrics_lost: true,
                timed_out: true,
                ..Default::default()
            },
            "telemetry lost: 3 of 9 log records (2 in failed exports, 1 never sent), the last metrics; the final flush ran out of time",
        ),
        (
            ShutdownReport {
                timed_out: true,
                ..Default::default()
            },
            "telemetry lost: nothing that is known of; the final flush ran out of time",
        ),
    ];
    for (report, expected) in cases {
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.is_clean(), expected == "no telemetry lost");
    }
}
