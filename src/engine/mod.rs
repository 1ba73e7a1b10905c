//! Cache-aside: the read path (`read.rs`) and the write path (`write.rs`), nothing else. The engine knows
//! neither RESP nor HTTP; one engine serves both ports.

mod across;
mod admission;
mod boot_clock;
mod clock;
mod drain;
mod keeper;
mod lane;
mod lease;
mod locked;
mod look_up;
mod members;
mod overview;
mod read;
mod recover;
mod scan;
mod shard_cache;
mod start;
mod supervise;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::adjustable::Time;
use crate::cache::Cache;
use crate::command::{Mutation, Operation, Outcome, Row};
use crate::crash_points::CrashPoints;
use crate::error::Error;
use crate::metrics::{self, Metrics, Spans};
use crate::routing::ShardId;
use crate::shard::{Expiring, Shards};

use across::Across;
use clock::ShardClock;
use lane::{Bounds, Lane, Overflow};
use overview::Watched;
use read::Miss;
use shard_cache::{Place, ShardCache};
use write::{Part, Times, WriteItem};

pub use overview::{Overview, Readiness, ShardOverview};
pub use scan::{Cursor, Page};
pub use start::Keepers;
pub use write::Ticket;

/// Writes that gather in front of a shard. One flight: the writes of a key keep their order.
const WRITES: Bounds = Bounds {
    queue_max: 65_536,
    flights_max: 1,
    batch_operations_max: 512,
    // A statement of this size is well below what PostgreSQL takes (1 GiB).
    batch_bytes_max: 32 * 1024 * 1024,
};

/// Misses that gather in front of a shard. Reads have no order: a few flights may be under way.
const READS: Bounds = Bounds {
    queue_max: 65_536,
    flights_max: 4,
    batch_operations_max: 512,
    batch_bytes_max: 8 * 1024 * 1024,
};

/// A command may have a million keys, and the others of its worker want their turn: about a
/// millisecond's work.
const KEYS_AT_A_STRETCH: usize = 4096;

/// Gives others of the worker their turn now and then, as the key at `position` is worked on.
async fn take_a_break(position: usize) {
    if position % KEYS_AT_A_STRETCH == KEYS_AT_A_STRETCH - 1 {
        yield_now().await;
    }
}

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
    /// Keys that the cache did not know since the start: those who wait for the same read of a shard count each.
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
    /// How long a request may wait for a shard that is asked for more than it can do.
    pub queue_wait_max: Duration,
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
    across: Arc<Across>,
    reads: Vec<Lane<Miss>>,
    queue_wait_max: Time,
    watched: Watched,
}

/// What stands in front of one shard.
struct Front {
    clock: Arc<ShardClock>,
    cache: Arc<ShardCache>,
}

impl Front {
    /// Why the shard is down, if it is.
    fn state(&self) -> Result<(), String> {
        self.cache.shard.state()?;
        if self.cache.lease.is_lost() {
            return Err("its view of the cache can't be read".to_owned());
        }
        Ok(())
    }
}

impl Engine {
    /// The number of shards.
    pub fn num_shards(&self) -> u16 {
        self.shards.num_shards()
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> ShardId {
        self.shards.routing().shard_of(key)
    }

    /// The cache, whose channels are for messages between clients.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Changes how long a request may wait for a shard that is asked for more than it can do.
    pub fn set_queue_wait_max(&self, bound: Duration) {
        self.queue_wait_max.set(bound);
    }

    /// Changes how long a value that is cached from now on stays at most.
    pub fn set_cache_ttl(&self, ttl: Duration) {
        self.cache.set_ttl(ttl);
    }

    /// Changes how many connections there are to each shard, at least and at most.
    pub fn set_pool_sizes(&self, min: usize, max: usize) {
        self.across.set_turns(max);
        for shard in self.shards.all() {
            shard.set_pool_size(min, max);
        }
    }

    /// The counters of this process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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

    /// Puts a write into the lanes of its shards: writes submitted one after another take effect in
    /// that order on each key. Operations on one shard commit together.
    ///
    /// What a lane has no room for is left in `backlog`, which is to be the same for all that must keep its order. What
    /// is not in there is done whether or not anyone waits for it. `since` is when the client's command was there, for how long it
    /// waits.
    pub async fn submit(
        &self,
        operations: Vec<Operation>,
        since: Instant,
        backlog: &mut Backlog,
    ) -> Ticket {
        let count = operations.len();
        let mut operations = operations;
        if let [Operation::Many(many)] = &operations[..]
            && self.spans_shards(|tell| many.keys(&mut |key, _| tell(key)))
            && let Some(operation) = operations.pop()
        {
            return self.submit_across(operation);
        }
        let mut parts: SmallVec<[OneShard; 1]> = SmallVec::new();
        for (position, operation) in operations.into_iter().enumerate() {
            take_a_break(position).await;
            let shard = self.home(&operation);
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
            let times = Times::begin(since);
            let item = |done| WriteItem::new(operations, times, done);
            let result = submit(&self.writes, shard, item, &mut backlog.0);
            submitted.push(Part {
                shard,
                positions,
                result,
            });
        }
        Ticket {
            operations: count,
            parts: submitted,
        }
    }

    /// Waits until there is room for what is in `backlog`, or has been none for too long. It is in the lanes afterwards,
    /// or refused; those who wait for it learn it by their tickets.
    pub async fn await_room(&self, backlog: &mut Backlog) {
        backlog.0.await_room(&self.writes).await;
    }

    /// Puts operations into the lanes, and waits for them: [`submit`](Engine::submit), [`await_room`](Engine::await_room) and
    /// [`Ticket::wait`].
    pub async fn write_all(
        &self,
        operations: Vec<Operation>,
    ) -> (Result<Vec<Outcome>, Error>, Spans) {
        let mut backlog = Backlog::default();
        let ticket = self.submit(operations, Instant::now(), &mut backlog).await;
        self.await_room(&mut backlog).await;
        ticket.wait().await
    }

    /// Puts a transaction over several shards on its way. It does not go through the lanes, and so has no
    /// order with what is in them: who needs one waits.
    fn submit_across(&self, operation: Operation) -> Ticket {
        let part = Part {
            shard: self.home(&operation),
            positions: smallvec![0],
            result: Ok(self.across.start(operation)),
        };
        Ticket {
            operations: 1,
            parts: smallvec![part],
        }
    }

    /// Whether the keys that `tell_all` tells are on several shards.
    pub fn spans_shards(&self, tell_all: impl FnOnce(&mut dyn FnMut(&Bytes))) -> bool {
        let mut first = None;
        let mut spans = false;
        tell_all(&mut |key| {
            let shard = self.shard_of(key);
            spans |= *first.get_or_insert(shard) != shard;
        });
        spans
    }

    /// The shard of the first key of an operation.
    fn home(&self, operation: &Operation) -> ShardId {
        match operation {
            Operation::One(key, _) => self.shard_of(key),
            Operation::Many(many) => {
                let mut first = None;
                many.keys(&mut |key, _| first = first.or_else(|| Some(self.shard_of(key))));
                first.unwrap_or(ShardId::new(0))
            }
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

    /// Writes one key.
    ///
    /// # Errors
    ///
    /// As [`Ticket::wait`].
    pub async fn write(&self, key: Bytes, mutation: Mutation) -> Result<Vec<Outcome>, Error> {
        self.write_all(vec![Operation::One(key, mutation)]).await.0
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

    /// The keys that will expire, on all shards.
    ///
    /// # Errors
    ///
    /// A shard is down: the number can't be told.
    pub async fn expiring(&self) -> Result<Expiring, Error> {
        let mut all = Expiring::default();
        for shard in self.shards.all() {
            let Expiring { rows, millis_left } = shard.expiring().await?;
            let sum = u128::from(all.rows) * u128::from(all.millis_left)
                + u128::from(rows) * u128::from(millis_left);
            all.rows += rows;
            let average = sum / u128::from(all.rows.max(1));
            all.millis_left = u64::try_from(average).unwrap_or(u64::MAX);
        }
        Ok(all)
    }

    /// What is up and what is down, as far as is known at this moment.
    pub fn health(&self) -> Health {
        Health {
            shards: self.fronts.iter().map(Front::state).collect(),
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
                .map(|shard| shard.pool().size)
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

/// Writes of one client for which their lanes had no room when they came.
#[derive(Default)]
pub struct Backlog(Overflow<WriteItem>);

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog").finish_non_exhaustive()
    }
}

/// The operations of a command that go to one shard, and which of the command's they are.
struct OneShard {
    shard: ShardId,
    positions: SmallVec<[usize; 1]>,
    operations: SmallVec<[Operation; 1]>,
}

/// How an operation that failed is counted.
fn outcome_of(error: &Error) -> metrics::Outcome {
    match error {
        Error::ShardDown { .. } | Error::Stopping => metrics::Outcome::Down,
        Error::ShardRefused { .. } | Error::CrossShard { .. } => metrics::Outcome::Refused,
        Error::OutcomeUnknown { .. } | Error::Partial { .. } => metrics::Outcome::Unknown,
        Error::Busy { .. } => metrics::Outcome::Busy,
    }
}

/// Puts what `item` makes into the lane of a shard, or into `overflow`. Returns where its answer will be.
fn submit<T: lane::Item, Answer>(
    lanes: &[Lane<T>],
    shard: ShardId,
    item: impl FnOnce(oneshot::Sender<Answer>) -> T,
    overflow: &mut Overflow<T>,
) -> Result<oneshot::Receiver<Answer>, Error> {
    let Some(lane) = lanes.get(shard.index()) else {
        return Err(Error::Stopping);
    };
    let (done, answer) = oneshot::channel();
    lane.submit(item(done), overflow);
    Ok(answer)
}
