//! What the pages about the compose file show is what the tests compare with, and what its parts are
//! given. Quick, and without any of those parts: those are tested by `tests/observability`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
fn the_traces_of_the_page_are_those_of_the_tests() {
    let page = read("docs/sampling.md");
    for name in ["down", "cut_off"] {
        let expected = read(&format!("showcase/runner/traces/{name}.txt"));
        assert_eq!(
            block(&page, &format!("trace: {name}")),
            trace_tree::outline(&expected),
            "{name}"
        );
    }
}

/// The order that the page posts is the README's, which the end-to-end tests post.
#[test]
fn the_order_of_the_page_is_that_of_the_readme() {
    let body = |text: &str, marker: &str| {
        let command = block(text, marker);
        let body = command.split_once("-d '").expect("a body").1;
        body.rsplit_once('\'').expect("its end").0.to_owned()
    };
    assert_eq!(
        body(&read("docs/compose.md"), "curl: compose"),
        body(&read("README.md"), "curl")
    );
}

/// A variable that the compose file, the Collector or Jaeger is given, and that no page tells of or no
/// file reads, is a mistake in one of them.
#[test]
fn every_sampling_variable_of_the_pages_is_read() {
    let compose = read("docker-compose.yml");
    let collector = read("deploy/collector.yaml");
    let jaeger = read("deploy/jaeger.yaml");
    let pages = read("docs/compose.md") + &read("docs/sampling.md");
    for (name, reader) in [
        ("TAIL_SAMPLING_WAIT", &collector),
        ("TAIL_SAMPLING_PERCENTAGE", &collector),
        ("TAIL_SAMPLING_SLOW_MS", &collector),
        ("JAEGER_SPANS_TTL", &jaeger),
    ] {
        assert!(reader.contains(&format!("${{env:{name}:-")), "{name}");
        assert!(compose.contains(&format!("\n      {name}:\n")), "{name}");
        assert!(pages.contains(&format!("{name}=")), "{name}");
    }
    for service in ["ORDERS_API", "ORDER_PROCESSOR", "PAYMENTS"] {
        assert!(compose.contains(&format!("${{{service}_SAMPLER:-parentbased_always_on}}")));
        assert!(pages.contains(&format!("{service}_SAMPLER")));
    }
}
