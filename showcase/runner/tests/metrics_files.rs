//! The files of the profile `metrics` agree with each other and with the pages. Quick, and without
//! Prometheus: `.ci/full metrics` asks the real one.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands behind `key: ` in the lines of `text`.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let key = format!("{key}: ");
    text.lines()
        .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(&key))
        .collect()
}

#[test]
fn every_alert_says_what_to_do_and_has_its_section() {
    let rules = read("deploy/alerts.yaml");
    let page = read("docs/operations.md");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert_eq!(alerts.len(), 7);
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for key in ["severity", "summary", "description", "action"] {
            assert_eq!(values(alert, key).len(), 1, "{key} of {name}");
        }
        let anchor = name.to_lowercase();
        assert_eq!(
            values(alert, "runbook"),
            [format!("docs/operations.md#{anchor}")]
        );
        assert!(page.contains(&format!("\n### {name}\n")), "{name}");
    }
}

#[test]
fn a_recorded_metric_is_used_and_a_used_one_is_recorded() {
    let rules = read("deploy/alerts.yaml");
    let dashboard = read("deploy/grafana/dashboards/pipeline.json");
    let recorded: BTreeSet<&str> = values(&rules, "record").into_iter().collect();
    let expressions: String = rules
        .lines()
        .filter(|line| !line.contains("record: "))
        .collect();
    let text = expressions + &dashboard;
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let used: BTreeSet<&str> = text
        .match_indices("throughline:")
        .filter_map(|(start, _)| text[start..].split(|letter| !is_of_name(letter)).next())
        .collect();
    assert_eq!(used, recorded);
}

#[test]
fn grafana_and_prometheus_are_told_where_the_others_are() {
    let compose = read("docker-compose.yml");
    let sources = read("deploy/grafana/datasources/datasources.yaml");
    for (variable, address) in [
        ("PROMETHEUS_URL", "http://prometheus:9090"),
        ("JAEGER_URL", "http://jaeger:16686"),
        ("VIEWER_PAGE", "http://localhost:${VIEWER_PORT:-8010}"),
    ] {
        assert_eq!(values(&compose, variable), [address]);
        assert!(sources.contains(&format!("${{{variable}}}")), "{variable}");
    }
    let prometheus = read("deploy/prometheus.yaml");
    let collector = read("deploy/collector.yaml");
    for port in ["8888", "8889"] {
        assert!(prometheus.contains(&format!("[\"otel-collector:{port}\"]")));
        assert!(
            collector.contains(&format!(":-0.0.0.0:{port}}}"))
                || collector.contains(&format!(":-{port}}}"))
        );
    }
    assert_eq!(
        values(&sources, "timeInterval"),
        values(&prometheus, "scrape_interval")
    );
}

#[test]
fn every_panel_asks_the_provisioned_source() {
    let dashboard = read("deploy/grafana/dashboards/pipeline.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let sources = read("deploy/grafana/datasources/datasources.yaml");
    let known = values(&sources, "uid");
    assert_eq!(known, ["prometheus", "jaeger"]);
    assert_eq!(values(&sources, "datasourceUid"), ["jaeger"]);
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "an id of its own for each");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "prometheus", "{target}");
            assert_eq!(target["datasource"]["type"], "prometheus", "{target}");
        }
    }
}
