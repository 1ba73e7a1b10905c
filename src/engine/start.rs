//! Starting what stands in front of the shards: lanes, and the tasks that work in the background.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::across::{self, Across};
use super::drain::Drain;
use super::keeper::Keeper;
use super::lane::{Lane, Purpose};
use super::lease::ViewLease;
use super::locked::LockedKeys;
use super::overview::Watched;
use super::read::ReadPath;
use super::recover::Recovery;
use super::shard_cache::ShardCache;
use super::supervise;
use super::write::WritePath;
use super::{Engine, Front, READS, Settings, WRITES};
use crate::adjustable::{Size, Time};
use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::shard::{Shard, Shards};
use crate::workers::Workers;

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
    /// Starts the lanes and the background tasks in `tasks`, those of a shard on its worker. They end
    /// when the engine is dropped and `stop` is cancelled.
    pub fn start(
        shards: Shards,
        cache: Cache,
        settings: Settings,
        metrics: Arc<Metrics>,
        workers: &Workers,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> (Self, Keepers) {
        let shards = Arc::new(shards);
        let cache = Arc::new(cache);
        let front = |shard| Front {
            clock: Arc::default(),
            cache: Arc::new(ShardCache {
                shard: Arc::clone(shard),
                cache: Arc::clone(&cache),
                lease: Arc::new(ViewLease::unknown()),
            }),
        };
        let fronts: Vec<Front> = shards.all().iter().map(front).collect();
        let turns_max = across::turns(shards.pool_max_size());
        let across = Arc::new(Across {
            shards: Arc::clone(&shards),
            caches: fronts
                .iter()
                .map(|front| Arc::clone(&front.cache))
                .collect(),
            turns: Semaphore::new(turns_max),
            turns_max: Size::new(turns_max),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            crash_points: settings.crash_points.clone(),
        });
        let mut engine = Self {
            shards: Arc::clone(&shards),
            cache,
            metrics,
            queue_wait_max: Time::new(settings.queue_wait_max),
            settings,
            tasks: tasks.clone(),
            fronts,
            across,
            writes: Vec::new(),
            reads: Vec::new(),
            watched: Watched::default(),
        };
        let keepers = Keepers {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        for shard in shards.all() {
            let runtime = workers.of(shard.id().index());
            engine.start_shard(shard, runtime, tasks, stop, &keepers);
        }
        supervise::start_establishing(&shards, tasks, stop);
        (engine, keepers)
    }

    fn start_shard(
        &mut self,
        shard: &Arc<Shard>,
        runtime: &Handle,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        keepers: &Keepers,
    ) {
        let Some(Front { clock, cache }) = self.fronts.get(shard.id().index()) else {
            return;
        };
        let (clock, cache) = (Arc::clone(clock), Arc::clone(cache));
        let noted = Arc::new(Notify::new());
        let lease = Arc::clone(&cache.lease);
        let write_path = Arc::new(WritePath {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&self.metrics),
            tasks: tasks.clone(),
            crash_points: self.settings.crash_points.clone(),
            locked_keys: LockedKeys::default(),
        });
        let purpose = |queue| Purpose {
            shard: shard.id(),
            queue,
        };
        let wait_max = &self.queue_wait_max;
        self.writes.push(Lane::start(
            purpose("write"),
            WRITES,
            wait_max.clone(),
            tasks,
            runtime,
            {
                let path = Arc::clone(&write_path);
                move |batch| Arc::clone(&path).fly(batch)
            },
            move |item, error| write_path.turn_away(item, &error),
        ));
        let read_path = Arc::new(ReadPath {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&self.metrics),
            crash_points: self.settings.crash_points.clone(),
        });
        self.reads.push(Lane::start(
            purpose("read"),
            READS,
            wait_max.clone(),
            tasks,
            runtime,
            {
                let path = Arc::clone(&read_path);
                move |batch| Arc::clone(&path).fly(batch)
            },
            move |miss, error| read_path.refuse(miss, error),
        ));
        supervise::start(shard, &clock, &self.metrics, tasks, runtime, stop);
        let drain = Drain {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            noted: Arc::clone(&noted),
            metrics: Arc::clone(&self.metrics),
            stop: stop.clone(),
        };
        tasks.spawn_on(drain.run(), runtime);
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
        let recovery = Recovery {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            shards: Arc::clone(&self.shards),
            metrics: Arc::clone(&self.metrics),
            stop: stop.clone(),
        };
        tasks.spawn_on(recovery.run(), runtime);
    }
}
