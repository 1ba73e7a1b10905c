//! What an HTTP client is told when something fails: a status and `{"detail": "…"}`.
//!
//! The only place that turns errors into HTTP. The words say what is known about the effect and
//! what the client can do.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Outcome};

/// Seconds until a client should try again after a failure that did nothing: a lost connection
/// is replaced and a full queue empty well within that time.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorAnswer {
    /// What went wrong, and what to do about it.
    #[schema(
        example = "shard_1 is unavailable: connection refused; nothing was done, try again later"
    )]
    detail: String,
}

/// A request that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    detail: String,
    retry: bool,
}

impl ApiError {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            retry: false,
        }
    }

    /// 404 of a key.
    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Key not found")
    }

    /// 404 of a path.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not Found")
    }

    /// 405; the router adds which methods are allowed.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
    }

    /// 400: the request broke off or was not HTTP.
    pub(super) fn broken_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401; who answers adds how to do better.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: a page of somebody else asks, or may.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 408: the body did not arrive in time.
    pub(super) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time; send it faster",
        )
    }

    /// 422: the body arrived, and is not what it should be.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 413.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 503: later there may be room.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self {
            retry: true,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// 500: the proxy broke a promise to itself.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let detail = match &error {
            Error::ShardDown { shard, reason } => {
                format!("{shard} is unavailable: {reason}; nothing was done, try again later")
            }
            Error::OutcomeUnknown { shard, reason } => format!(
                "the write to {shard} may or may not have happened: {reason}; read the key to find out"
            ),
            Error::Partial { shard, reason, .. } => format!(
                "{shard} did not do its part of the write: {reason}; the other shards did theirs"
            ),
            Error::ShardRefused { shard, reason } => {
                format!("{shard} refused the operation, nothing was changed: {reason}")
            }
            Error::Busy { shard, reason } => {
                format!("{shard} is overloaded: {reason}; nothing was done, try again later")
            }
            // One key is on one shard.
            Error::CrossShard { .. } => error.to_string(),
            Error::Stopping => "respgres is stopping; nothing was done, connect again".to_owned(),
        };
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail,
            // Clients and proxies obey Retry-After on their own. A write that may have happened
            // must not be repeated blindly: another one may have come after it.
            retry: match error.outcome() {
                Outcome::NotApplied => true,
                Outcome::Unknown => false,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            Json(ErrorAnswer {
                detail: self.detail,
            }),
        )
            .into_response();
        if self.retry {
            response
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::ShardId;

    fn mapped(error: Error) -> (u16, String, bool) {
        let error = ApiError::from(error);
        (error.status.as_u16(), error.detail, error.retry)
    }

    #[test]
    fn a_shard_that_is_down_is_named_and_may_be_tried_again() {
        let error = Error::ShardDown {
            shard: ShardId::new(1),
            reason: "connection refused".into(),
        };
        assert_eq!(
            mapped(error),
            (
                503,
                "shard_1 is unavailable: connection refused; nothing was done, try again later"
                    .into(),
                true
            )
        );
    }

    #[test]
    fn an_unknown_outcome_says_so_and_invites_no_retry() {
        let error = Error::OutcomeUnknown {
            shard: ShardId::new(2),
            reason: "connection lost".into(),
        };
        assert_eq!(
            mapped(error),
            (
                503,
                "the write to shard_2 may or may not have happened: connection lost; read the key to find out".into(),
                false
            )
        );
    }

    #[test]
    fn refused_busy_and_stopping_are_unavailable() {
        let shard = ShardId::new(0);
        for (error, word) in [
            (
                Error::ShardRefused {
                    shard,
                    reason: "disk full".into(),
                },
                "shard_0 refused",
            ),
            (
                Error::Busy {
                    shard,
                    reason: "its write queue is full".into(),
                },
                "write queue",
            ),
            (Error::Stopping, "stopping"),
        ] {
            let (status, detail, retry) = mapped(error);
            assert_eq!((status, retry), (503, true), "{detail}");
            assert!(detail.contains(word), "{detail}");
        }
    }

    #[test]
    fn retry_after_is_sent_only_where_nothing_happened() {
        let down = Error::ShardDown {
            shard: ShardId::new(1),
            reason: String::new(),
        };
        let unknown = Error::OutcomeUnknown {
            shard: ShardId::new(1),
            reason: String::new(),
        };
        let header = |error: Error| {
            ApiError::from(error)
                .into_response()
                .headers()
                .get(RETRY_AFTER)
                .cloned()
        };
        assert_eq!(header(down), Some(RETRY_AFTER_SECONDS));
        assert_eq!(header(unknown), None);
    }
}
