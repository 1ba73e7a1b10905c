//! Writes beside keys that somebody else keeps locked: a transaction over several shards in doubt, a
//! proxy that stands still, a session of psql.
//!
//! ```text
//!   batch ──► a lock is not granted in time: nothing was changed
//!               │ which keys are locked?
//!               ├─► the others' writes: committed at once, acknowledged
//!               └─► looked at again and again: free ──► committed; still locked ──► told so
//! ```
//!
//! Between proxies keys are locked all the time, and a batch of another proxy that waits for such a
//! key has its other keys locked as long. So only a key that is never found free for a while counts
//! as locked. It is remembered, so that the next batches need not wait for it to find out.
//!
//! A key's writes keep their order: what comes after a write that waits, and shares a key with it,
//! waits too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::write::{Refused, WriteItem, WritePath};
use crate::error::Error;
use crate::routing::ShardId;

/// How long a key is looked at, and how often, until it counts as locked: what another proxy's batch
/// waits for a lock, and a little more.
const LOOK_MAX: Duration = Duration::from_millis(1200);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How long and how often one is that was found locked not long ago. The whole lane waits for it.
const KNOWN_LOOK_MAX: Duration = Duration::from_millis(10);
const KNOWN_LOOK_AGAIN_AFTER: Duration = Duration::from_millis(4);

/// How long a key is remembered after it was last found locked, and how many are.
const KNOWN_FOR: Duration = Duration::from_secs(10);
const KNOWN_MAX: usize = 10_000;

/// How long a flight is tried around locked keys before the rest of it is told so.
const AROUND_MAX: Duration = Duration::from_secs(8);

/// The keys that were found locked, with when that was last.
#[derive(Default)]
pub(super) struct LockedKeys(Mutex<HashMap<Bytes, Instant>>);

impl LockedKeys {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, keys: &HashSet<Bytes>) {
        let mut known = self.lock();
        known.retain(|_, found| found.elapsed() < KNOWN_FOR);
        let room = KNOWN_MAX.saturating_sub(known.len());
        let now = Instant::now();
        known.extend(keys.iter().take(room).map(|key| (key.clone(), now)));
    }

    /// Those of the batch.
    fn in_batch(&self, batch: &[WriteItem]) -> HashSet<Bytes> {
        let mut found = HashSet::new();
        let mut known = self.lock();
        if known.is_empty() {
            return found;
        }
        known.retain(|_, found| found.elapsed() < KNOWN_FOR);
        each_key(batch, |key| {
            if known.contains_key(key) {
                found.insert(key.clone());
            }
        });
        found
    }

    fn forget(&self, keys: &HashSet<Bytes>) {
        self.lock().retain(|key, _| !keys.contains(key));
    }
}

impl WritePath {
    /// Fails what needs a key that was found locked, and still is; returns the rest.
    pub(super) async fn without_locked(&self, batch: Vec<WriteItem>) -> Vec<WriteItem> {
        let known = self.locked_keys.in_batch(&batch);
        if known.is_empty() {
            return batch;
        }
        let begun = Instant::now();
        let mut locked = known.clone();
        loop {
            let keys: Vec<Bytes> = locked.iter().cloned().collect();
            // Where it can't be found out, the batch finds it out.
            let found = self.shard.locked(&keys).await.unwrap_or_default();
            locked.retain(|key| found.contains(key));
            if locked.is_empty() || begun.elapsed() >= KNOWN_LOOK_MAX {
                break;
            }
            tokio::time::sleep(KNOWN_LOOK_AGAIN_AFTER).await;
        }
        self.locked_keys.forget(&known);
        self.refuse(batch, &locked)
    }

    /// Does what can be done of a batch that was refused a lock.
    pub(super) async fn around_locked(self: &Arc<Self>, refused: Refused) {
        let Refused { batch, error } = refused;
        let begun = Instant::now();
        let mut left: Vec<(usize, WriteItem)> = batch.into_iter().enumerate().collect();
        // The keys that are locked, with when they were first found so.
        let mut locked: HashMap<Bytes, Instant> = HashMap::new();
        let mut was_refused = true;
        while !left.is_empty() {
            if begun.elapsed() >= AROUND_MAX {
                self.metrics.shard_errors.add(1);
                return self.fail(without_positions(left).1, &error);
            }
            let mut keys: HashSet<Bytes> = locked.keys().cloned().collect();
            if was_refused {
                each_key(left.iter().map(|(_, item)| item), |key| {
                    keys.insert(key.clone());
                });
            } else {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            let keys: Vec<Bytes> = keys.into_iter().collect();
            let found: HashSet<Bytes> = match self.shard.locked(&keys).await {
                Ok(found) => found.into_iter().collect(),
                Err(error) => {
                    self.metrics.shard_errors.add(1);
                    return self.fail(without_positions(left).1, &error);
                }
            };
            let now = Instant::now();
            locked.retain(|key, _| found.contains(key));
            for key in found {
                locked.entry(key).or_insert(now);
            }
            let overdue: HashSet<Bytes> = locked
                .iter()
                .filter(|(_, since)| now.duration_since(**since) >= LOOK_MAX)
                .map(|(key, _)| key.clone())
                .collect();
            if !overdue.is_empty() {
                left = self.refuse(left, &overdue);
                locked.retain(|key, _| !overdue.contains(key));
            }
            let (go, apart) = split(left, locked.keys().cloned().collect());
            left = apart;
            was_refused = false;
            if go.is_empty() {
                continue;
            }
            let (positions, batch) = without_positions(go);
            if let Err(Refused { batch, .. }) = self.commit(batch).await {
                was_refused = true;
                left.extend(positions.into_iter().zip(batch));
                left.sort_unstable_by_key(|(position, _)| *position);
            }
        }
    }

    /// Fails what needs one of the keys, which are locked; returns the rest.
    fn refuse<I: AsItem>(&self, batch: Vec<I>, locked: &HashSet<Bytes>) -> Vec<I> {
        if locked.is_empty() {
            return batch;
        }
        self.locked_keys.remember(locked);
        self.metrics.shard_errors.add(1);
        let error = held(self.shard.id());
        let (refused, rest): (Vec<I>, Vec<I>) = batch
            .into_iter()
            .partition(|item| needs_any(item.item(), locked));
        self.fail(refused.into_iter().map(AsItem::into_item).collect(), &error);
        rest
    }
}

/// An item, perhaps with its position in the batch.
trait AsItem {
    fn item(&self) -> &WriteItem;
    fn into_item(self) -> WriteItem;
}

impl AsItem for WriteItem {
    fn item(&self) -> &WriteItem {
        self
    }

    fn into_item(self) -> WriteItem {
        self
    }
}

impl AsItem for (usize, WriteItem) {
    fn item(&self) -> &WriteItem {
        &self.1
    }

    fn into_item(self) -> WriteItem {
        self.1
    }
}

/// What can be done now, and what needs a locked key or comes after something that does.
fn split<I: AsItem>(batch: Vec<I>, mut waited_for: HashSet<Bytes>) -> (Vec<I>, Vec<I>) {
    let (mut go, mut apart) = (Vec::new(), Vec::new());
    for item in batch {
        if needs_any(item.item(), &waited_for) {
            each_key([item.item()], |key| {
                waited_for.insert(key.clone());
            });
            apart.push(item);
        } else {
            go.push(item);
        }
    }
    (go, apart)
}

fn needs_any(item: &WriteItem, keys: &HashSet<Bytes>) -> bool {
    let mut is_needed = false;
    each_key([item], |key| is_needed |= keys.contains(key));
    is_needed
}

fn each_key<'a>(items: impl IntoIterator<Item = &'a WriteItem>, mut tell: impl FnMut(&Bytes)) {
    for operation in items.into_iter().flat_map(|item| &item.operations) {
        operation.keys(&mut |key, _| tell(key));
    }
}

fn without_positions(batch: Vec<(usize, WriteItem)>) -> (Vec<usize>, Vec<WriteItem>) {
    batch.into_iter().unzip()
}

fn held(shard: ShardId) -> Error {
    let reason = "the key is locked by another transaction: one over several shards whose outcome is open, \
                  or that of somebody's own session; try again once it has ended";
    Error::ShardRefused {
        shard,
        reason: reason.to_owned(),
    }
}

/// The error of a read that can't tell yet whether there is a row.
pub(super) fn expired(shard: ShardId) -> Error {
    let reason = "the key has expired, and is locked by another transaction that may still write it; \
                  try again once that has ended";
    Error::ShardRefused {
        shard,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Operation;
    use crate::command::operation::Many;
    use crate::engine::write::Times;
    use smallvec::smallvec;
    use tokio::sync::oneshot;

    fn item(keys: &[&'static str]) -> WriteItem {
        let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes()));
        let operations = smallvec![Operation::Many(Box::new(Many::Delete(keys.collect())))];
        WriteItem::new(
            operations,
            Times::begin(Instant::now()),
            oneshot::channel().0,
        )
    }

    #[test]
    fn what_comes_after_a_write_that_waits_waits_if_it_shares_a_key() {
        let batch = [&["b"][..], &["a", "b"], &["c"], &["b", "d"], &["d"], &["e"]];
        let batch: Vec<_> = batch.into_iter().map(item).enumerate().collect();
        let (go, apart) = split(batch, HashSet::from([Bytes::from_static(b"a")]));
        assert_eq!(without_positions(go).0, [0, 2, 5]);
        assert_eq!(without_positions(apart).0, [1, 3, 4]);
    }
}
