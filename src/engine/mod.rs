//! Cache-aside: the read path (`read.rs`) and the write path (`write.rs`), nothing else. The engine knows
//! neither RESP nor HTTP; one engine serves both ports.

mod boot_clock;
mod clock;
mod drain;
mod keeper;
mod lane;
mod lease;
mod members;
mod read;
mod shard_cache;
mod supervise;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{Cache, EntryKey, Session};
use crate::command::{Mutation, Outcome, Row};
use crate::crash_points::CrashPoints;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::routing::{ShardId, shard_of};
use crate::shard::{Operation, Shard, Shards};
use crate::view::{Instance, View};

use boot_clock::BootInstant;
use clock::ShardClock;
use drain::Drain;
use keeper::Keeper;
use lane::{Bounds, Lane, NotTaken};
use lease::ViewLease;
use read::{Miss, ReadPath};
use shard_cache::{Place, ShardCache};
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

/// What the engine can be told.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether keys of a shard that is down are answered from the cache. Nobody can know then what
    /// another proxy has written: values may be older than what was acknowledged.
    pub reads_when_shard_down: bool,
    /// Where to die, for tests.
    pub crash_points: CrashPoints,
}

/// The engine.
pub struct Engine {
    shards: Arc<Shards>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    settings: Settings,
    tasks: TaskTracker,
    /// By the index of the shard, as the lanes.
    fronts: Vec<Front>,
    writes: Vec<Lane<WriteItem>>,
    reads: Vec<Lane<Miss>>,
}

/// What stands in front of one shard.
struct Front {
    clock: Arc<ShardClock>,
    cache: Arc<ShardCache>,
}

/// The tasks that keep the views. They outlive the engine: what is still to be removed from the
/// cache when it stops needs a valid lease.
#[derive(Debug)]
#[must_use = "a proxy that does not sign off is taken for dead"]
pub struct Keepers {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Keepers {
    /// Signs off at every shard. To be called when everything else is done: who signs off has left
    /// nothing in the cache that others would have to clear up.
    pub async fn leave(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Engine {
    /// Starts the lanes and the background tasks on `tasks`. They end when the engine is dropped
    /// and `stop` is cancelled.
    pub fn start(
        shards: Shards,
        cache: Cache,
        settings: Settings,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> (Self, Keepers) {
        let mut engine = Self {
            shards: Arc::new(shards),
            cache: Arc::new(cache),
            metrics,
            settings,
            tasks: tasks.clone(),
            fronts: Vec::new(),
            writes: Vec::new(),
            reads: Vec::new(),
        };
        let keepers = Keepers {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let shards = Arc::clone(&engine.shards);
        for shard in shards.all() {
            engine.start_shard(shard, tasks, stop, &keepers);
        }
        supervise::start_establishing(&shards, tasks, stop);
        (engine, keepers)
    }

    fn start_shard(
        &mut self,
        shard: &Arc<Shard>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        keepers: &Keepers,
    ) {
        let clock = Arc::new(ShardClock::default());
        let noted = Arc::new(Notify::new());
        let lease = Arc::new(ViewLease::unknown());
        let cache = Arc::new(ShardCache {
            shard: Arc::clone(shard),
            cache: Arc::clone(&self.cache),
            lease: Arc::clone(&lease),
        });
        let write_path = Arc::new(WritePath {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&self.metrics),
            tasks: tasks.clone(),
            crash_points: self.settings.crash_points.clone(),
        });
        self.writes.push(Lane::start(WRITES, tasks, move |batch| {
            Arc::clone(&write_path).fly(batch)
        }));
        let read_path = Arc::new(ReadPath {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&self.metrics),
            crash_points: self.settings.crash_points.clone(),
        });
        self.reads.push(Lane::start(READS, tasks, move |batch| {
            Arc::clone(&read_path).fly(batch)
        }));
        supervise::start(shard, &clock, &self.metrics, tasks, stop);
        let drain = Drain {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            noted: Arc::clone(&noted),
            metrics: Arc::clone(&self.metrics),
            stop: stop.clone(),
        };
        tasks.spawn(drain.run());
        let keeper = Keeper {
            shard: Arc::clone(shard),
            lease,
            is_alone: shard.is_private() && matches!(*self.cache, Cache::Memory(_)),
            clock: Arc::clone(&clock),
            sights: self.cache.sights(),
            noted,
            metrics: Arc::clone(&self.metrics),
            crash_points: self.settings.crash_points.clone(),
            stop: keepers.stop.clone(),
        };
        keepers.tasks.spawn(keeper.run());
        self.fronts.push(Front { clock, cache });
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
        let mut hits = 0;
        let mut looked_up = Vec::with_capacity(keys.len());
        for (key, hit) in keys.iter().zip(self.look_up(keys).await) {
            looked_up.push(match hit {
                Some(row) => {
                    hits += 1;
                    Looked::Up(Found {
                        row,
                        from_cache: true,
                    })
                }
                None => self.submit_read(key).await,
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

    /// What the cache has of each key that can be used.
    async fn look_up(&self, keys: &[Bytes]) -> Vec<Option<Option<Row>>> {
        let mut hits = vec![None; keys.len()];
        let mut positions = Vec::with_capacity(keys.len());
        let mut entries = Vec::with_capacity(keys.len());
        let mut session: Option<(Instance, Session)> = None;
        let now = BootInstant::now();
        for (position, key) in keys.iter().enumerate() {
            let shard = self.shard_of(key);
            let Some(view) = self.view_to_read(shard, now) else {
                continue;
            };
            let Some(instance) = view.cache else { continue };
            if session.is_none() {
                session = self.cache.session(instance).map(|found| (instance, found));
            }
            // While views change, shards may name different instances, of which only one is reached.
            if session
                .as_ref()
                .is_some_and(|(reached, _)| *reached == instance)
            {
                positions.push((position, shard));
                entries.push(EntryKey {
                    shard,
                    epoch: view.epoch,
                    key: key.clone(),
                });
            }
        }
        let Some((_, session)) = session else {
            return hits;
        };
        let Ok(cached) = session.get(&entries).await else {
            return hits;
        };
        for ((position, shard), cached) in positions.into_iter().zip(cached) {
            if let (Some(cached), Some(front)) = (cached, self.fronts.get(shard.index())) {
                hits[position] = read::usable(cached, &front.clock);
            }
        }
        hits
    }

    /// The view in which entries of the shard may be read at this moment.
    fn view_to_read(&self, shard: ShardId, now: BootInstant) -> Option<View> {
        let lease = &self.fronts.get(shard.index())?.cache.lease;
        lease.at(now).or_else(|| {
            let may_be_old = self.settings.reads_when_shard_down;
            may_be_old.then(|| lease.ended(now))?
        })
    }

    /// How long `row`, the row of `key`, will live; `None` is for ever. By the shard's clock, and
    /// never more than it says.
    pub fn time_left(&self, key: &[u8], row: &Row) -> Option<Duration> {
        let expires_at = row.expires_at?;
        let now = self
            .fronts
            .get(self.shard_of(key).index())
            .and_then(|front| front.clock.latest_possible_now());
        Some(now.map_or(Duration::ZERO, |now| expires_at.since(now)))
    }

    async fn submit_read(&self, key: &Bytes) -> Looked {
        let (done, answer) = oneshot::channel();
        let miss = Miss {
            key: key.clone(),
            done,
        };
        match submit(
            &self.reads,
            self.shard_of(key),
            miss,
            "read",
            READS.queue_max,
        )
        .await
        {
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
            .fronts
            .iter()
            .map(|front| {
                let clearing = write::clear(Arc::clone(&front.cache), self.tasks.clone());
                (front.cache.shard.id(), self.tasks.spawn(clearing))
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
        let state = |front: &Front| {
            front.cache.shard.state()?;
            if front.cache.lease.is_lost() {
                return Err("its view of the cache can't be read".to_owned());
            }
            Ok(())
        };
        Health {
            shards: self.fronts.iter().map(state).collect(),
            cache_available: self.is_cache_in_use(),
        }
    }

    /// Whether every shard that is up has entries in the cache.
    fn is_cache_in_use(&self) -> bool {
        self.cache.sight().cache.is_some()
            && self.fronts.iter().all(|front| {
                let is_down = front.cache.shard.state().is_err();
                is_down || matches!(front.cache.place_now(), Some(Place::On(..)))
            })
    }

    /// Whether the view of every shard that is up is known, so that requests need not wait for it.
    pub fn is_ready(&self) -> bool {
        let mut fronts = self.fronts.iter();
        fronts.all(|front| front.cache.shard.state().is_err() || front.cache.place_now().is_some())
    }

    /// Figures, gathered now.
    pub async fn stats(&self) -> Stats {
        let mut distribution = Vec::new();
        for shard in self.shards.all() {
            distribution.push(shard.count().await.ok());
        }
        Stats {
            cache_available: self.is_cache_in_use(),
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
