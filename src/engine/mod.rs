//! Cache-aside: the read path (`read.rs`) and the write path (`write.rs`), nothing else. The engine knows
//! neither RESP nor HTTP; one engine serves both ports.

mod clock;
mod lane;
mod read;
mod supervise;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{Cache, EntryKey};
use crate::command::{Mutation, Outcome, Row};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::routing::{ShardId, shard_of};
use crate::shard::{Operation, Shards};

use clock::ShardClock;
use lane::{Bounds, Lane, NotTaken};
use read::{Miss, ReadPath};
use write::{Part, WriteItem, WritePath};

pub use write::Ticket;

/// Writes that gather in front of a shard. One flight: the writes of a key keep their order.
const WRITES: Bounds = Bounds {
    queue_max: 16_384,
    flights_max: 1,
    batch_operations_max: 512,
    // A statement of this size is well below what PostgreSQL takes (1 GiB).
    batch_bytes_max: 32 * 1024 * 1024,
};

/// Misses that gather in front of a shard. Reads have no order, so a few flights go at a time.
const READS: Bounds = Bounds {
    queue_max: 65_536,
    flights_max: 4,
    batch_operations_max: 512,
    batch_bytes_max: 8 * 1024 * 1024,
};

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The row, if there is one.
    pub row: Option<Row>,
    /// Whether the cache answered.
    pub from_cache: bool,
}

/// The state of the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// For each shard, why it is down if it is.
    pub shards: Vec<Result<(), String>>,
    /// Whether the cache can be used.
    pub cache_available: bool,
}

/// Figures for `/stats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Whether the cache can be used.
    pub cache_available: bool,
    /// Keys answered from the cache since the start.
    pub cache_hits: u64,
    /// Keys read from a shard since the start.
    pub cache_misses: u64,
    /// Entries in the cache.
    pub cache_keys: u64,
    /// Open connections to each shard.
    pub pool_sizes: Vec<usize>,
    /// Rows on each shard; `None` if it is down.
    pub distribution: Vec<Option<u64>>,
}

/// The engine.
pub struct Engine {
    shards: Arc<Shards>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    clocks: Vec<Arc<ShardClock>>,
    writes: Vec<Lane<WriteItem>>,
    reads: Vec<Lane<Miss>>,
}

impl Engine {
    /// Starts the lanes and the background tasks on `tasks`. They end when the engine is dropped
    /// and `stop` is cancelled.
    pub fn start(
        shards: Shards,
        cache: Cache,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let shards = Arc::new(shards);
        let cache = Arc::new(cache);
        let mut clocks = Vec::new();
        let mut writes = Vec::new();
        let mut reads = Vec::new();
        for shard in shards.all() {
            let clock = Arc::new(ShardClock::default());
            let write_path = Arc::new(WritePath {
                shard: Arc::clone(shard),
                cache: Arc::clone(&cache),
                metrics: Arc::clone(&metrics),
                tasks: tasks.clone(),
            });
            writes.push(Lane::start(WRITES, tasks, move |batch| {
                Arc::clone(&write_path).fly(batch)
            }));
            let read_path = Arc::new(ReadPath {
                shard: Arc::clone(shard),
                cache: Arc::clone(&cache),
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
            });
            reads.push(Lane::start(READS, tasks, move |batch| {
                Arc::clone(&read_path).fly(batch)
            }));
            supervise::start(shard, &clock, &metrics, tasks, stop);
            clocks.push(clock);
        }
        supervise::start_establishing(&shards, tasks, stop);
        Self {
            shards,
            cache,
            metrics,
            clocks,
            writes,
            reads,
        }
    }

    /// The number of shards.
    pub fn num_shards(&self) -> u16 {
        self.shards.num_shards()
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> ShardId {
        shard_of(key, self.num_shards())
    }

    /// The counters of this process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads keys, in order: from the cache in one round trip, what is missing from the shards.
    pub async fn read(&self, keys: &[Bytes]) -> Vec<Result<Found, Error>> {
        let entries: Vec<EntryKey> = keys
            .iter()
            .map(|key| EntryKey {
                shard: self.shard_of(key),
                key: key.clone(),
            })
            .collect();
        let cached = match self.cache.get(&entries).await {
            Ok(cached) => cached,
            Err(_unavailable) => vec![None; keys.len()],
        };
        let mut hits = 0;
        let mut looked_up = Vec::with_capacity(entries.len());
        for (entry, cached) in entries.into_iter().zip(cached) {
            let hit = cached
                .zip(self.clocks.get(entry.shard.index()))
                .and_then(|(cached, clock)| read::usable(cached, clock));
            looked_up.push(match hit {
                Some(row) => {
                    hits += 1;
                    Looked::Up(Found {
                        row,
                        from_cache: true,
                    })
                }
                None => self.submit_read(entry).await,
            });
        }
        self.metrics.cache_hits.add(hits);
        self.metrics.cache_misses.add(keys.len() as u64 - hits);
        let mut found = Vec::with_capacity(looked_up.len());
        for looked in looked_up {
            found.push(match looked {
                Looked::Up(found) => Ok(found),
                Looked::Failed(error) => Err(error),
                Looked::Waiting(answer) => answer.await.unwrap_or(Err(Error::Stopping)),
            });
        }
        found
    }

    /// How long `row`, the row of `key`, will live; `None` is for ever. By the shard's clock, and
    /// never more than it says.
    pub fn time_left(&self, key: &[u8], row: &Row) -> Option<Duration> {
        let expires_at = row.expires_at?;
        let now = self
            .clocks
            .get(self.shard_of(key).index())
            .and_then(|clock| clock.latest_possible_now());
        Some(now.map_or(Duration::ZERO, |now| expires_at.since(now)))
    }

    async fn submit_read(&self, entry: EntryKey) -> Looked {
        let (done, answer) = oneshot::channel();
        let miss = Miss {
            key: entry.key,
            done,
        };
        match submit(&self.reads, entry.shard, miss, "read", READS.queue_max).await {
            Ok(()) => Looked::Waiting(answer),
            Err(error) => Looked::Failed(error),
        }
    }

    /// Puts a write into the lanes of its shards: writes submitted one after another take effect in
    /// that order on each key. Operations on one shard commit together.
    ///
    /// Once this has returned, the write is done whether or not anyone waits for it.
    pub async fn submit(&self, operations: Vec<Operation>) -> Ticket {
        let count = operations.len();
        let mut parts: SmallVec<[OneShard; 1]> = SmallVec::new();
        for (position, operation) in operations.into_iter().enumerate() {
            let shard = self.shard_of(&operation.0);
            match parts.iter_mut().find(|part| part.shard == shard) {
                Some(part) => {
                    part.positions.push(position);
                    part.operations.push(operation);
                }
                None => parts.push(OneShard {
                    shard,
                    positions: smallvec![position],
                    operations: smallvec![operation],
                }),
            }
        }
        if let Some(part) = self.known_to_fail(&parts) {
            return Ticket {
                operations: count,
                parts: smallvec![part],
            };
        }
        let mut submitted = SmallVec::new();
        for OneShard {
            shard,
            positions,
            operations,
        } in parts
        {
            let (done, answer) = oneshot::channel();
            let item = WriteItem { operations, done };
            let taken = submit(&self.writes, shard, item, "write", WRITES.queue_max).await;
            submitted.push(Part {
                shard,
                positions,
                result: taken.map(|()| answer),
            });
        }
        Ticket {
            operations: count,
            parts: submitted,
        }
    }

    /// A write over several shards of which one is known to be down fails as a whole, before any of
    /// them does its part.
    fn known_to_fail(&self, parts: &[OneShard]) -> Option<Part> {
        if parts.len() < 2 {
            return None;
        }
        parts.iter().find_map(|part| {
            let shard = self.shards.all().get(part.shard.index())?;
            let reason = shard.state().err()?;
            Some(Part {
                shard: part.shard,
                positions: SmallVec::new(),
                result: Err(Error::ShardDown {
                    shard: part.shard,
                    reason,
                }),
            })
        })
    }

    /// [`submit`](Engine::submit) and wait.
    ///
    /// # Errors
    ///
    /// As [`Ticket::wait`].
    pub async fn write(&self, operations: Vec<(Bytes, Mutation)>) -> Result<Vec<Outcome>, Error> {
        self.submit(operations).await.wait().await
    }

    /// Deletes every key on every shard at once, then everything in the cache.
    ///
    /// # Errors
    ///
    /// As [`Ticket::wait`].
    pub async fn clear(&self) -> Result<(), Error> {
        let clearing: Vec<_> = self
            .shards
            .all()
            .iter()
            .map(|shard| {
                let owned = Arc::clone(shard);
                (
                    shard.id(),
                    tokio::spawn(
                        async move { owned.clear().await.map_err(|failure| failure.error) },
                    ),
                )
            })
            .collect();
        let mut failures = Vec::new();
        let shards = clearing.len();
        for (shard, cleared) in clearing {
            let cleared = cleared.await.unwrap_or_else(|error| {
                let reason = error.to_string();
                Err(Error::OutcomeUnknown { shard, reason })
            });
            failures.extend(cleared.err().map(|error| (shard, error)));
        }
        // Unavailable: the cache drops what it can't account for before it is used again.
        let _ = self.cache.clear().await;
        let is_done_somewhere = failures.len() < shards;
        write::summary(failures, is_done_somewhere).map_or(Ok(()), Err)
    }

    /// The number of keys: exact while the shards are small, then an estimate.
    ///
    /// # Errors
    ///
    /// A shard is down: the number can't be told.
    pub async fn count(&self) -> Result<u64, Error> {
        let mut total = 0;
        for shard in self.shards.all() {
            total += shard.count().await?;
        }
        Ok(total)
    }

    /// What is up and what is down, as far as is known at this moment.
    pub fn health(&self) -> Health {
        Health {
            shards: self
                .shards
                .all()
                .iter()
                .map(|shard| shard.state())
                .collect(),
            cache_available: self.cache.is_available(),
        }
    }

    /// Figures, gathered now.
    pub async fn stats(&self) -> Stats {
        let mut distribution = Vec::new();
        for shard in self.shards.all() {
            distribution.push(shard.count().await.ok());
        }
        Stats {
            cache_available: self.cache.is_available(),
            cache_hits: self.metrics.cache_hits.get(),
            cache_misses: self.metrics.cache_misses.get(),
            cache_keys: self.cache.entry_count().await,
            pool_sizes: self
                .shards
                .all()
                .iter()
                .map(|shard| shard.pool_size())
                .collect(),
            distribution,
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("num_shards", &self.num_shards())
            .finish_non_exhaustive()
    }
}

/// The operations of a command that go to one shard, and which of the command's they are.
struct OneShard {
    shard: ShardId,
    positions: SmallVec<[usize; 1]>,
    operations: SmallVec<[Operation; 1]>,
}

enum Looked {
    Up(Found),
    Waiting(oneshot::Receiver<Result<Found, Error>>),
    Failed(Error),
}

async fn submit<T: lane::Item>(
    lanes: &[Lane<T>],
    shard: ShardId,
    item: T,
    queue: &'static str,
    limit: usize,
) -> Result<(), Error> {
    let Some(lane) = lanes.get(shard.index()) else {
        return Err(Error::Stopping);
    };
    lane.submit(item)
        .await
        .map_err(|not_taken| match not_taken {
            NotTaken::Full => Error::Busy {
                shard,
                queue,
                limit,
            },
            NotTaken::Ended => Error::Stopping,
        })
}
