//! The page: its files, as they lie in `page/`, and the headers that keep whatever a trace holds
//! from ever being run.
//!
//! Only serving. The page reads `live`, and the address decides what it shows.

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $content_type:expr,)*) => {
        /// Name, content type, content.
        const FILES: &[(&str, &str, &str)] = &[
            $(($name, $content_type, include_str!(concat!("../page/", $name))),)*
        ];
    };
}

files! {
    "page.css": STYLE,
    "icon.svg": IMAGE,
    "main.js": SCRIPT,
    "element.js": SCRIPT,
    "display.js": SCRIPT,
    "colour.js": SCRIPT,
    "live.js": SCRIPT,
    "list.js": SCRIPT,
    "trace.js": SCRIPT,
    "critical-path.js": SCRIPT,
    "timeline.js": SCRIPT,
    "waterfall.js": SCRIPT,
    "panel.js": SCRIPT,
    "topology.js": SCRIPT,
    "queue-wait.js": SCRIPT,
    "controls.js": SCRIPT,
}

/// The page under all of its addresses, and its files under `/page/`. It may talk to its own
/// server and, where there is one, to `control_url`.
pub(crate) fn router(control_url: Option<&str>) -> Router {
    let policy = policy(control_url);
    Router::new()
        .route("/", get(index))
        .route("/traces/{trace_id}", get(index))
        .route("/topology", get(index))
        .route("/queue-wait", get(index))
        .route("/page/{name}", get(file))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let policy = policy.clone();
            async move {
                let mut response = next.run(request).await;
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_SECURITY_POLICY, policy);
                for (name, value) in [
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (header::REFERRER_POLICY, "no-referrer"),
                    // The next build's page must not meet this build's scripts.
                    (header::CACHE_CONTROL, "no-cache"),
                ] {
                    headers.insert(name, HeaderValue::from_static(value));
                }
                response
            }
        }))
}

fn policy(control_url: Option<&str>) -> HeaderValue {
    let rest = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                require-trusted-types-for 'script'; trusted-types 'none'; connect-src 'self'";
    let whole = match control_url {
        Some(url) => format!("{rest} {url}"),
        None => rest.to_owned(),
    };
    HeaderValue::from_str(&whole).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

async fn index() -> Response {
    let html = include_str!("../page/index.html");
    ([(header::CONTENT_TYPE, HTML)], html).into_response()
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, _, _)| *file == name) {
        Some((_, content_type, content)) => {
            ([(header::CONTENT_TYPE, *content_type)], *content).into_response()
        }
        None => (StatusCode::NOT_FOUND, "the page has no such file\n").into_response(),
    }
}
