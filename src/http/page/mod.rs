//! `GET /`: the page for those who run it. It is one document, and loads nothing but [`live`] events.
//!
//! Its addresses are relative, so that it also works below a path of a reverse proxy. Its policy lets
//! the browser run what is in the document and nothing else, whatever comes with the data.

mod lists;
pub(super) mod live;
mod sample;
mod snapshot;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::Api;
use crate::config::InForce;

pub(super) use live::{Live, events};

/// What the page shows of how the proxy was set up.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where each shard is, without passwords.
    pub shards: Vec<String>,
    /// What the cache is, likewise.
    pub cache: String,
    /// All settings.
    pub configuration: watch::Receiver<Arc<[InForce]>>,
}

const STYLE: &str = include_str!("style.css");

const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("format.js"),
    include_str!("dom.js"),
    include_str!("chart.js"),
    include_str!("panels.js"),
    include_str!("page.js"),
);

/// The document, and what the browser may do with it.
#[derive(Debug)]
pub(super) struct Page {
    html: String,
    policy: String,
}

impl Page {
    pub(super) fn new() -> Self {
        let html = include_str!("page.html")
            .replacen("/*style*/", STYLE, 1)
            .replacen("/*script*/", SCRIPT, 1);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self { html, policy }
    }
}

/// What stands for an inline script or style in the policy.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// The page for people.
#[utoipa::path(
    get,
    path = "/",
    tag = "operations",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn page(State(api): State<Api>) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, api.page.policy.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(api.page.html.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole_and_names_no_other_host() {
        let page = Page::new();
        assert!(page.html.contains(SCRIPT) && page.html.contains(STYLE));
        assert_eq!(page.html.matches("<script").count(), 1);
        assert_eq!(page.html.matches("<style").count(), 1);
        for outside in ["http://", "https://", "@import", "src=", "url("] {
            let known = page.html.replace("http://www.w3.org/2000/svg", "");
            assert!(!known.contains(outside), "{outside}");
        }
    }

    /// An element would be made of what a client sent.
    #[test]
    fn the_script_makes_no_markup_of_text() {
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
    }
}
