//! The side port: the same data as JSON, and what people and monitors want to know of the proxy.
//!
//! One file an endpoint group: `data` writes and reads, `health`, `probes` for orchestrators, `stats`, `metrics`
//! for Prometheus (in its text format, `exposition`), `page` for people who watch, `docs` for OpenAPI. `body` and `text` are the two
//! ends of JSON: what comes in, and how bytes go out. `access` has who may come in. `serve` has the connections, with a limit for
//! each wait; `anteroom` those that are too many. Every failure becomes an answer in `error`.

mod access;
mod anteroom;
mod body;
mod data;
mod docs;
mod error;
mod exposition;
mod health;
mod metrics;
mod page;
mod patience;
mod probes;
mod serve;
mod stats;
mod text;
mod write_request;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use serde::ser::{Serialize, Serializer};

use crate::engine::Engine;
use crate::routing::ShardId;

pub use access::Token;
use error::ApiError;
use page::{Live, Page};

pub use page::Facts;
pub use serve::serve;

/// The largest key and value that a write may carry, in bytes after decoding. The same as on the
/// RESP port, so that what one port takes, the other takes too.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a value.
    pub max_value_size: usize,
    /// Bytes of a key.
    pub max_key_size: usize,
}

impl Limits {
    /// Bytes of a whole `/write` body: base64 takes 4/3 of a key or value and the usual JSON
    /// escapes twice its size; the rest is names and braces. (A value of control characters, six
    /// bytes each in JSON, does not fit unless it is sent as base64.)
    fn max_body_size(&self) -> usize {
        const NAMES_AND_BRACES: usize = 64 * 1024;
        self.max_value_size
            .saturating_add(self.max_key_size)
            .saturating_mul(2)
            .saturating_add(NAMES_AND_BRACES)
    }
}

/// What every handler gets.
#[derive(Clone)]
struct Api {
    engine: Arc<Engine>,
    limits: Limits,
    token: Arc<Token>,
    page: Arc<Page>,
    live: Arc<Live>,
}

/// All paths of the side port.
fn router(engine: Arc<Engine>, limits: Limits, token: Arc<Token>, live: Arc<Live>) -> Router {
    let api = Api {
        engine,
        limits,
        token,
        page: Arc::new(Page::new()),
        live,
    };
    Router::new()
        .route("/", get(page::page))
        .route("/events", get(page::events))
        .route("/write", post(data::write))
        // Two routes, since a wildcard does not match the empty key.
        .route("/read/", get(data::read))
        .route("/read/{*key}", get(data::read))
        .route("/health", get(health::health))
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .route("/stats", get(stats::stats))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::asset))
        .fallback(async || ApiError::no_such_path())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(api.clone(), access::check))
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .with_state(api)
}

/// Counts the requests that were answered, whatever the answer.
async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.engine.metrics().http_requests.add(1);
    response
}

/// One entry a shard as a JSON object, in the order of the shards: `{"shard_0": …, "shard_1": …}`.
/// (A sorted map would put shard_10 before shard_2.)
struct ByShard<T>(Vec<(ShardId, T)>);

impl<T> ByShard<T> {
    /// Entry `n` belongs to shard `n`.
    fn new(entries: impl IntoIterator<Item = T>) -> Self {
        Self((0..).map(ShardId::new).zip(entries).collect())
    }
}

impl<T: Serialize> Serialize for ByShard<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(shard, entry)| (shard.to_string(), entry)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_listed_in_their_own_order() {
        let json = serde_json::to_string(&ByShard::new(0..12)).unwrap();
        assert!(
            json.starts_with(r#"{"shard_0":0,"shard_1":1,"shard_2":2,"#),
            "{json}"
        );
        assert!(json.ends_with(r#""shard_10":10,"shard_11":11}"#), "{json}");
    }

    #[test]
    fn the_body_limit_of_the_largest_value_does_not_overflow() {
        let limits = Limits {
            max_value_size: usize::MAX,
            max_key_size: 1,
        };
        assert_eq!(limits.max_body_size(), usize::MAX);
    }
}
