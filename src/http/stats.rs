//! `GET /stats`: figures for people.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, ByShard};
use crate::engine::Stats;

/// The figures since the proxy started, and those of now.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsAnswer {
    cache_available: bool,
    /// Keys answered from the cache.
    cache_hits: u64,
    /// Keys that the cache did not know: those who wait for the same read of a shard count each.
    cache_misses: u64,
    /// Keys that the cache holds.
    cache_keys: u64,
    /// Percent of the reads that the cache answered, with one decimal.
    #[schema(example = 93.5)]
    cache_hit_rate: f64,
    num_shards: u16,
    /// Open connections to each shard.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"shard_0": 2, "shard_1": 2}))]
    shard_pool_sizes: ByShard<usize>,
    /// Rows on each shard, estimated where a database is large; null while a shard is down.
    #[schema(value_type = BTreeMap<String, Option<u64>>, example = json!({"shard_0": 1204, "shard_1": 1187}))]
    shard_distribution: ByShard<Option<u64>>,
}

impl StatsAnswer {
    fn new(stats: Stats, num_shards: u16) -> Self {
        Self {
            cache_available: stats.cache_available,
            cache_hits: stats.cache_hits,
            cache_misses: stats.cache_misses,
            cache_keys: stats.cache_keys,
            cache_hit_rate: hit_rate(stats.cache_hits, stats.cache_misses),
            num_shards,
            shard_pool_sizes: ByShard::new(stats.pool_sizes),
            shard_distribution: ByShard::new(stats.distribution),
        }
    }
}

/// In percent with one decimal; 0 before the first read.
fn hit_rate(hits: u64, misses: u64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let rate = hits as f64 / (hits as f64 + misses as f64);
    (rate * 1000.0).round() / 10.0
}

/// Figures of the cache and the shards. Cheap, also on a large database.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "operations",
    responses((status = 200, description = "The figures", body = StatsAnswer))
)]
pub(super) async fn stats(State(api): State<Api>) -> Json<StatsAnswer> {
    let stats = api.engine.stats().await;
    Json(StatsAnswer::new(stats, api.engine.num_shards()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_rate_is_a_percentage_with_one_decimal() {
        for (hits, misses, rate) in [
            (0, 0, 0.0),
            (0, 5, 0.0),
            (5, 0, 100.0),
            (1, 2, 33.3),
            (2, 1, 66.7),
            (1, 1, 50.0),
        ] {
            assert_eq!(hit_rate(hits, misses), rate, "{hits} of {}", hits + misses);
        }
        assert_eq!(hit_rate(u64::MAX, u64::MAX), 50.0);
    }

    #[test]
    fn a_shard_that_is_down_has_no_count() {
        let stats = Stats {
            cache_available: true,
            cache_hits: 3,
            cache_misses: 1,
            cache_keys: 1,
            pool_sizes: vec![2, 0],
            distribution: vec![Some(7), None],
        };
        assert_eq!(
            serde_json::to_string(&StatsAnswer::new(stats, 2)).unwrap(),
            r#"{"cache_available":true,"cache_hits":3,"cache_misses":1,"cache_keys":1,"cache_hit_rate":75.0,"num_shards":2,"shard_pool_sizes":{"shard_0":2,"shard_1":0},"shard_distribution":{"shard_0":7,"shard_1":null}}"#
        );
    }
}
