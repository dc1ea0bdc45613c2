//! What the README shows is what happens.

use crate::world::{World, assert_trace, client};
use service::{Environment, Service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced block that follows `<!-- MARKER -->`.
fn block(text: &str, marker: &str) -> String {
    let (_, after) = text
        .split_once(&format!("<!-- {marker} -->"))
        .unwrap_or_else(|| panic!("no marker {marker}"));
    let body = after.split_once("```").expect("a fence").1;
    let body = body.split_once('\n').expect("a line").1;
    body.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn the_tree_is_the_one_that_tests_compare() {
    let expected = read("showcase/runner/traces/joined.txt");
    assert_eq!(
        block(&read("README.md"), "trace: joined").trim_end(),
        trace_tree::outline(&expected).trim_end()
    );
}

#[test]
fn the_test_command_is_cargo_test() {
    assert_eq!(block(&read("README.md"), "test-command"), "cargo test\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_is_accepted_and_joins() {
    let command = block(&read("README.md"), "curl");
    let url = "http://127.0.0.1:8000";
    assert!(command.starts_with(&format!(
        "curl -i {url}/orders -H 'Content-Type: application/json'"
    )));
    let body = command.split_once("-d '").expect("a body").1;
    let body = body.rsplit_once('\'').expect("its end").0.to_owned();
    let world = World::shared().await;
    let answer = client()
        .post(format!("{}/orders", world.stack.orders_api()))
        .header("Content-Type", "application/json")
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    let trace_id = answer["trace_id"].as_str().expect("a trace id");
    assert_trace("joined", &world.whole_trace(trace_id).await);
}

/// Name to services, as the code declares them.
fn declared() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut variables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    collect::<orders_api::OrdersApi>(&mut variables);
    collect::<order_processor::OrderProcessor>(&mut variables);
    collect::<payments::Payments>(&mut variables);
    variables
}

fn collect<S: Service>(into: &mut BTreeMap<&'static str, Vec<&'static str>>) {
    let mut environment = Environment::from_fn(|_| None);
    S::configure(&mut environment);
    for variable in environment.variables() {
        into.entry(variable.name).or_default().push(S::NAME);
    }
}

#[test]
fn the_table_of_settings_is_complete_and_holds_nothing_else() {
    let readme = read("README.md");
    let table = readme
        .split_once("| variable | services | default | meaning |")
        .expect("the table")
        .1;
    let table = table.split_once("\n\n").expect("its end").0;
    let documented: BTreeMap<String, String> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let name = cells.nth(1)?.strip_prefix('`')?.strip_suffix('`')?;
            Some((name.to_owned(), cells.next()?.to_owned()))
        })
        .collect();
    let expected: BTreeMap<String, String> = declared()
        .into_iter()
        .map(|(name, services)| {
            let services = match services.len() {
                3 => "all".to_owned(),
                _ => services.join(", "),
            };
            (name.to_owned(), services)
        })
        .collect();
    assert_eq!(documented, expected);
}

#[test]
fn every_link_into_the_repository_leads_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(page);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
            .filter(|target| !target.contains("://") && !target.starts_with('#'));
        for link in links {
            let path = link.split('#').next().unwrap_or(link);
            assert!(root().join(path).exists(), "{page} links {link}");
        }
    }
}
