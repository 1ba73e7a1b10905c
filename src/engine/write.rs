//! The write path.
//!
//! ```text
//!   lane of the shard ──► one commit for the batch ──► FIN for all its keys ──► acknowledged
//! ```
//!
//! The acknowledgement comes last: from then on no cache holds anything older. FIN is sent for
//! every key of the batch, also where nothing changed, since the outcome tells the client what the
//! row is, and the cache must not answer something older after that.
//!
//! The lane has one flight at a time, so the writes of a key take effect in their order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::lane::{Item, Weight};
use super::locked::LockedKeys;
use super::outcome_of;
use super::shard_cache::ShardCache;
use crate::command::{Operation, Outcome};
use crate::crash_points::CrashPoints;
use crate::error::{self, Error};
use crate::metrics::{self, Metrics, Spans};
use crate::routing::ShardId;
use crate::shard::{Shard, WriteFailure};
use crate::trace::{Trace, Traces};

/// How long a committed write waits for its FIN before the client is told that it can't be
/// acknowledged. A change of view takes some 1.5 s.
pub(super) const FIN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Operations of one command on one shard. They commit together.
pub(super) struct WriteItem {
    pub(super) operations: SmallVec<[Operation; 1]>,
    times: Times,
    pub(super) done: Answer,
}

/// When the client's command was there, and when its batch left the lane.
#[derive(Debug, Clone)]
pub(super) struct Times {
    since: Instant,
    left: Instant,
    trace: Trace,
    /// Ends when its batch leaves.
    queue: Option<Trace>,
}

impl Times {
    /// Of what begins to wait now for its batch, or for room in front of it.
    pub(super) fn begin(since: Instant) -> Self {
        let trace = Trace::current();
        Self {
            since,
            left: since,
            queue: Some(trace.child("queue")),
            trace,
        }
    }
}

impl WriteItem {
    pub(super) fn new(operations: SmallVec<[Operation; 1]>, times: Times, done: Answer) -> Self {
        Self {
            operations,
            times,
            done,
        }
    }
}

impl Item for WriteItem {
    fn weight(&self) -> Weight {
        let mut weight = Weight {
            operations: 0,
            bytes: 0,
        };
        for operation in &self.operations {
            let (operations, bytes) = operation.weight();
            weight.operations += operations;
            weight.bytes += bytes;
        }
        weight
    }

    fn since(&self) -> Instant {
        self.times.since
    }
}

/// What a flight of writes needs.
pub(super) struct WritePath {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<ShardCache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    pub(super) crash_points: CrashPoints,
    pub(super) locked_keys: LockedKeys,
}

impl WritePath {
    /// One flight: commits the batch, and acknowledges it after its FIN. The next batch waits for
    /// that too: meanwhile it grows, and a commit costs PostgreSQL ten times what a row in it does.
    pub(super) async fn fly(self: Arc<Self>, mut batch: Vec<WriteItem>) {
        let left = Instant::now();
        for item in &mut batch {
            item.times.left = left;
            if let Some(queue) = item.times.queue.take() {
                queue.end();
            }
            let queued = left.saturating_duration_since(item.times.since);
            self.figures().queued.note_time(queued);
        }
        // What could not be acknowledged is not begun.
        if let Err(error) = self.cache.place_in_time().await {
            return self.fail(batch, &error);
        }
        let batch = self.without_locked(batch).await;
        if batch.is_empty() {
            return;
        }
        if let Err(refused) = self.commit(batch).await {
            self.around_locked(refused).await;
        }
    }

    fn figures(&self) -> &metrics::Operations {
        &self.metrics.shard(self.shard.id().index()).writes
    }

    /// Tells all that nothing was done.
    pub(super) fn fail(&self, batch: Vec<WriteItem>, error: &Error) {
        let waiting = batch
            .into_iter()
            .map(|item| (item.operations.len(), item.times, item.done))
            .collect();
        Waiting(waiting).fail(self.figures(), error);
    }

    /// Tells whoever waits for an item that it was not begun.
    pub(super) fn turn_away(&self, mut item: WriteItem, error: &Error) {
        // All its time was in front of the lane, or in it.
        item.times.left = Instant::now();
        self.fail(vec![item], error);
    }

    /// Commits the batch as one and acknowledges it, or tells the clients why not; only if a lock was
    /// not granted it is given back.
    pub(super) async fn commit(self: &Arc<Self>, batch: Vec<WriteItem>) -> Result<(), Refused> {
        let mut operations = Vec::with_capacity(batch.len());
        let mut waiting = Waiting(Vec::with_capacity(batch.len()));
        for item in batch {
            waiting
                .0
                .push((item.operations.len(), item.times, item.done));
            operations.extend(item.operations);
        }
        self.metrics.shard_write_batches.add(1);
        self.metrics.shard_writes.add(operations.len() as u64);
        self.crash_points.pass("write:before-commit");
        self.figures().batches.note_size(operations.len());
        let traces = waiting.traces("shard commit", self.shard.id(), operations.len());
        let sent = Instant::now();
        let result = self.shard.write(&operations).await;
        traces.end();
        let committed = Instant::now();
        self.figures().statements.note_time(committed - sent);
        if let Err(WriteFailure {
            error,
            is_locked: true,
            ..
        }) = result
        {
            let batch = waiting.with(operations);
            return Err(Refused { batch, error });
        }
        // A hot key stands in its batch many times, and has one entry.
        let mut keys: HashSet<Bytes> = HashSet::with_capacity(operations.len());
        for operation in operations {
            match operation {
                Operation::One(key, _) => {
                    keys.insert(key);
                }
                Operation::Many(many) => {
                    many.keys(&mut |key, _| {
                        keys.insert(key.clone());
                    });
                }
            }
        }
        let keys: Vec<Bytes> = keys.into_iter().collect();
        match result {
            Ok(outcomes) => {
                self.crash_points.pass("write:committed");
                self.acknowledge(keys, waiting, outcomes, committed).await;
            }
            Err(failure) => {
                self.metrics.shard_errors.add(1);
                self.tasks
                    .spawn(Arc::clone(self).give_up(keys, waiting, failure));
            }
        }
        Ok(())
    }

    async fn acknowledge(
        &self,
        keys: Vec<Bytes>,
        waiting: Waiting,
        outcomes: Vec<Outcome>,
        committed: Instant,
    ) {
        let cache = Arc::clone(&self.cache);
        let traces = waiting.traces("cache invalidate", self.shard.id(), keys.len());
        let mut fin = Box::pin(async move { cache.fin(&keys).await });
        if tokio::time::timeout(FIN_WAIT_MAX, &mut fin).await.is_ok() {
            self.crash_points.pass("write:fin");
            traces.end();
            return waiting.succeed(self.figures(), outcomes, committed);
        }
        waiting.fail(self.figures(), &unacknowledged(self.shard.id()));
        // What nobody waits for has to be done all the same.
        self.tasks.spawn(fin);
    }

    async fn give_up(self: Arc<Self>, keys: Vec<Bytes>, waiting: Waiting, failure: WriteFailure) {
        waiting.fail(self.figures(), &failure.error);
        if let Some(orphan) = failure.orphan {
            // The old value may be read as long as the write may still come about, and no longer.
            self.shard.await_end(&orphan).await;
            self.cache.fin(&keys).await;
        }
    }
}

/// Deletes every row of the shard, then everything that the cache has of it. What goes on after the
/// answer goes on in `tasks`.
pub(super) async fn clear(cache: Arc<ShardCache>, tasks: TaskTracker) -> Result<(), Error> {
    cache.place_in_time().await?;
    let shard = Arc::clone(&cache.shard);
    if let Err(WriteFailure { error, orphan, .. }) = shard.clear().await {
        if let Some(orphan) = orphan {
            tasks.spawn(async move {
                shard.await_end(&orphan).await;
                cache.clear().await;
            });
        }
        return Err(error);
    }
    let clearing = tasks.spawn(async move { cache.clear().await });
    match tokio::time::timeout(FIN_WAIT_MAX, clearing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(unacknowledged(shard.id())),
    }
}

/// The error of a commit that the cache could not be told of in time.
pub(super) fn unacknowledged(shard: ShardId) -> Error {
    let ms = FIN_WAIT_MAX.as_millis();
    let reason = format!(
        "it is committed, but the cache could not be told within {ms} ms, so that older values may be read"
    );
    Error::OutcomeUnknown { shard, reason }
}

/// A batch that was not done, since somebody else has a lock.
pub(super) struct Refused {
    pub(super) batch: Vec<WriteItem>,
    pub(super) error: Error,
}

/// The commands that wait for their parts of a batch, each with its number of operations.
struct Waiting(Vec<(usize, Times, Answer)>);

/// What became of the operations, and what that took.
pub(super) type Written = (Result<Vec<Outcome>, Error>, Spans);

type Answer = oneshot::Sender<Written>;

// A client that is gone no longer wants to know: what `send` says is of no interest.
impl Waiting {
    /// The items as they were, with their operations.
    fn with(self, operations: Vec<Operation>) -> Vec<WriteItem> {
        let mut operations = operations.into_iter();
        let item = |(count, times, done)| WriteItem {
            operations: operations.by_ref().take(count).collect(),
            times,
            done,
        };
        self.0.into_iter().map(item).collect()
    }

    /// Spans of all that wait, for what is done next.
    fn traces(&self, name: &'static str, shard: ShardId, operations: usize) -> Traces {
        let traces = self.0.iter().map(|(_, times, _)| &times.trace);
        Traces::of(traces, name, shard.index(), operations)
    }

    fn succeed(self, figures: &metrics::Operations, outcomes: Vec<Outcome>, committed: Instant) {
        figures.ended(metrics::Outcome::Ok, outcomes.len());
        let cache = committed.elapsed();
        let mut outcomes = outcomes.into_iter();
        for (operations, times, done) in self.0 {
            let spans = Spans {
                queue: times.left.saturating_duration_since(times.since),
                cache,
                shard: committed.saturating_duration_since(times.left),
            };
            let _ = done.send((Ok(outcomes.by_ref().take(operations).collect()), spans));
        }
    }

    fn fail(self, figures: &metrics::Operations, error: &Error) {
        let now = Instant::now();
        for (operations, times, done) in self.0 {
            figures.ended(outcome_of(error), operations);
            let spans = Spans {
                queue: times.left.saturating_duration_since(times.since),
                cache: Duration::ZERO,
                shard: now.saturating_duration_since(times.left),
            };
            let _ = done.send((Err(error.clone()), spans));
        }
    }
}

/// A write that is in the lanes of its shards. Dropping it does not call it back.
#[derive(Debug)]
#[must_use = "only waiting tells whether the write was done"]
pub struct Ticket {
    pub(super) operations: usize,
    pub(super) parts: SmallVec<[Part; 1]>,
}

/// The part of a write that one shard does.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shard: ShardId,
    /// Which of the command's operations these are.
    pub(super) positions: SmallVec<[usize; 1]>,
    /// The answer to come; an error if the lane did not take the part.
    pub(super) result: Result<oneshot::Receiver<Written>, Error>,
}

impl Ticket {
    /// Waits until all shards have answered; outcomes are in the order of the operations. Also tells what
    /// it took on the shard that took longest.
    ///
    /// # Errors
    ///
    /// The outcome is unknown on a shard; or the write was done on some shards and not on others,
    /// as it is atomic on each, not over all; or no shard did it, for the reason of the first.
    pub async fn wait(self) -> (Result<Vec<Outcome>, Error>, Spans) {
        let mut outcomes = vec![Outcome::Nil; self.operations];
        let mut failures: Vec<(ShardId, Error)> = Vec::new();
        let mut is_done_somewhere = false;
        let mut longest = Spans::default();
        for Part {
            shard,
            positions,
            result,
        } in self.parts
        {
            let result = match result {
                // The flight ended without an answer, which only a defect in it can bring about.
                Ok(answer) => match answer.await {
                    Ok((result, spans)) => {
                        longest = longest.or_longer(spans);
                        result
                    }
                    Err(_) => {
                        let reason = "the proxy lost track of it".to_owned();
                        Err(Error::OutcomeUnknown { shard, reason })
                    }
                },
                Err(error) => Err(error),
            };
            match result {
                Ok(answers) => {
                    is_done_somewhere = true;
                    for (position, answer) in positions.into_iter().zip(answers) {
                        if let Some(slot) = outcomes.get_mut(position) {
                            *slot = answer;
                        }
                    }
                }
                Err(error) => failures.push((shard, error)),
            }
        }
        let result = match summary(failures, is_done_somewhere) {
            Some(error) => Err(error),
            None => Ok(outcomes),
        };
        (result, longest)
    }
}

/// One error for what failed on several shards; `None` if nothing did.
pub(super) fn summary(failures: Vec<(ShardId, Error)>, is_done_somewhere: bool) -> Option<Error> {
    let unknown = failures
        .iter()
        .find(|(_, error)| error.outcome() == error::Outcome::Unknown);
    if let Some((_, error)) = unknown {
        return Some(error.clone());
    }
    let (shard, error) = failures.into_iter().next()?;
    if is_done_somewhere {
        return Some(error.after_others(shard));
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(shard: u16) -> (ShardId, Error) {
        let shard = ShardId::new(shard);
        (
            shard,
            Error::ShardDown {
                shard,
                reason: "gone".into(),
            },
        )
    }

    fn unknown(shard: u16) -> (ShardId, Error) {
        let shard = ShardId::new(shard);
        (
            shard,
            Error::OutcomeUnknown {
                shard,
                reason: "cut".into(),
            },
        )
    }

    #[test]
    fn only_what_no_shard_did_is_told_as_not_done() {
        assert_eq!(summary(vec![], true), None);
        assert_eq!(summary(vec![down(1), down(2)], false), Some(down(1).1));
        let partial = summary(vec![down(1)], true).unwrap();
        let text = partial.to_string();
        assert!(text.starts_with("SHARDDOWN shard_1 "), "{text}");
        assert!(text.ends_with("the other shards did theirs"), "{text}");
        assert_eq!(partial.outcome(), error::Outcome::Unknown);
    }

    #[test]
    fn an_unknown_outcome_is_not_hidden_by_a_known_one() {
        assert_eq!(
            summary(vec![down(0), unknown(1)], false),
            Some(unknown(1).1)
        );
        assert_eq!(summary(vec![down(0), unknown(1)], true), Some(unknown(1).1));
    }
}
