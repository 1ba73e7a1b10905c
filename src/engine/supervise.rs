//! Background work on each shard: looking whether it is well, and deleting what has expired.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::boot_clock::BootInstant;
use super::clock::ShardClock;
use crate::metrics::Metrics;
use crate::shard::{Shard, Shards};

/// How often a shard is looked at. What is down comes back within this, and its clock is known to
/// this age.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How often expired rows are looked for. They do not exist from the instant of their expiry;
/// sweeping only gives the space back.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Rows in one sweep: small enough to hold no lock for long.
const SWEEP_ROWS_MAX: u32 = 1000;

/// Starts the tasks of one shard on `runtime`, where the connections that they use are.
pub(super) fn start(
    shard: &Arc<Shard>,
    clock: &Arc<ShardClock>,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) {
    let probe = probe(Arc::clone(shard), Arc::clone(clock), stop.clone());
    tasks.spawn_on(probe, runtime);
    let sweep = sweep(Arc::clone(shard), Arc::clone(metrics), stop.clone());
    tasks.spawn_on(sweep, runtime);
}

/// Starts the task that brings up shards which could not be reached at the start.
pub(super) fn start_establishing(
    shards: &Arc<Shards>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    if !shards.all_established() {
        tasks.spawn(establish(Arc::clone(shards), stop.clone()));
    }
}

async fn establish(shards: Arc<Shards>, stop: CancellationToken) {
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shards.all_established() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shards.establish_late().await;
    }
}

async fn probe(shard: Arc<Shard>, clock: Arc<ShardClock>, stop: CancellationToken) {
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let asked = BootInstant::now();
        if let Some(now) = shard.probe().await {
            clock.observe(asked, now);
        }
    }
}

async fn sweep(shard: Arc<Shard>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        while let Ok(removed) = shard.sweep(SWEEP_ROWS_MAX).await {
            metrics.expired_rows_removed.add(removed);
            if removed < u64::from(SWEEP_ROWS_MAX) || stop.is_cancelled() {
                break;
            }
        }
    }
}
