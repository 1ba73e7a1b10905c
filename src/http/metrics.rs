//! `GET /metrics`: the counters, and what is up, for Prometheus.
//!
//! Written by hand: the text format is three lines a metric, and the counters already have their
//! names and help in one table.

use std::fmt::{self, Write};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::error::{ApiError, ErrorAnswer};
use crate::engine::Health;
use crate::metrics::Metrics;
use crate::routing::ShardId;

/// The version of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// Counters and states in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 500, description = "A fault of the proxy", body = ErrorAnswer),
    )
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let mut text = String::new();
    write_all(&mut text, api.engine.metrics(), &api.engine.health())
        .map_err(|_| ApiError::internal("the metrics could not be written"))?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

fn write_all(text: &mut String, metrics: &Metrics, health: &Health) -> fmt::Result {
    for (name, help, value) in metrics.table() {
        let name = format!("respgres_{name}_total");
        head(text, &name, help, "counter")?;
        writeln!(text, "{name} {value}")?;
    }
    head(
        text,
        "respgres_shard_up",
        "Whether the shard can be reached",
        "gauge",
    )?;
    for (shard, state) in (0..).map(ShardId::new).zip(&health.shards) {
        writeln!(
            text,
            "respgres_shard_up{{shard=\"{shard}\"}} {}",
            u8::from(state.is_ok())
        )?;
    }
    head(
        text,
        "respgres_cache_up",
        "Whether the cache is used",
        "gauge",
    )?;
    writeln!(
        text,
        "respgres_cache_up {}",
        u8::from(health.cache_available)
    )
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_states_are_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.cache_hits.add(5);
        let health = Health {
            shards: vec![Ok(()), Err("gone".to_owned())],
            cache_available: false,
        };
        let mut text = String::new();
        write_all(&mut text, &metrics, &health).unwrap();
        for block in [
            "# HELP respgres_cache_hits_total Keys answered from the cache\n\
             # TYPE respgres_cache_hits_total counter\n\
             respgres_cache_hits_total 5\n",
            "# TYPE respgres_shard_up gauge\n\
             respgres_shard_up{shard=\"shard_0\"} 1\n\
             respgres_shard_up{shard=\"shard_1\"} 0\n",
            "# TYPE respgres_cache_up gauge\n\
             respgres_cache_up 0\n",
        ] {
            assert!(text.contains(block), "{block}\nis not in\n{text}");
        }
    }

    /// Help texts are written as they are, which holds as long as none needs escaping.
    #[test]
    fn no_help_text_needs_escaping() {
        for (name, help, _) in Metrics::default().table() {
            assert!(!help.contains(['\\', '\n']), "{name}");
        }
    }
}
