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

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::lane::{Item, Weight};
use crate::cache::{Cache, EntryKey};
use crate::command::Outcome;
use crate::error::{self, Error};
use crate::metrics::Metrics;
use crate::routing::ShardId;
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
            waiting.push(Waiting {
                operations: item.operations.len(),
                done: item.done,
            });
            operations.extend(item.operations);
        }
        self.metrics.shard_write_batches.add(1);
        self.metrics.shard_writes.add(operations.len() as u64);
        let result = self
            .shard
            .write(&operations)
            .await
            .map_err(|failure| failure.error);
        if result.is_err() {
            self.metrics.shard_errors.add(1);
        }
        let tasks = self.tasks.clone();
        tasks.spawn(self.finish(operations, waiting, result));
    }

    async fn finish(
        self: Arc<Self>,
        operations: Vec<Operation>,
        waiting: Vec<Waiting>,
        result: Result<Vec<Outcome>, Error>,
    ) {
        let may_have_changed = match &result {
            Ok(_) => true,
            Err(error) => error.outcome() == error::Outcome::Unknown,
        };
        if may_have_changed {
            // A hot key stands in its batch many times, and has one entry.
            let entries: HashSet<EntryKey> = operations
                .into_iter()
                .map(|(key, _)| EntryKey {
                    shard: self.shard.id(),
                    key,
                })
                .collect();
            let entries: Vec<EntryKey> = entries.into_iter().collect();
            // Unavailable: the cache drops what it can't account for before it is used again.
            let _ = self.cache.fin(&entries).await;
        }
        // A client that is gone no longer wants to know.
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for Waiting { operations, done } in waiting {
                    let _ = done.send(Ok(outcomes.by_ref().take(operations).collect()));
                }
            }
            Err(error) => {
                for Waiting { done, .. } in waiting {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }
}

/// A command that waits for its part of a batch.
struct Waiting {
    operations: usize,
    done: oneshot::Sender<Result<Vec<Outcome>, Error>>,
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
    pub(super) result: Result<oneshot::Receiver<Result<Vec<Outcome>, Error>>, Error>,
}

impl Ticket {
    /// Waits until all shards have answered; outcomes are in the order of the operations.
    ///
    /// # Errors
    ///
    /// The outcome is unknown on a shard; or the write was done on some shards and not on others,
    /// as it is atomic on each, not over all; or no shard did it, for the reason of the first.
    pub async fn wait(self) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = vec![Outcome::Refused; self.operations];
        let mut failures: Vec<(ShardId, Error)> = Vec::new();
        let mut is_done_somewhere = false;
        for Part {
            shard,
            positions,
            result,
        } in self.parts
        {
            let result = match result {
                // The flight ended without an answer, which only a defect in it can bring about.
                Ok(answer) => answer.await.unwrap_or_else(|_| {
                    let reason = "the proxy lost track of it".to_owned();
                    Err(Error::OutcomeUnknown { shard, reason })
                }),
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
        match summary(failures, is_done_somewhere) {
            Some(error) => Err(error),
            None => Ok(outcomes),
        }
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
