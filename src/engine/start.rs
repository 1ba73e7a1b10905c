//! Starting what stands in front of the shards: lanes, and the tasks that work in the background.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::ShardClock;
use super::drain::Drain;
use super::keeper::Keeper;
use super::lane::Lane;
use super::lease::ViewLease;
use super::read::ReadPath;
use super::shard_cache::ShardCache;
use super::supervise;
use super::write::WritePath;
use super::{Engine, Front, READS, Settings, WRITES};
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
        self.writes
            .push(Lane::start(WRITES, tasks, runtime, move |batch| {
                Arc::clone(&write_path).fly(batch)
            }));
        let read_path = Arc::new(ReadPath {
            shard: Arc::clone(shard),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&self.metrics),
            crash_points: self.settings.crash_points.clone(),
        });
        self.reads
            .push(Lane::start(READS, tasks, runtime, move |batch| {
                Arc::clone(&read_path).fly(batch)
            }));
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
        self.fronts.push(Front { clock, cache });
    }
}
