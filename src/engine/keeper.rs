//! Keeping the view of one shard: reading it often enough that the lease on it lasts, changing it
//! when the cache that it names is lost or replaced, and clearing up after proxies that died.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::clock::ShardClock;
use super::lease::{Before, BootInstant, ViewLease};
use crate::crash_points::CrashPoints;
use crate::metrics::Metrics;
use crate::routing::ShardId;
use crate::shard::{MemberId, Membership, Seen, Shard};
use crate::view::{self, Instance, LOOK_EVERY, SETTLED_AFTER, Sight, View};

/// How soon a lost session is opened again.
const JOIN_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long the very first view waits for the cache, so that it need not be changed at once.
const FOUND_WITHOUT_CACHE_AFTER: Duration = Duration::from_secs(1);

/// Every so many looks at the view, the other proxies are looked at.
const LOOKS_PER_ROUND: u32 = 2;

/// How long a proxy's session has been gone when it is taken for dead. One that lives opens
/// another much sooner.
const DEAD_AFTER: Duration = Duration::from_millis(1500);

/// Keeps the view of one shard until it is stopped.
pub(super) struct Keeper {
    pub(super) shard: Arc<Shard>,
    pub(super) lease: Arc<ViewLease>,
    /// The cache is inside this process: there is no view to keep, but it must be the only one.
    pub(super) is_in_process: bool,
    pub(super) clock: Arc<ShardClock>,
    pub(super) sights: watch::Receiver<Sight>,
    /// Told when somebody has written past the proxies.
    pub(super) noted: Arc<Notify>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) crash_points: CrashPoints,
    pub(super) stop: CancellationToken,
}

/// What a keeper remembers from one session to the next.
struct Memory {
    since: Instant,
    /// Whether this process has used a view of this shard.
    has_lease: bool,
    /// Why there is no session, as logged last.
    trouble: Option<String>,
}

/// What is known of the other proxies.
#[derive(Default)]
struct Others {
    living: usize,
    /// What those reach that do not stand still.
    reach: Vec<Option<Instance>>,
    gone_since: HashMap<MemberId, Instant>,
}

impl Keeper {
    pub(super) async fn run(self) {
        let mut memory = Memory {
            since: Instant::now(),
            has_lease: false,
            trouble: None,
        };
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let trouble = match stop.run_until_cancelled(self.join()).await {
                None => return,
                Some(Ok(session)) => match self.keep(&session, &mut memory).await {
                    Ok(()) => {
                        // Nobody has to clear up after a proxy that said goodbye.
                        if let Err(reason) = session.leave().await {
                            tracing::warn!(shard = %self.shard.id(), %reason, "could not sign off");
                        }
                        return;
                    }
                    Err(reason) => reason,
                },
                Some(Err(reason)) => reason,
            };
            self.log_trouble(trouble, &mut memory);
            let _ = stop.run_until_cancelled(sleep(JOIN_AGAIN_AFTER)).await;
        }
    }

    /// Once an outage. While the shard is down, its breaker has said so already.
    fn log_trouble(&self, trouble: String, memory: &mut Memory) {
        let shard = self.shard.id();
        if memory.trouble.as_ref() == Some(&trouble) {
            return;
        }
        if self.shard.state().is_ok() {
            tracing::warn!(%shard, reason = %trouble, "its view of the cache can't be read");
        } else {
            tracing::debug!(%shard, reason = %trouble, "its view of the cache can't be read");
        }
        memory.trouble = Some(trouble);
    }

    async fn join(&self) -> Result<Membership, String> {
        let cache = self.sights.borrow().cache;
        self.shard.join(cache).await
    }

    /// Looks at the view until the session fails, or until it is to stop.
    async fn keep(&self, session: &Membership, memory: &mut Memory) -> Result<(), String> {
        let mut sights = self.sights.clone();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut others = Others::default();
        let mut looks = 0_u32;
        let mut reported = None;
        loop {
            let sight = *sights.borrow_and_update();
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = session.noted() => {
                    self.noted.notify_one();
                    continue;
                }
                _ = ticks.tick() => {}
                Ok(()) = sights.changed() => {}
                () = cut_is_due(sight) => {}
            }
            let sight = *sights.borrow_and_update();
            let asked = (Instant::now(), BootInstant::now());
            let seen = session.look().await?;
            memory.trouble = None;
            self.clock.observe(asked.0, seen.now);
            if let (Some(view), false) = (seen.view, self.is_in_process) {
                // First of all: everything else takes time, and the lease is short.
                self.renew(view, &seen, asked.1, memory);
            }
            if reported != Some(sight.cache) || !seen.is_registered {
                session.report(sight.cache).await?;
                reported = Some(sight.cache);
            }
            let is_round = looks.is_multiple_of(LOOKS_PER_ROUND);
            looks = looks.wrapping_add(1);
            if is_round {
                self.look_around(session, &mut others).await?;
            }
            if self.is_in_process {
                self.stay_alone(&others);
                continue;
            }
            match seen.view {
                Some(view) => {
                    self.change(session, view, seen.age, &others, memory)
                        .await?;
                }
                None => self.found(session, sight, memory).await?,
            }
        }
    }

    /// Makes the first view, with the cache if it can be reached by then.
    async fn found(
        &self,
        session: &Membership,
        sight: Sight,
        memory: &mut Memory,
    ) -> Result<(), String> {
        if sight.cache.is_none() && memory.since.elapsed() < FOUND_WITHOUT_CACHE_AFTER {
            return Ok(());
        }
        let asked = BootInstant::now();
        if let Some(view) = session.found(sight.cache).await? {
            self.lease.renew(view, asked, Before::IsOver);
            memory.has_lease = true;
        }
        Ok(())
    }

    fn renew(&self, view: View, seen: &Seen, asked: BootInstant, memory: &mut Memory) {
        let before = if !memory.has_lease && seen.age >= SETTLED_AFTER {
            Before::IsOver
        } else {
            Before::MayBeInUse
        };
        if let Some(last) = self.lease.last()
            && last != view
        {
            log_change(self.shard.id(), view, "by another proxy");
            self.metrics.view_changes.add(1);
        }
        self.lease.renew(view, asked, before);
        memory.has_lease = true;
    }

    /// Gives up a cache inside this process when another proxy is there: what that one writes could
    /// not be removed from it.
    fn stay_alone(&self, others: &Others) {
        if others.living > 0 && self.lease.last().is_some_and(|view| view.cache.is_some()) {
            tracing::error!(shard = %self.shard.id(), "another proxy is in front of this shard, and this one has its cache in the process, where it can't see what others write; it goes on without a cache. Set REDIS_URL for both, and start them again");
            self.lease.give_up();
        }
    }

    /// Learns which instance the others reach, and retires those that died.
    async fn look_around(&self, session: &Membership, others: &mut Others) -> Result<(), String> {
        let members = session.others().await?;
        others.living = 0;
        others.reach.clear();
        let mut gone_since = HashMap::new();
        for member in members {
            if member.is_alive {
                others.living += 1;
                if member.is_active {
                    others.reach.push(member.cache);
                }
                continue;
            }
            let since = others
                .gone_since
                .get(&member.id)
                .copied()
                .unwrap_or_else(Instant::now);
            if since.elapsed() >= DEAD_AFTER {
                self.crash_points.pass("retire:before");
                if session.retire(member.id).await?.is_some() {
                    tracing::info!(shard = %self.shard.id(), member = %member.id, "a proxy ended without signing off; what it left in the cache is fenced off");
                }
                self.crash_points.pass("retire:after");
            } else {
                gone_since.insert(member.id, since);
            }
        }
        others.gone_since = gone_since;
        Ok(())
    }

    /// Changes the view if it no longer fits what this proxy reaches.
    async fn change(
        &self,
        session: &Membership,
        view: View,
        age: Duration,
        others: &Others,
        memory: &mut Memory,
    ) -> Result<(), String> {
        let sight = *self.sights.borrow();
        let Some(cache) = view::change(view, age, sight, &others.reach, Instant::now()) else {
            return Ok(());
        };
        self.crash_points.pass("change:before");
        let asked = BootInstant::now();
        if let Some(view) = session.change(view.epoch, cache).await? {
            self.crash_points.pass("change:after");
            log_change(self.shard.id(), view, "by this proxy");
            self.metrics.view_changes.add(1);
            self.lease.renew(view, asked, Before::MayBeInUse);
            memory.has_lease = true;
        }
        Ok(())
    }
}

/// Resolves when a lost cache has been lost long enough to be taken out of the view.
async fn cut_is_due(sight: Sight) {
    match view::out_at(sight) {
        Some(at) if at > Instant::now() => tokio::time::sleep_until(at.into()).await,
        _ => std::future::pending().await,
    }
}

fn log_change(shard: ShardId, view: View, by: &str) {
    let View { epoch, cache } = view;
    match cache {
        Some(instance) => {
            tracing::info!(%shard, %epoch, %instance, by, "the view of the cache changed: on");
        }
        None => tracing::warn!(%shard, %epoch, by, "the view of the cache changed: off"),
    }
}
