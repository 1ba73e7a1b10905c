//! The read path.
//!
//! ```text
//!   cache.get ──► hit: answered, one round trip, no shard involved
//!       │ miss
//!       ▼
//!   lane of the shard ──► LEASE ──► read the shard ──► FILL or SEEN ──► answered
//! ```
//!
//! A reader says what it saw at the shard (FILL or SEEN) *before* it answers. Without that, one
//! reader could get the new value from the shard and the next an old one from the cache.
//!
//! Reads of one key share a flight only if they were in the queue when it left. One that comes
//! later may come after a write that the flight did not see.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Found;
use super::clock::ShardClock;
use super::lane::{Item, Weight};
use crate::cache::{Cache, Cached, EntryKey, Lease, Sighting, Token};
use crate::command::Row;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::shard::Shard;
use crate::view::Epoch;

/// A key that has to be read from its shard.
pub(super) struct Miss {
    pub(super) key: Bytes,
    pub(super) done: oneshot::Sender<Result<Found, Error>>,
}

impl Item for Miss {
    fn weight(&self) -> Weight {
        Weight {
            operations: 1,
            bytes: self.key.len(),
        }
    }
}

/// What a flight of reads needs.
pub(super) struct ReadPath {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Arc<ShardClock>,
    pub(super) metrics: Arc<Metrics>,
}

/// The row that a cache entry stands for; `None` if it can't be used, since the row may have
/// expired at the shard by now.
pub(super) fn usable(cached: Cached, clock: &ShardClock) -> Option<Option<Row>> {
    match cached {
        Cached::Absent => Some(None),
        Cached::Row(row) if row.expires_at.is_none() => Some(Some(row)),
        Cached::Row(row) => clock
            .latest_possible_now()
            .filter(|now| row.is_live(*now))
            .map(|_| Some(row)),
    }
}

impl ReadPath {
    /// One flight: answers every miss.
    pub(super) async fn fly(self: Arc<Self>, misses: Vec<Miss>) {
        let mut waiting: HashMap<Bytes, Vec<oneshot::Sender<Result<Found, Error>>>> =
            HashMap::new();
        for miss in misses {
            waiting.entry(miss.key).or_default().push(miss.done);
        }
        let keys: Vec<Bytes> = waiting.keys().cloned().collect();
        let mut answer = |key: &Bytes, result: Result<Found, Error>| {
            for done in waiting.remove(key).unwrap_or_default() {
                // A client that is gone no longer wants to know.
                let _ = done.send(result.clone());
            }
        };

        let (keys, tokens) = self.lease(keys, &mut answer).await;
        if keys.is_empty() {
            return;
        }
        let asked = Instant::now();
        self.metrics.shard_read_batches.add(1);
        let reading = match self.shard.read(&keys).await {
            Ok(reading) => reading,
            Err(error) => {
                self.metrics.shard_errors.add(1);
                for key in &keys {
                    answer(key, Err(error.clone()));
                }
                return;
            }
        };
        if let Some(now) = reading.now {
            self.clock.observe(asked, now);
        }
        let elapsed = asked.elapsed();
        let sightings: Vec<Sighting> = keys
            .iter()
            .zip(tokens)
            .zip(&reading.rows)
            .map(|((key, token), row)| Sighting {
                entry: self.entry(key),
                token,
                row: row.clone(),
                // The shard looked when it was asked or later, so this never is too long.
                time_left: row.as_ref().and_then(|row| {
                    let left = row.expires_at?.since(reading.now?);
                    Some(left.saturating_sub(elapsed))
                }),
            })
            .collect();
        if let Some(session) = super::session(&self.cache) {
            let _ = session.settle(&sightings).await;
        }
        for (key, row) in keys.iter().zip(reading.rows) {
            answer(
                key,
                Ok(Found {
                    row,
                    from_cache: false,
                }),
            );
        }
    }

    /// Places leases. Answers what was filled in the meantime; returns the keys to read, and for each
    /// the token if it was granted.
    async fn lease(
        &self,
        keys: Vec<Bytes>,
        answer: &mut impl FnMut(&Bytes, Result<Found, Error>),
    ) -> (Vec<Bytes>, Vec<Option<Token>>) {
        let token = Token::draw();
        let entries: Vec<EntryKey> = keys.iter().map(|key| self.entry(key)).collect();
        let leases = match super::session(&self.cache) {
            Some(session) => session.lease(&entries, token).await.ok(),
            None => None,
        };
        let Some(leases) = leases else {
            // The cache may be back before the shard answers: what is seen there has to be told all
            // the same.
            let tokens = vec![None; keys.len()];
            return (keys, tokens);
        };
        let mut to_read = Vec::with_capacity(keys.len());
        let mut tokens = Vec::with_capacity(keys.len());
        for (key, lease) in keys.into_iter().zip(leases) {
            let granted = match lease {
                Lease::Granted => Some(token),
                Lease::Held => None,
                Lease::Value(cached) => match usable(cached, &self.clock) {
                    Some(row) => {
                        answer(
                            &key,
                            Ok(Found {
                                row,
                                from_cache: true,
                            }),
                        );
                        continue;
                    }
                    None => None,
                },
            };
            to_read.push(key);
            tokens.push(granted);
        }
        (to_read, tokens)
    }

    fn entry(&self, key: &Bytes) -> EntryKey {
        EntryKey {
            shard: self.shard.id(),
            epoch: Epoch::FIRST,
            key: key.clone(),
        }
    }
}
