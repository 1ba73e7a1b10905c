//! Keeping the view of one shard: reading it often enough that the lease on it lasts, changing it
//! when the cache that it names is lost or replaced, and clearing up after proxies that died.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::boot_clock::BootInstant;
use super::clock::ShardClock;
use super::lease::{Before, ViewLease};
use super::members::Members;
use crate::crash_points::CrashPoints;
use crate::metrics::Metrics;
use crate::shard::{MemberId, Membership, Seen, Shard};
use crate::view::{Judge, LOOK_EVERY, Sight, View};

/// How soon a lost session is opened again.
const JOIN_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How soon what the shard refused is asked again.
const TEND_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How soon a keeper that panicked is started again.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long the very first view waits for the cache, so that it need not be changed at once.
const FOUND_WITHOUT_CACHE_AFTER: Duration = Duration::from_secs(1);

/// Every so many looks at the view, the other proxies are looked at.
const LOOKS_PER_ROUND: u32 = 2;

/// One line about the same trouble in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Keeps the view of one shard until it is stopped.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) shard: Arc<Shard>,
    pub(super) lease: Arc<ViewLease>,
    /// The cache is in this process, and the shard is locked for it: there is nobody to agree with.
    pub(super) is_alone: bool,
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
    judge: Judge,
    logged: HashMap<&'static str, Instant>,
    tend_after: Instant,
}

/// A retirement under way. Waiting for a dead proxy's sessions to end must not hold up the looks.
type Retirement<'a> = Pin<Box<dyn Future<Output = Retired> + Send + 'a>>;

/// The view that a retirement changed to, if it did, and when that was asked for.
type Retired = Result<Option<(View, BootInstant)>, String>;

impl Keeper {
    /// Runs until it is stopped.
    pub(super) async fn run(self) {
        // A defect in it must not leave the shard without a view for good.
        while let Err(error) = tokio::spawn(self.clone().keep_on()).await {
            tracing::error!(shard = %self.shard.id(), %error, "what keeps its view of the cache failed; starting again");
            sleep(START_AGAIN_AFTER).await;
        }
    }

    /// Opens one session after the other.
    async fn keep_on(self) {
        let mut memory = Memory {
            since: Instant::now(),
            judge: Judge::default(),
            logged: HashMap::new(),
            tend_after: Instant::now(),
        };
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let trouble = match stop.run_until_cancelled(self.join()).await {
                None => return,
                Some(Ok(session)) => {
                    let kept = if self.is_alone {
                        self.take_over(&session).await
                    } else {
                        self.keep(&session, &mut memory).await
                    };
                    match kept {
                        Ok(()) => return self.leave(session).await,
                        Err(reason) => reason,
                    }
                }
                Some(Err(reason)) => reason,
            };
            self.log(&mut memory, "its view of the cache can't be read", &trouble);
            let _ = stop.run_until_cancelled(sleep(JOIN_AGAIN_AFTER)).await;
        }
    }

    async fn join(&self) -> Result<Membership, String> {
        let cache = self.sights.borrow().cache;
        self.shard.join(cache).await
    }

    /// Nobody has to clear up after a proxy that said goodbye.
    async fn leave(&self, session: Membership) {
        if let Err(reason) = session.leave().await {
            tracing::warn!(shard = %self.shard.id(), %reason, "could not sign off");
        }
    }

    /// Puts out the view that other proxies may have left, whose cache can't be told of what this one
    /// writes. Then the cache is its own.
    async fn take_over(&self, session: &Membership) -> Result<(), String> {
        if let Some(view) = session.look().await?.view
            && view.cache.is_some()
        {
            session.change(view.epoch, None).await?;
        }
        if let Some(own) = self.sights.borrow().cache {
            self.lease.own(own);
        }
        Ok(())
    }

    /// Looks at the view until the session is lost, or until it is to stop.
    async fn keep(&self, session: &Membership, memory: &mut Memory) -> Result<(), String> {
        let mut sights = self.sights.clone();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut members = Members::default();
        let mut retirement: Option<Retirement<'_>> = None;
        let mut reported = None;
        for looks in 0_u32.. {
            let sight = *sights.borrow_and_update();
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = session.noted() => {
                    self.noted.notify_one();
                    continue;
                }
                retired = under_way(&mut retirement) => {
                    retirement = None;
                    self.note_retirement(retired, memory);
                    continue;
                }
                _ = ticks.tick() => {}
                Ok(()) = sights.changed() => {}
                () = cut_is_due(memory.judge, sight) => {}
            }
            let sight = *sights.borrow_and_update();
            memory.judge.sees(sight, Instant::now());
            let seen = self.look(session, memory).await?;
            if memory.tend_after > Instant::now() {
                continue;
            }
            let tended = async {
                if reported != Some(sight.cache) || !seen.is_registered {
                    session.report(sight.cache).await?;
                    reported = Some(sight.cache);
                }
                if looks.is_multiple_of(LOOKS_PER_ROUND) {
                    members.learn(&session.others().await?, Instant::now());
                }
                self.tend(session, seen, &members, memory).await
            };
            // Only a look that fails says that the session is lost.
            if let Err(reason) = tended.await {
                self.log(memory, "its view of the cache can't be changed", &reason);
                memory.tend_after = Instant::now() + TEND_AGAIN_AFTER;
            } else if retirement.is_none()
                && let Some(dead) = members.take_dead(Instant::now())
            {
                retirement = Some(Box::pin(self.retire(session, dead)));
            }
        }
        Ok(())
    }

    /// Reads the view and renews the lease on it.
    async fn look(&self, session: &Membership, memory: &mut Memory) -> Result<Seen, String> {
        let asked = BootInstant::now();
        let seen = session.look().await?;
        self.clock.observe(asked, seen.now);
        if let Some(view) = seen.view {
            if self.lease.last().is_some_and(|last| last != view) {
                self.log_change(view, "another proxy");
            }
            // Nobody else can be in front of a shard that is locked for this process.
            let before = if self.shard.is_private() {
                Before::IsOver
            } else {
                Before::MayBeInUse
            };
            self.lease.renew(view, asked, before);
            memory.judge.learns(view, Instant::now());
        }
        Ok(seen)
    }

    /// Makes the first view, or changes the one that does not fit what this proxy reaches.
    async fn tend(
        &self,
        session: &Membership,
        seen: Seen,
        members: &Members,
        memory: &mut Memory,
    ) -> Result<(), String> {
        let sight = *self.sights.borrow();
        let Some(view) = seen.view else {
            let is_time = memory.since.elapsed() >= FOUND_WITHOUT_CACHE_AFTER;
            if sight.cache.is_some() || is_time {
                let asked = BootInstant::now();
                if let Some(view) = session.found(sight.cache).await? {
                    self.lease.renew(view, asked, Before::IsOver);
                    memory.judge.learns(view, Instant::now());
                }
            }
            return Ok(());
        };
        let others = members.others();
        let now = Instant::now();
        if let Some(cache) = memory.judge.change(view, seen.age, sight, others, now) {
            self.crash_points.pass("change:before");
            let asked = BootInstant::now();
            if let Some(view) = session.change(view.epoch, cache).await? {
                self.crash_points.pass("change:after");
                self.use_own(view, asked, memory);
            }
        } else if view.cache.is_none()
            && let Some(other) = memory.judge.disagrees(sight, others, now)
        {
            let ours = sight.cache.map_or("none".to_owned(), |own| own.to_string());
            let theirs = other.cache.map_or("none".to_owned(), |own| own.to_string());
            let reason = format!("this proxy reaches {ours}, another {theirs}");
            self.log(
                memory,
                "no cache is used: the proxies do not reach the same one",
                &reason,
            );
        }
        Ok(())
    }

    async fn retire(&self, session: &Membership, dead: MemberId) -> Retired {
        self.crash_points.pass("retire:before");
        let asked = BootInstant::now();
        let changed = session.retire(dead).await?;
        self.crash_points.pass("retire:after");
        if changed.is_some() {
            tracing::info!(shard = %self.shard.id(), member = %dead, "a proxy ended without signing off; what it left in the cache is fenced off");
        }
        Ok(changed.map(|view| (view, asked)))
    }

    fn note_retirement(&self, retired: Retired, memory: &mut Memory) {
        match retired {
            Ok(Some((view, asked))) => self.use_own(view, asked, memory),
            Ok(None) => {}
            Err(reason) => self.log(memory, "a dead proxy can't be retired", &reason),
        }
    }

    /// Takes note of a view that this proxy has made.
    fn use_own(&self, view: View, asked: BootInstant, memory: &mut Memory) {
        if self.lease.last() != Some(view) {
            self.log_change(view, "this proxy");
        }
        self.lease.renew(view, asked, Before::MayBeInUse);
        memory.judge.learns(view, Instant::now());
    }

    fn log_change(&self, view: View, by: &str) {
        self.metrics.view_changes.add(1);
        let (shard, epoch) = (self.shard.id(), view.epoch);
        match view.cache {
            Some(instance) => {
                tracing::info!(%shard, %epoch, %instance, by, "the view of the cache changed: on");
            }
            None => tracing::warn!(%shard, %epoch, by, "the view of the cache changed: off"),
        }
    }

    /// While the shard is down, its breaker has said so already.
    fn log(&self, memory: &mut Memory, what: &'static str, reason: &str) {
        let shard = self.shard.id();
        let now = Instant::now();
        let is_new = memory
            .logged
            .get(what)
            .is_none_or(|last| now.saturating_duration_since(*last) >= LOG_EVERY);
        if is_new && self.shard.state().is_ok() {
            memory.logged.insert(what, now);
            tracing::warn!(%shard, reason, "{what}");
        } else {
            tracing::debug!(%shard, reason, "{what}");
        }
    }
}

/// Resolves with the end of the retirement that is under way, if one is.
async fn under_way(retirement: &mut Option<Retirement<'_>>) -> Retired {
    match retirement {
        Some(retirement) => retirement.await,
        None => pending().await,
    }
}

/// Resolves when a lost cache has been lost long enough to be taken out of the view.
async fn cut_is_due(judge: Judge, sight: Sight) {
    match judge.out_at(sight) {
        Some(at) if at > Instant::now() => tokio::time::sleep_until(at.into()).await,
        _ => pending().await,
    }
}
