//! The page's files, and the headers that keep what a trace holds from being run.

use reqwest::StatusCode;
use viewer::Viewer;

use crate::running::{Running, free_ports};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'; connect-src 'self'";

#[tokio::test]
async fn every_address_of_the_page_is_the_page_under_a_strict_policy() {
    let viewer = Running::start().await;
    for path in [
        "/",
        "/traces/a0000000000000000000000000000001",
        "/topology",
        "/queue-wait",
    ] {
        let url = format!("http://{}{path}", viewer.query);
        let response = viewer.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()["content-type"],
            "text/html; charset=utf-8"
        );
        assert_eq!(response.headers()["content-security-policy"], POLICY);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        let html = response.text().await.unwrap();
        assert!(html.contains("<title>Throughline</title>"));
        assert!(
            !html.contains("style=") && !html.contains("<script>"),
            "nothing inline"
        );
    }
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served() {
    let viewer = Running::start().await;
    let mut open = vec!["/".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        if seen.contains(&path) {
            continue;
        }
        let (status, text) = viewer.get_any(&path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        for rest in text
            .split("\"/page/")
            .skip(1)
            .chain(text.split("from \"./").skip(1))
        {
            let name = rest.split('"').next().unwrap();
            open.push(format!("/page/{name}"));
        }
        seen.push(path);
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
    // `index.html` is `/`.
    assert_eq!(seen.len(), files.count(), "{seen:?}");
    assert_eq!(
        viewer.get_any("/page/../Cargo.toml").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        viewer.get_any("/page/none.js").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_controls_address_is_told_and_let_through_by_the_policy() {
    let mut config = free_ports(1024);
    config.control_url = Some("http://127.0.0.1:8012".to_owned());
    let viewer = Viewer::bind(config).await.unwrap();
    let base = format!("http://{}", viewer.listen_addr());
    tokio::spawn(viewer.serve(std::future::pending()));
    let response = reqwest::get(&base).await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert_eq!(policy, format!("{POLICY} http://127.0.0.1:8012"));
    let config = reqwest::get(format!("{base}/api/live/config"))
        .await
        .unwrap();
    let config: serde_json::Value = config.json().await.unwrap();
    assert_eq!(config["controlUrl"], "http://127.0.0.1:8012");

    let alone = Running::start().await;
    let (_, config) = alone.get("/api/live/config").await;
    assert!(config["controlUrl"].is_null());
}
