//! What must appear nowhere.

use crate::servers::{certificate, database_url, password};

/// The token that the collector wants.
pub(crate) const TOKEN: &str = "tk-5e0c7d9a41";
/// The password of somebody who has another.
pub(crate) const WRONG: &str = "hunter2-and-a-half";

fn all() -> Vec<String> {
    let database = reqwest::Url::parse(&database_url()).expect("a URL");
    let key_password = std::fs::read_to_string(certificate("client.password"));
    vec![
        TOKEN.to_owned(),
        WRONG.to_owned(),
        password("app"),
        password("admin"),
        database.password().expect("it has one").to_owned(),
        key_password.expect("a file").trim_end().to_owned(),
    ]
}

/// Fails if `bytes` hold any secret of these tests.
pub(crate) fn assert_free(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in all() {
        assert!(secret.len() > 8, "too short to be found by chance");
        assert!(!text.contains(&secret), "{what} holds {secret}:\n{text}");
    }
}
