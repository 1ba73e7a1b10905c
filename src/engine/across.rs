//! Transactions over several shards, by two-phase commit.
//!
//! ```text
//!            shard that decides      another shard         another shard
//!   lock      keys, read              keys, read            keys, read        in the order of the shards
//!             ───────────────── what it does is decided here, purely ─────────────────
//!   write     rows, its decision      rows                  rows
//!   prepare                           PREPARE               PREPARE
//!   decide    COMMIT
//!   finish                            COMMIT PREPARED       COMMIT PREPARED
//!             ─────────────────────── FIN for all keys, acknowledged ──────────────────
//! ```
//!
//! The decision is a row on the deciding shard, written in its branch: it is there exactly if that branch is
//! committed. What is prepared elsewhere stays until somebody has read it (`recover.rs`), so that a proxy may
//! die at any step. The row is inserted before anything is prepared: who looks for it waits until it is
//! committed or taken back, and where there is none inserts the contrary.
//!
//! Each branch writes its keys into the outbox of its shard. So whoever commits it, and whenever that is,
//! the caches are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::shard_cache::ShardCache;
use super::write::{FIN_WAIT_MAX, Written, unacknowledged};
use crate::adjustable::Size;
use crate::command::operation::Access;
use crate::command::{Operation, Outcome, Rows};
use crate::crash_points::CrashPoints;
use crate::error::{self, Error};
use crate::metrics::{Metrics, Spans};
use crate::routing::ShardId;
use crate::shard::{Branch, Decision, Gid, Shard, Shards, Verdict, WriteFailure};

/// Longest wait for the locks of all shards together. Less than a server lets a branch be idle.
const LOCKS_WAIT_MAX: Duration = Duration::from_secs(4);

/// Longest wait for one's turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long it is tried to learn what became of a decision whose answer was lost, and to finish what was
/// decided, before the client is told that it is open. Others go on with it then.
const SETTLE_MAX: Duration = Duration::from_secs(10);
const SETTLE_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What transactions over several shards need.
pub(super) struct Across {
    pub(super) shards: Arc<Shards>,
    /// By the index of the shard.
    pub(super) caches: Vec<Arc<ShardCache>>,
    /// Each holds a connection of every pool that it needs. The others are for everybody else.
    pub(super) turns: Semaphore,
    pub(super) turns_max: Size,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    pub(super) crash_points: CrashPoints,
}

/// The keys of each shard, with what has to be known of them.
type ByShard = BTreeMap<ShardId, BTreeMap<Bytes, Access>>;

/// How many may be under way at a time, with pools of so many connections.
pub(super) fn turns(pool_max_size: usize) -> usize {
    (pool_max_size / 2).max(1)
}

impl Across {
    /// Follows a change of the pools. Those that are under way keep their turns.
    pub(super) fn set_turns(&self, pool_max_size: usize) {
        let (old, new) = (self.turns_max.get(), turns(pool_max_size));
        let new = match new.checked_sub(old) {
            Some(more) => {
                self.turns.add_permits(more);
                new
            }
            None => old - self.turns.forget_permits(old - new),
        };
        self.turns_max.set(new);
    }

    /// Starts a transaction, which goes on whether or not anyone waits for it.
    pub(super) fn start(self: &Arc<Self>, operation: Operation) -> oneshot::Receiver<Written> {
        let (done, answer) = oneshot::channel();
        let across = Arc::clone(self);
        self.tasks.spawn(async move {
            let began = Instant::now();
            let result = across.run(&operation).await;
            let spans = Spans {
                shard: began.elapsed(),
                ..Spans::default()
            };
            if result.is_err() {
                across.metrics.shard_errors.add(1);
            }
            // A client that is gone no longer wants to know.
            let _ = done.send((result.map(|outcome| vec![outcome]), spans));
        });
        answer
    }

    async fn run(&self, operation: &Operation) -> Result<Outcome, Error> {
        let mut keys = ByShard::new();
        operation.keys(&mut |key, access| {
            let of_shard = keys.entry(self.shards.routing().shard_of(key)).or_default();
            *of_shard.entry(key.clone()).or_default() |= access;
        });
        let shards: Vec<&Arc<Shard>> = keys
            .keys()
            .filter_map(|shard| self.shards.all().get(shard.index()))
            .collect();
        self.refuse_at_once(&shards)?;
        // What could not be acknowledged is not begun.
        for shard in &shards {
            self.cache(shard.id())?.place_in_time().await?;
        }
        let decider = shards.first().map_or(ShardId::new(0), |shard| shard.id());
        let Ok(Ok(turn)) = timeout(TURN_WAIT_MAX, self.turns.acquire()).await else {
            return Err(Error::Busy {
                shard: decider,
                reason: format!(
                    "{} transactions over several shards are under way already",
                    self.turns_max.get()
                ),
            });
        };
        self.metrics.transactions_across.add(1);
        let branches = timeout(LOCKS_WAIT_MAX, lock(&shards, &keys)).await;
        let branches = branches.unwrap_or_else(|_elapsed| {
            let ms = LOCKS_WAIT_MAX.as_millis();
            Err(Error::ShardRefused {
                shard: decider,
                reason: format!("the locks on all shards were not had within {ms} ms"),
            })
        })?;
        let decided = self.decide(operation, branches).await;
        drop(turn);
        match decided {
            Ok(outcome) => {
                self.acknowledge(keys).await?;
                Ok(outcome)
            }
            Err(error) => {
                // Files have no outbox.
                if error.outcome() == error::Outcome::Unknown && self.is_in_files(&keys) {
                    self.fins(keys)?;
                }
                Err(error)
            }
        }
    }

    /// What can be seen to fail is not begun.
    fn refuse_at_once(&self, shards: &[&Arc<Shard>]) -> Result<(), Error> {
        for shard in shards {
            if let Err(reason) = shard.state() {
                let shard = shard.id();
                return Err(Error::ShardDown { shard, reason });
            }
        }
        let in_files: Vec<ShardId> = shards
            .iter()
            .filter(|shard| shard.is_private())
            .map(|shard| shard.id())
            .collect();
        // Files are all in this process; on a server others finish what is left behind, which
        // can't look into them.
        if in_files.is_empty() || in_files.len() == shards.len() {
            return Ok(());
        }
        Err(Error::CrossShard {
            shards: shards.iter().map(|shard| shard.id()).collect(),
            reason: format!("{} in SQLite, the others in PostgreSQL", named(&in_files)),
        })
    }

    /// From the locks to the commit on every shard, or to nothing on any.
    async fn decide(
        &self,
        operation: &Operation,
        mut branches: Vec<Branch>,
    ) -> Result<Outcome, Error> {
        let decider = match self.decider(&branches) {
            Ok(decider) => decider,
            Err(error) => return Err(taken_back(branches, error).await),
        };
        let mut rows = Rows::at(branches[decider].now(), self.shards.value_max());
        for branch in &mut branches {
            branch.put_into(&mut rows);
        }
        let outcome = operation.run(&mut rows);
        if !rows.iter().any(|(_, slot)| slot.changed) {
            // That they all can be rolled back says that all keys were locked at one instant.
            for rolled_back in join_all(branches.into_iter().map(Branch::roll_back)).await {
                rolled_back?;
            }
            return Ok(outcome);
        }
        let deployment = self.shards.deployment().unwrap_or_default();
        let member = self.shards.member().to_string();
        let gid = Gid::draw(deployment, branches[decider].shard().id(), &member);
        let deciding = branches.remove(decider);
        self.prepare(&gid, deciding, branches, &rows).await?;
        Ok(outcome)
    }

    /// Which branch decides: the first, or the one whose server can't prepare.
    fn decider(&self, branches: &[Branch]) -> Result<usize, Error> {
        let cannot: Vec<usize> = (0..branches.len())
            .filter(|branch| !branches[*branch].can_prepare())
            .collect();
        match cannot[..] {
            [] => Ok(0),
            [only] => Ok(only),
            _ => {
                let id = |branch: &Branch| branch.shard().id();
                let without: Vec<ShardId> = cannot.iter().map(|at| id(&branches[*at])).collect();
                Err(Error::CrossShard {
                    shards: branches.iter().map(id).collect(),
                    reason: format!(
                        "{} on servers with max_prepared_transactions = 0; raise it there",
                        named(&without)
                    ),
                })
            }
        }
    }

    /// Writes, prepares, decides and finishes.
    async fn prepare(
        &self,
        gid: &Gid,
        mut deciding: Branch,
        mut branches: Vec<Branch>,
        rows: &Rows,
    ) -> Result<(), Error> {
        let index =
            |branch: &Branch| i32::try_from(branch.shard().id().index()).unwrap_or(i32::MAX);
        let decision = Decision {
            gid: gid.clone(),
            branches: branches.iter().map(index).collect(),
        };
        let others = join_all(branches.iter_mut().map(|branch| branch.write(rows, None)));
        let (decided, others) = tokio::join!(deciding.write(rows, Some(&decision)), others);
        let written: Result<(), Error> = others.into_iter().chain([decided]).collect();
        if let Err(error) = written {
            branches.push(deciding);
            return Err(taken_back(branches, error).await);
        }

        self.crash_points.pass("across:written");
        let preparing = branches.iter_mut().map(async |branch| {
            let prepared = branch.prepare(gid).await;
            self.crash_points.pass("across:some-prepared");
            prepared
        });
        let prepared = join_all(preparing).await;
        if let Some(error) = prepared.iter().find_map(|prepared| prepared.as_ref().err()) {
            // What could not be taken back here is, once somebody asks for the decision.
            let taken_back = deciding.roll_back();
            let finished = branches
                .into_iter()
                .zip(&prepared)
                .filter(|(_, prepared)| prepared.is_ok())
                .map(|(branch, _)| branch.finish(gid, Verdict::Abort));
            let _ = tokio::join!(taken_back, join_all(finished));
            return Err(error.clone());
        }
        self.crash_points.pass("across:prepared");
        if let Err(failure) = deciding.commit().await {
            self.settle(gid, failure, &mut branches).await?;
        }
        self.crash_points.pass("across:decided");
        let finishing = branches.into_iter().map(async |branch| {
            let finished = self.commit_prepared(gid, branch).await;
            self.crash_points.pass("across:some-committed");
            finished
        });
        let open: Vec<Error> = join_all(finishing)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        self.crash_points.pass("across:committed");
        // The caches are told by way of the outbox then.
        open.into_iter().next().map_or(Ok(()), Err)
    }

    /// The answer to the deciding commit is missing. Returns if it was committed.
    async fn settle(
        &self,
        gid: &Gid,
        failure: WriteFailure,
        branches: &mut Vec<Branch>,
    ) -> Result<(), Error> {
        let WriteFailure { error, orphan, .. } = failure;
        let verdict = match &orphan {
            // It certainly was not.
            None => Some(Verdict::Abort),
            Some(orphan) => {
                let shard = gid.decider(self.shards.deployment().unwrap_or_default());
                let shard = shard.and_then(|shard| self.shards.all().get(shard.index()));
                let learn = async {
                    let shard = shard?;
                    shard.await_end(orphan).await;
                    loop {
                        if let Ok(verdict) = shard.verdict(gid).await {
                            return Some(verdict);
                        }
                        tokio::time::sleep(SETTLE_AGAIN_AFTER).await;
                    }
                };
                timeout(SETTLE_MAX, learn).await.ok().flatten()
            }
        };
        match verdict {
            Some(Verdict::Commit) => Ok(()),
            Some(Verdict::Abort) => {
                let branches = branches.drain(..);
                join_all(branches.map(|branch| branch.finish(gid, Verdict::Abort))).await;
                Err(match error {
                    Error::OutcomeUnknown { shard, reason } => Error::ShardDown { shard, reason },
                    other => other,
                })
            }
            None => Err(error),
        }
    }

    /// Commits what was prepared, now that it is decided; over other connections if need be.
    async fn commit_prepared(&self, gid: &Gid, branch: Branch) -> Result<(), Error> {
        let shard = Arc::clone(branch.shard());
        let Err(mut error) = branch.finish(gid, Verdict::Commit).await else {
            return Ok(());
        };
        let again = async {
            loop {
                match shard.finish(gid, Verdict::Commit).await {
                    Ok(()) => return,
                    Err(found) => error = found,
                }
                tokio::time::sleep(SETTLE_AGAIN_AFTER).await;
            }
        };
        if timeout(SETTLE_MAX, again).await.is_ok() {
            return Ok(());
        }
        let shard = shard.id();
        let reason = format!(
            "it is decided that it happens, and it will be seen there once the shard has been reached ({error})"
        );
        Err(Error::OutcomeUnknown { shard, reason })
    }

    /// FIN for every key that was named: the outcome tells what the rows are.
    async fn acknowledge(&self, keys: ByShard) -> Result<(), Error> {
        let mut fins = self.fins(keys)?;
        let told = async {
            for (shard, fin) in &mut fins {
                fin.await.map_err(|_| *shard)?;
            }
            Ok(())
        };
        match timeout(FIN_WAIT_MAX, told).await {
            Ok(Ok(())) => {
                self.crash_points.pass("across:fin");
                Ok(())
            }
            Ok(Err(shard)) => Err(unacknowledged(shard)),
            Err(_elapsed) => {
                let late = fins.iter().find(|(_, fin)| !fin.is_finished());
                Err(unacknowledged(
                    late.map_or(ShardId::new(0), |(shard, _)| *shard),
                ))
            }
        }
    }

    /// Starts the FIN on each shard. What nobody waits for has to be done all the same.
    fn fins(&self, keys: ByShard) -> Result<Vec<(ShardId, JoinHandle<()>)>, Error> {
        let mut fins = Vec::with_capacity(keys.len());
        for (shard, keys) in keys {
            let cache = Arc::clone(self.cache(shard)?);
            let keys: Vec<Bytes> = keys.into_keys().collect();
            let fin = self.tasks.spawn(async move { cache.fin(&keys).await });
            fins.push((shard, fin));
        }
        Ok(fins)
    }

    fn is_in_files(&self, keys: &ByShard) -> bool {
        let mut shards = keys
            .keys()
            .filter_map(|shard| self.caches.get(shard.index()));
        shards.all(|cache| cache.shard.is_private())
    }

    fn cache(&self, shard: ShardId) -> Result<&Arc<ShardCache>, Error> {
        self.caches.get(shard.index()).ok_or(Error::Stopping)
    }
}

/// Locks the keys of one shard after the other: the same order for all, so that no two transactions wait
/// for each other.
async fn lock(shards: &[&Arc<Shard>], keys: &ByShard) -> Result<Vec<Branch>, Error> {
    let mut branches = Vec::with_capacity(shards.len());
    for shard in shards {
        let keys: Vec<_> = keys
            .get(&shard.id())
            .into_iter()
            .flatten()
            .map(|(key, access)| (key.clone(), *access))
            .collect();
        match shard.begin(&keys).await {
            Ok(branch) => branches.push(branch),
            Err(error) => return Err(taken_back(branches, error).await),
        }
    }
    Ok(branches)
}

/// Rolls everything back because of `error`. What can't be is closed, and the server does it.
async fn taken_back(branches: Vec<Branch>, error: Error) -> Error {
    join_all(branches.into_iter().map(Branch::roll_back)).await;
    error
}

/// `shard_0 and shard_2 are`.
fn named(shards: &[ShardId]) -> String {
    let names: BTreeSet<String> = shards.iter().map(ShardId::to_string).collect();
    let names: Vec<String> = names.into_iter().collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(" and "))
}
