//! What there is at this moment, for those who watch: shards, pools, rows, the cache; and whether this proxy
//! should be sent clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Engine, Front, Place};
use crate::cache::Cache;
use crate::shard::{Pool, Shards};

/// How long counts of rows are good for: they cost the databases some milliseconds each.
const ROWS_FOR: Duration = Duration::from_secs(30);

/// How long is waited for new ones. Then the last ones are told.
const ROWS_WAIT_MAX: Duration = Duration::from_millis(500);

/// What there is at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// In the order of the shards.
    pub shards: Vec<ShardOverview>,
    /// Whether the cache can be used.
    pub cache_available: bool,
    /// Entries and bytes of the cache, if it is in this process.
    pub in_process_cache: Option<(u64, u64)>,
    /// Whether this proxy should be sent clients.
    pub readiness: Readiness,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardOverview {
    /// Why it is down, if it is.
    pub state: Result<(), String>,
    /// Whether operations are refused at once, since it did not answer.
    pub is_breaker_open: bool,
    /// Whether its entries are in the cache, by the view of it that all proxies share.
    pub is_cached: bool,
    /// Its connections.
    pub pool: Pool,
    /// Its rows, as they were up to half a minute ago; `None` if they could not be counted.
    pub rows: Option<u64>,
}

/// Whether a proxy should be sent clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// No shard was reached yet, or its view of the cache is not known yet.
    Starting,
    /// At least one shard can be used.
    Ready,
    /// No shard can be reached.
    NoShard,
    /// It is stopping.
    Draining,
}

/// What is remembered for all this.
#[derive(Debug, Default)]
pub(super) struct Watched {
    has_started: AtomicBool,
    is_draining: AtomicBool,
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    asked: Option<Instant>,
    /// By the index of the shard.
    counts: Vec<Option<u64>>,
}

impl Engine {
    /// From now on this proxy is not [ready](Readiness): it goes on serving, but nobody new should come.
    pub fn begin_draining(&self) {
        self.watched.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether this proxy should be sent clients. One that has lost some shards, or the cache, should: it
    /// serves the rest, and others would have lost them too.
    pub fn readiness(&self) -> Readiness {
        let Watched {
            has_started,
            is_draining,
            ..
        } = &self.watched;
        if is_draining.load(Ordering::Relaxed) {
            return Readiness::Draining;
        }
        let is_any_up = self.fronts.iter().any(|front| front.state().is_ok());
        if !has_started.load(Ordering::Relaxed) {
            if !is_any_up || !self.is_ready() {
                return Readiness::Starting;
            }
            has_started.store(true, Ordering::Relaxed);
        }
        match is_any_up {
            true => Readiness::Ready,
            false => Readiness::NoShard,
        }
    }

    /// What there is at this moment. Asks the shards for nothing but their rows, and for those at most twice
    /// a minute.
    pub async fn overview(&self) -> Overview {
        let rows = self.rows().await;
        let of = |(index, front): (usize, &Front)| ShardOverview {
            state: front.state(),
            is_breaker_open: front.cache.shard.state().is_err(),
            is_cached: matches!(front.cache.place_now(), Some(Place::On(..))),
            pool: front.cache.shard.pool(),
            rows: rows.get(index).copied().flatten(),
        };
        Overview {
            shards: self.fronts.iter().enumerate().map(of).collect(),
            cache_available: self.is_cache_in_use(),
            in_process_cache: match &*self.cache {
                Cache::Memory(cache) => Some((cache.entry_count(), cache.bytes())),
                Cache::Redis(_) => None,
            },
            readiness: self.readiness(),
        }
    }

    /// The rows of each shard, not older than they may be if the shards answer in time.
    async fn rows(&self) -> Vec<Option<u64>> {
        let is_due = {
            let mut rows = lock(&self.watched.rows);
            let is_due = rows.asked.is_none_or(|asked| asked.elapsed() >= ROWS_FOR);
            if is_due {
                rows.asked = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            // Not cancelled when the wait is over: a connection with an answer under way is of no use.
            let counting = count(Arc::clone(&self.shards), Arc::clone(&self.watched.rows));
            let _ = tokio::time::timeout(ROWS_WAIT_MAX, self.tasks.spawn(counting)).await;
        }
        lock(&self.watched.rows).counts.clone()
    }
}

fn lock(rows: &Mutex<Rows>) -> MutexGuard<'_, Rows> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn count(shards: Arc<Shards>, rows: Arc<Mutex<Rows>>) {
    for (index, shard) in shards.all().iter().enumerate() {
        let count = shard.count().await.ok();
        let mut rows = lock(&rows);
        rows.counts.resize(shards.all().len(), None);
        rows.counts[index] = count;
    }
}
