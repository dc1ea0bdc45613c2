//! A real Prometheus with the very files under `deploy/`, and what tests ask it.
//!
//! Its configuration knows no variables, so the two addresses and the two intervals are put in their
//! place in a copy; each must be there to be replaced.

use crate::pipeline::{LIMIT, client};
use crate::programs::{Collector, Program, deployed, executable, free_port, loopback, path};
use reqwest::Url;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(250);

/// The labels of a series or of an alert.
pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) struct Prometheus {
    _program: Program,
    url: String,
}

impl Prometheus {
    /// Starts one that scrapes `collector` every second.
    pub(crate) async fn start(collector: &Collector) -> Prometheus {
        let folder = TempDir::new().expect("a folder");
        let mut configuration = read("prometheus.yaml");
        for (from, to) in [
            ("otel-collector:8889", loopback(collector.prometheus)),
            ("otel-collector:8888", loopback(collector.telemetry)),
            ("scrape_interval: 10s", "scrape_interval: 1s".to_owned()),
            (
                "evaluation_interval: 10s",
                "evaluation_interval: 1s".to_owned(),
            ),
        ] {
            assert_eq!(configuration.matches(from).count(), 1, "{from}");
            configuration = configuration.replace(from, &to);
        }
        std::fs::write(folder.path().join("prometheus.yaml"), configuration).expect("a file");
        std::fs::copy(deployed("alerts.yaml"), folder.path().join("alerts.yaml")).expect("a copy");
        let listen = loopback(free_port());
        let url = format!("http://{listen}");
        let mut program = Program {
            executable: executable("THROUGHLINE_PROMETHEUS"),
            arguments: vec![
                format!("--config.file={}", path(&folder, "prometheus.yaml")),
                format!("--storage.tsdb.path={}", path(&folder, "data")),
                format!("--web.listen-address={listen}"),
                "--enable-feature=exemplar-storage".to_owned(),
            ],
            environment: HashMap::new(),
            health: format!("{url}/-/ready"),
            folder,
            process: None,
        };
        program.start().await;
        Prometheus {
            _program: program,
            url,
        }
    }

    /// What `query` evaluates to now: labels and value of each series.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let answer = self.ask("query", &[("query", query)]).await;
        let result = answer["result"].as_array().expect("a vector");
        let sample = |sample: &Json| {
            let value = sample["value"][1].as_str().expect("a value");
            (labels(&sample["metric"]), value.parse().expect("a number"))
        };
        result.iter().map(sample).collect()
    }

    /// Every series that there is.
    pub(crate) async fn series(&self) -> Vec<Labels> {
        let answer = self
            .ask("series", &[("match[]", "{__name__=~\".+\"}")])
            .await;
        answer
            .as_array()
            .expect("a list")
            .iter()
            .map(labels)
            .collect()
    }

    /// The traces that exemplars of `query` name, within the last quarter of an hour.
    pub(crate) async fn exemplars(&self, query: &str) -> BTreeSet<String> {
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
        let (start, end) = ((now - 900).to_string(), now.to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end)];
        let answer = self.ask("query_exemplars", &parameters).await;
        let exemplars = answer.as_array().expect("a list").iter();
        exemplars
            .flat_map(|series| series["exemplars"].as_array().expect("a list"))
            .filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// The names of all alerting rules, each of which must be in good health.
    pub(crate) async fn alerting_rules(&self) -> BTreeSet<String> {
        let answer = self.ask("rules", &[]).await;
        let groups = answer["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
        let mut names = BTreeSet::new();
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            if rule["type"] == "alerting" {
                names.insert(rule["name"].as_str().expect("a name").to_owned());
            }
        }
        names
    }

    /// The labels of the alerts whose expression has a result now: pending or firing.
    pub(crate) async fn alerts(&self) -> Vec<Labels> {
        let answer = self.ask("alerts", &[]).await;
        let alerts = answer["alerts"].as_array().expect("a list").iter();
        alerts.map(|alert| labels(&alert["labels"])).collect()
    }

    /// Waits for an alert with these labels.
    pub(crate) async fn alerted(&self, expected: &[(&str, &str)]) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let alerts = self.alerts().await;
            let is_expected = |alert: &Labels| {
                let mut expected = expected.iter();
                expected.all(|(key, value)| alert.get(*key).is_some_and(|it| it == value))
            };
            if alerts.iter().any(is_expected) {
                return;
            }
            assert!(Instant::now() < deadline, "no {expected:?} in {alerts:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Json {
        let url = format!("{}/api/v1/{what}", self.url);
        let url = Url::parse_with_params(&url, parameters).expect("a URL");
        let answer = client().get(url).send().await.expect("Prometheus answers");
        let mut answer: Json = answer.json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }
}

/// A file under `deploy/`.
pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(deployed(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn labels(json: &Json) -> Labels {
    let labels = json.as_object().expect("labels").iter();
    labels
        .map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned()))
        .collect()
}
