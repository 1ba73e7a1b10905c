//! The lists of keys and commands on the page. What is in them comes from clients: it is text there, whatever it looks
//! like.

use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::Metrics;

/// A key that is asked for often.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HotKey {
    /// The key, or its beginning.
    key: String,
}

/// What took long.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Slow {
    id: u64,
}

pub(super) fn hot_keys(_metrics: &Metrics) -> Vec<HotKey> {
    Vec::new()
}

pub(super) fn slow_log(_metrics: &Metrics) -> Vec<Slow> {
    Vec::new()
}
