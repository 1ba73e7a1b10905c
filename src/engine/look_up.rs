//! Where a read begins: what the cache has is answered, the rest goes into the lanes of misses.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::boot_clock::BootInstant;
use super::read::{self, Miss};
use super::{Engine, Found, READS, submit};
use crate::cache::{EntryKey, Session};
use crate::command::Row;
use crate::error::Error;
use crate::routing::ShardId;
use crate::view::{Instance, View};

impl Engine {
    /// Reads keys, in order: from the cache in one round trip, what is missing from the shards.
    pub async fn read(&self, keys: &[Bytes]) -> Vec<Result<Found, Error>> {
        let mut hits = 0;
        let mut looked_up = Vec::with_capacity(keys.len());
        for (key, hit) in keys.iter().zip(self.look_up(keys).await) {
            looked_up.push(match hit {
                Some(row) => {
                    hits += 1;
                    Looked::Up(Found {
                        row,
                        from_cache: true,
                    })
                }
                None => self.submit_read(key).await,
            });
        }
        self.metrics.cache_hits.add(hits);
        self.metrics.cache_misses.add(keys.len() as u64 - hits);
        let mut found = Vec::with_capacity(looked_up.len());
        for looked in looked_up {
            found.push(match looked {
                Looked::Up(found) => Ok(found),
                Looked::Failed(error) => Err(error),
                Looked::Waiting(answer) => answer.await.unwrap_or(Err(Error::Stopping)),
            });
        }
        found
    }

    /// What the cache has of each key that can be used.
    async fn look_up(&self, keys: &[Bytes]) -> Vec<Option<Option<Row>>> {
        let mut hits = vec![None; keys.len()];
        let mut positions = Vec::with_capacity(keys.len());
        let mut entries = Vec::with_capacity(keys.len());
        let mut session: Option<(Instance, Session)> = None;
        let now = BootInstant::now();
        for (position, key) in keys.iter().enumerate() {
            let shard = self.shard_of(key);
            let Some(view) = self.view_to_read(shard, now) else {
                continue;
            };
            let Some(instance) = view.cache else { continue };
            if session.is_none() {
                session = self.cache.session(instance).map(|found| (instance, found));
            }
            // While views change, shards may name different instances, of which only one is reached.
            if session
                .as_ref()
                .is_some_and(|(reached, _)| *reached == instance)
            {
                positions.push((position, shard));
                entries.push(EntryKey {
                    shard,
                    epoch: view.epoch,
                    key: key.clone(),
                });
            }
        }
        let Some((_, session)) = session else {
            return hits;
        };
        let Ok(cached) = session.get(&entries).await else {
            return hits;
        };
        for ((position, shard), cached) in positions.into_iter().zip(cached) {
            if let (Some(cached), Some(front)) = (cached, self.fronts.get(shard.index())) {
                hits[position] = read::usable(cached, &front.clock);
            }
        }
        hits
    }

    /// The view in which entries of the shard may be read at this moment.
    fn view_to_read(&self, shard: ShardId, now: BootInstant) -> Option<View> {
        let lease = &self.fronts.get(shard.index())?.cache.lease;
        lease.at(now).or_else(|| {
            let may_be_old = self.settings.reads_when_shard_down;
            may_be_old.then(|| lease.ended(now))?
        })
    }

    async fn submit_read(&self, key: &Bytes) -> Looked {
        let (done, answer) = oneshot::channel();
        let miss = Miss {
            key: key.clone(),
            done,
        };
        match submit(
            &self.reads,
            self.shard_of(key),
            miss,
            "read",
            READS.queue_max,
        )
        .await
        {
            Ok(()) => Looked::Waiting(answer),
            Err(error) => Looked::Failed(error),
        }
    }
}

enum Looked {
    Up(Found),
    Waiting(oneshot::Receiver<Result<Found, Error>>),
    Failed(Error),
}
