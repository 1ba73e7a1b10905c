//! Draining the outbox of one shard: rows that were changed past the proxies, by plain SQL, lose
//! their entries in the cache.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::shard_cache::ShardCache;
use crate::metrics::Metrics;
use crate::shard::Shard;

/// How often the outbox is looked at when no notification came: one may be lost with its session.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Notes of one round: a bulk load leaves millions.
const NOTES_MAX: u32 = 1000;

/// Drains the outbox of one shard until it is stopped.
pub(super) struct Drain {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<ShardCache>,
    pub(super) noted: Arc<Notify>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Drain {
    pub(super) async fn run(self) {
        let stop = self.stop.clone();
        let drain = async {
            loop {
                // An error: the shard is down, and the notes wait there.
                while let Ok(true) = self.round().await {}
                let _ = timeout(LOOK_EVERY, self.noted.notified()).await;
            }
        };
        stop.run_until_cancelled(drain).await;
    }

    /// Returns whether there may be more.
    async fn round(&self) -> Result<bool, crate::error::Error> {
        let notes = self.shard.outbox(NOTES_MAX).await?;
        let ids: Vec<i64> = notes.iter().map(|note| note.id).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        if notes.iter().any(|note| note.key.is_none()) {
            self.cache.clear().await;
        }
        let keys: Vec<Bytes> = notes.into_iter().filter_map(|note| note.key).collect();
        self.cache.fin(&keys).await;
        self.metrics.outside_writes.add(ids.len() as u64);
        // Last: a proxy that dies before leaves them to the next one.
        self.shard.outbox_done(&ids).await?;
        Ok(ids.len() == NOTES_MAX as usize)
    }
}
