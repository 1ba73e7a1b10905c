//! `GET /health`: the state of the parts, for people and load balancers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Anonymous;
use super::{Api, ByShard};
use crate::engine::Health;

/// The proxy as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Overall {
    /// Everything works.
    Healthy,
    /// It serves, without the cache or without some shards.
    Degraded,
    /// No shard can be reached.
    Unhealthy,
}

/// One of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    /// It works.
    Healthy,
    /// It can't be reached, or is not what it should be.
    Unhealthy,
}

impl Part {
    fn new(works: bool) -> Self {
        if works {
            Part::Healthy
        } else {
            Part::Unhealthy
        }
    }
}

/// The state of the proxy and its parts.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    status: Overall,
    /// Always the same: which design answers here.
    #[schema(example = "4-db-sharding")]
    layer: &'static str,
    /// One entry a shard.
    #[schema(value_type = Option<BTreeMap<String, Part>>, example = json!({"shard_0": "healthy", "shard_1": "healthy"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<ByShard<Part>>,
    /// Absent, as all that follows and the shards, for who has no token where one is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Part>,
    /// Why shards are unhealthy; absent while all are healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, example = json!({"shard_1": "connection refused"}))]
    reasons: Option<ByShard<String>>,
}

impl From<Health> for HealthAnswer {
    fn from(health: Health) -> Self {
        let down = health.shards.iter().filter(|shard| shard.is_err()).count();
        let status = match down {
            0 if health.cache_available => Overall::Healthy,
            all if all == health.shards.len() => Overall::Unhealthy,
            _ => Overall::Degraded,
        };
        let shards = ByShard::new(health.shards.iter().map(|shard| Part::new(shard.is_ok())));
        let reasons = ByShard::new(health.shards).failures();
        Self {
            status,
            layer: "4-db-sharding",
            shards: Some(shards),
            cache: Some(Part::new(health.cache_available)),
            reasons: (down > 0).then_some(reasons),
        }
    }
}

impl<E> ByShard<Result<(), E>> {
    /// The entries that failed.
    fn failures(self) -> ByShard<E> {
        let failed = self
            .0
            .into_iter()
            .filter_map(|(shard, state)| Some((shard, state.err()?)));
        ByShard(failed.collect())
    }
}

/// Whether the proxy works. Asks nobody: it tells what the last operations and probes found.
#[utoipa::path(
    get,
    path = "/health",
    tag = "operations",
    responses(
        (status = 200, description = "It serves: healthy, or degraded while the cache or some shards are down", body = HealthAnswer),
        (status = 503, description = "Unhealthy: every shard is down", body = HealthAnswer),
    )
)]
pub(super) async fn health(
    State(api): State<Api>,
    anonymous: Option<Extension<Anonymous>>,
) -> (StatusCode, Json<HealthAnswer>) {
    let mut answer = HealthAnswer::from(api.engine.health());
    if anonymous.is_some() {
        (answer.shards, answer.cache, answer.reasons) = (None, None, None);
    }
    let status = match answer.status {
        Overall::Healthy | Overall::Degraded => StatusCode::OK,
        Overall::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shards: &[bool], cache_available: bool) -> String {
        let shards = shards
            .iter()
            .map(|up| if *up { Ok(()) } else { Err("gone".to_owned()) });
        let health = Health {
            shards: shards.collect(),
            cache_available,
        };
        serde_json::to_string(&HealthAnswer::from(health)).unwrap()
    }

    #[test]
    fn all_well() {
        assert_eq!(
            answer(&[true, true], true),
            r#"{"status":"healthy","layer":"4-db-sharding","shards":{"shard_0":"healthy","shard_1":"healthy"},"cache":"healthy"}"#
        );
    }

    #[test]
    fn without_the_cache_it_is_degraded() {
        assert_eq!(
            answer(&[true], false),
            r#"{"status":"degraded","layer":"4-db-sharding","shards":{"shard_0":"healthy"},"cache":"unhealthy"}"#
        );
    }

    #[test]
    fn without_some_shards_it_is_degraded_and_says_why() {
        assert_eq!(
            answer(&[true, false], true),
            r#"{"status":"degraded","layer":"4-db-sharding","shards":{"shard_0":"healthy","shard_1":"unhealthy"},"cache":"healthy","reasons":{"shard_1":"gone"}}"#
        );
    }

    #[test]
    fn without_any_shard_it_is_unhealthy_whatever_the_cache() {
        for cache in [true, false] {
            assert!(answer(&[false, false], cache).starts_with(r#"{"status":"unhealthy""#));
        }
    }
}
