//! Where a read begins: what the cache has is answered, the rest goes into the lanes of misses.

use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::boot_clock::BootInstant;
use super::lane::Overflow;
use super::read::{self, Miss};
use super::{Engine, Found, submit, take_a_break};
use crate::cache::{EntryKey, Session};
use crate::error::Error;
use crate::metrics::Spans;
use crate::routing::ShardId;
use crate::trace::Trace;
use crate::view::{Instance, View};

impl Engine {
    /// Reads keys, in order: from the cache in one round trip, what is missing from the shards. What
    /// each key's read found is appended to `found`. Returns what it took, for the key that took longest.
    pub async fn read(&self, keys: &[Bytes], found: &mut Vec<Result<Found, Error>>) -> Spans {
        let first = found.len();
        let began = BootInstant::now();
        let trace = Trace::current().child("cache lookup");
        let missing = trace.within(self.look_up(keys, found, began)).await;
        trace.end();
        let looked_up = Spans {
            cache: BootInstant::now().since(began),
            ..Spans::default()
        };
        let (all, misses) = (keys.len() as u64, missing.len() as u64);
        if all > misses {
            self.metrics.cache_hits.add(all - misses);
        }
        if misses == 0 {
            return looked_up;
        }
        self.metrics.cache_misses.add(misses);
        let since = Instant::now();
        let mut longest = Spans::default();
        // All are on their way before the first is waited for.
        let mut waiting: SmallVec<[_; 1]> = SmallVec::with_capacity(missing.len());
        let mut overflow = Overflow::default();
        for (place, Missing { position, shard }) in missing.into_iter().enumerate() {
            take_a_break(place).await;
            let answer = self.submit_read(shard, &keys[position], since, &mut overflow);
            waiting.push((position, answer));
        }
        overflow.await_room(&self.reads).await;
        for (position, answer) in waiting {
            found[first + position] = match answer {
                Ok(answer) => match answer.await {
                    Ok((result, spans)) => {
                        longest = longest.or_longer(spans);
                        result
                    }
                    Err(_) => Err(Error::Stopping),
                },
                Err(error) => Err(error),
            };
        }
        looked_up.then(longest)
    }

    /// Appends what the cache has of each key. Returns the keys of which it has nothing that can be
    /// used, in whose place is an error.
    async fn look_up(
        &self,
        keys: &[Bytes],
        found: &mut Vec<Result<Found, Error>>,
        now: BootInstant,
    ) -> SmallVec<[Missing; 1]> {
        let mut missing = SmallVec::new();
        let mut asked: SmallVec<[Missing; 1]> = SmallVec::with_capacity(keys.len());
        let mut entries: SmallVec<[EntryKey; 1]> = SmallVec::with_capacity(keys.len());
        let mut session: Option<(Instance, Session)> = None;
        let first = found.len();
        for (position, key) in keys.iter().enumerate() {
            found.push(Err(Error::Stopping));
            take_a_break(position).await;
            let shard = self.shard_of(key);
            let missed = Missing { position, shard };
            let view = self.view_to_read(shard, now);
            let Some((view, instance)) = view.and_then(|view| Some((view, view.cache?))) else {
                missing.push(missed);
                continue;
            };
            if session.is_none() {
                session = self.cache.session(instance).map(|found| (instance, found));
            }
            // While views change, shards may name different instances, of which only one is reached.
            if session
                .as_ref()
                .is_some_and(|(reached, _)| *reached == instance)
            {
                asked.push(missed);
                entries.push(EntryKey {
                    shard,
                    epoch: view.epoch,
                    key: key.clone(),
                });
            } else {
                missing.push(missed);
            }
        }
        let cached = match &session {
            Some((_, session)) => session.get(&entries).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut cached = cached.into_iter();
        for asked in asked {
            let row = cached.next().flatten().and_then(|cached| {
                let front = self.fronts.get(asked.shard.index())?;
                read::usable(cached, &front.clock)
            });
            match row {
                Some(row) => {
                    let from_cache = true;
                    found[first + asked.position] = Ok(Found { row, from_cache });
                }
                None => missing.push(asked),
            }
        }
        missing
    }

    /// The view in which entries of the shard may be read at this moment.
    fn view_to_read(&self, shard: ShardId, now: BootInstant) -> Option<View> {
        let lease = &self.fronts.get(shard.index())?.cache.lease;
        lease.at(now).or_else(|| {
            let may_be_old = self.settings.reads_when_shard_down;
            may_be_old.then(|| lease.ended(now))?
        })
    }

    fn submit_read(
        &self,
        shard: ShardId,
        key: &Bytes,
        since: Instant,
        overflow: &mut Overflow<Miss>,
    ) -> Result<oneshot::Receiver<read::Answer>, Error> {
        let trace = Trace::current();
        let queue = trace.child("queue");
        let miss = |done| Miss {
            key: key.clone(),
            since,
            queue,
            trace,
            done,
        };
        submit(&self.reads, shard, miss, overflow)
    }
}

/// A key that the cache does not answer.
struct Missing {
    position: usize,
    shard: ShardId,
}
