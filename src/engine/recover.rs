//! Finishing the transactions over several shards that were left behind: the proxy died, or its connection
//! was lost, between preparing a branch and finishing it. Every proxy does so, on every shard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::shard::{Decision, Gid, Shard, Shards};

/// How often it is looked for them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A branch that has been prepared for less is still in its proxy's hands. It would be no harm to ask
/// earlier: who asks waits for a decision that is under way.
const IN_DOUBT_AFTER: Duration = Duration::from_secs(1);

/// Every so many looks, decisions that nobody needs any more are forgotten.
const LOOKS_PER_CLEANING: u32 = 10;

/// One line about the same trouble in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Recovers what was left behind on one shard.
pub(super) struct Recovery {
    pub(super) shard: Arc<Shard>,
    pub(super) shards: Arc<Shards>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Recovery {
    pub(super) async fn run(self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged = None;
        for looks in 1_u32.. {
            let round = async {
                ticks.tick().await;
                // While the shard is down there is nothing to see, and that has been said.
                let _ = self.finish_all(&mut logged).await;
                if looks.is_multiple_of(LOOKS_PER_CLEANING) {
                    let _ = self.forget_all().await;
                }
            };
            if self.stop.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
    }

    async fn finish_all(&self, logged: &mut Option<Instant>) -> Result<(), Error> {
        let Some(deployment) = self.shards.deployment() else {
            return Ok(());
        };
        for gid in self.shard.in_doubt(deployment, IN_DOUBT_AFTER).await? {
            if let Err(reason) = self.finish(deployment, &gid).await
                && logged.is_none_or(|last| last.elapsed() >= LOG_EVERY)
            {
                *logged = Some(Instant::now());
                tracing::warn!(shard = %self.shard.id(), %gid, %reason, "a transaction over several shards was left behind, and can't be finished yet; its keys are locked");
            }
        }
        Ok(())
    }

    async fn finish(&self, deployment: &str, gid: &Gid) -> Result<(), String> {
        let decider = gid
            .decider(deployment)
            .and_then(|decider| self.shards.all().get(decider.index()))
            .ok_or("its name does not tell who decides on it")?;
        let verdict = decider.verdict(gid).await.map_err(|e| e.to_string())?;
        let finished = self.shard.finish(gid, verdict).await;
        finished.map_err(|error| error.to_string())?;
        self.metrics.transactions_recovered.add(1);
        tracing::info!(shard = %self.shard.id(), %gid, ?verdict, "a transaction over several shards was left behind; its part here is finished");
        Ok(())
    }

    /// A decision is needed as long as there may be a branch that is prepared: whoever finds none takes
    /// the transaction for undecided.
    async fn forget_all(&self) -> Result<(), Error> {
        loop {
            let old = self.shard.old_decisions().await?;
            let mut open: HashMap<i32, Option<HashSet<Gid>>> = HashMap::new();
            for branch in old.iter().flat_map(|decision| &decision.branches) {
                if !open.contains_key(branch) {
                    open.insert(*branch, self.open_on(*branch).await);
                }
            }
            let is_done = |decision: &&Decision| {
                decision.branches.iter().all(|branch| {
                    matches!(open.get(branch), Some(Some(open)) if !open.contains(&decision.gid))
                })
            };
            let done: Vec<Gid> = old.iter().filter(is_done).map(|d| d.gid.clone()).collect();
            if done.is_empty() {
                return Ok(());
            }
            self.shard.forget(&done).await?;
        }
    }

    /// What is prepared on a shard; `None` if that can't be told.
    async fn open_on(&self, branch: i32) -> Option<HashSet<Gid>> {
        let shard = self.shards.all().get(usize::try_from(branch).ok()?)?;
        let deployment = self.shards.deployment()?;
        let open = shard.in_doubt(deployment, Duration::ZERO).await.ok()?;
        Some(open.into_iter().collect())
    }
}
