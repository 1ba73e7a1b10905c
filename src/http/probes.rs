//! `GET /live` and `GET /ready`: for orchestrators. Neither asks a shard or the cache.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::engine::Readiness;

/// The process is there.
#[derive(Serialize, ToSchema)]
pub(super) struct LiveAnswer {
    /// Always true: a process that is not alive does not answer.
    live: bool,
}

/// Whether the process is alive. Who gets no answer should start it again; a shard or a cache that is down
/// is no reason to.
#[utoipa::path(
    get,
    path = "/live",
    tag = "operations",
    responses((status = 200, description = "It is", body = LiveAnswer))
)]
pub(super) async fn live() -> Json<LiveAnswer> {
    Json(LiveAnswer { live: true })
}

/// Why a proxy should be sent clients or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    /// It serves all shards, with the cache.
    Ready,
    /// It serves, without the cache or without some shards: others would do no better.
    Degraded,
    /// No shard was reached yet.
    Starting,
    /// It is stopping.
    Draining,
    /// No shard can be reached.
    Unreachable,
}

/// Whether the proxy should be sent clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadyAnswer {
    ready: bool,
    #[schema(inline)]
    state: Condition,
    /// What that means, in words.
    #[schema(example = "all shards and the cache can be used")]
    reason: &'static str,
}

impl ReadyAnswer {
    pub(super) fn new(readiness: Readiness, is_degraded: bool) -> Self {
        let (state, reason) = match readiness {
            Readiness::Ready if is_degraded => (
                Condition::Degraded,
                "the cache or some shards can't be used; /health says which",
            ),
            Readiness::Ready => (Condition::Ready, "all shards and the cache can be used"),
            Readiness::Starting => (
                Condition::Starting,
                "no shard was reached yet, or its view of the cache is not known yet",
            ),
            Readiness::Draining => (
                Condition::Draining,
                "it is stopping, and answers what was read",
            ),
            Readiness::NoShard => (Condition::Unreachable, "no shard can be reached"),
        };
        Self {
            ready: readiness == Readiness::Ready,
            state,
            reason,
        }
    }
}

/// Whether the proxy should be sent clients: once it has reached a shard, for as long as it reaches any, and
/// not any more when it is stopping.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operations",
    responses(
        (status = 200, description = "It should, though perhaps without the cache or some shards", body = ReadyAnswer),
        (status = 503, description = "It should not: it is starting or stopping, or reaches no shard", body = ReadyAnswer),
    )
)]
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, Json<ReadyAnswer>) {
    let readiness = api.engine.readiness();
    let health = api.engine.health();
    let is_degraded = !health.cache_available || health.shards.iter().any(Result::is_err);
    let answer = ReadyAnswer::new(readiness, is_degraded);
    let status = match answer.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_is_ready_and_says_how() {
        let shown = |readiness, is_degraded| {
            let answer = ReadyAnswer::new(readiness, is_degraded);
            (answer.ready, answer.state)
        };
        assert_eq!(shown(Readiness::Ready, false), (true, Condition::Ready));
        assert_eq!(shown(Readiness::Ready, true), (true, Condition::Degraded));
        assert_eq!(
            shown(Readiness::Starting, true),
            (false, Condition::Starting)
        );
        assert_eq!(
            shown(Readiness::Draining, false),
            (false, Condition::Draining)
        );
        assert_eq!(
            shown(Readiness::NoShard, true),
            (false, Condition::Unreachable)
        );
    }
}
