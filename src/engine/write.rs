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

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::lane::{Item, Weight};
use crate::cache::{Cache, EntryKey};
use crate::command::Outcome;
use crate::error::{self, Error};
use crate::metrics::Metrics;
use crate::shard::{Operation, Shard};

/// Operations of one command on one shard. They commit together.
pub(super) struct WriteItem {
    pub(super) operations: SmallVec<[Operation; 1]>,
    pub(super) done: oneshot::Sender<Result<Vec<Outcome>, Error>>,
}

impl Item for WriteItem {
    fn weight(&self) -> Weight {
        Weight {
            operations: self.operations.len(),
            bytes: self
                .operations
                .iter()
                .map(|(key, mutation)| key.len() + mutation.weight())
                .sum(),
        }
    }
}

/// What a flight of writes needs.
pub(super) struct WritePath {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<Cache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
}

impl WritePath {
    /// One flight: commits the batch. FIN and the acknowledgements follow in a task of their own,
    /// so that the next batch does not wait for the cache.
    pub(super) async fn fly(self: Arc<Self>, batch: Vec<WriteItem>) {
        let mut operations = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for item in batch {
            waiting.push((item.operations.len(), item.done));
            operations.extend(item.operations);
        }
        self.metrics.shard_write_batches.add(1);
        self.metrics.shard_writes.add(operations.len() as u64);
        let result = self.shard.write(&operations).await;
        if result.is_err() {
            self.metrics.shard_errors.add(1);
        }
        let tasks = self.tasks.clone();
        tasks.spawn(self.finish(operations, waiting, result));
    }

    async fn finish(
        self: Arc<Self>,
        operations: Vec<Operation>,
        waiting: Vec<(usize, oneshot::Sender<Result<Vec<Outcome>, Error>>)>,
        result: Result<Vec<Outcome>, Error>,
    ) {
        let may_have_changed = match &result {
            Ok(_) => true,
            Err(error) => error.outcome() == error::Outcome::Unknown,
        };
        if may_have_changed {
            let entries: Vec<EntryKey> = operations
                .into_iter()
                .map(|(key, _)| EntryKey {
                    shard: self.shard.id(),
                    key,
                })
                .collect();
            // Unavailable: the cache drops what it can't account for before it is used again.
            let _ = self.cache.fin(&entries).await;
        }
        // A client that is gone no longer wants to know.
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (count, done) in waiting {
                    let _ = done.send(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for (_, done) in waiting {
                    let _ = done.send(Err(error.clone()));
                }
            }
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
    /// Which of the command's operations these are.
    pub(super) positions: SmallVec<[usize; 1]>,
    /// The answer to come; an error if the lane did not take the part.
    pub(super) result: Result<oneshot::Receiver<Result<Vec<Outcome>, Error>>, Error>,
}

impl Ticket {
    /// Waits until all shards have answered; outcomes are in the order of the operations.
    ///
    /// # Errors
    ///
    /// The first shard's error. Others may have done their part: a write over several shards is
    /// atomic on each, not over all.
    pub async fn wait(self) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = vec![Outcome::Refused; self.operations];
        let mut failed = None;
        for Part { positions, result } in self.parts {
            let result = match result {
                Ok(answer) => answer.await.unwrap_or(Err(Error::Stopping)),
                Err(error) => Err(error),
            };
            match result {
                Ok(answers) => {
                    for (position, answer) in positions.into_iter().zip(answers) {
                        if let Some(slot) = outcomes.get_mut(position) {
                            *slot = answer;
                        }
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(outcomes), Err)
    }
}
