//! The steps on the entries.

use super::redis::RedisSession;
use super::{Cached, EntryKey, Lease, MemoryCache, Sighting, Token, Unavailable};
use crate::routing::ShardId;
use crate::view::Epoch;

/// What leads to one [`Instance`](crate::view::Instance) of the cache, and never to another: the
/// connections that were made to it together. Once they are lost, every step fails, also one whose
/// answer comes later; a new session has to be [asked for](super::Cache::session) then.
///
/// A step whose future is dropped may be done or not. Those that must happen are to be called where
/// they are not cancelled.
#[derive(Debug, Clone)]
pub enum Session {
    /// To the cache in this process.
    Memory(MemoryCache),
    /// To a Redis.
    Redis(RedisSession),
}

impl Session {
    /// What is known of each entry, in order; `None` for a lease or nothing.
    ///
    /// # Errors
    ///
    /// The session is over; nothing is known of any entry.
    pub async fn get(&self, entries: &[EntryKey]) -> Result<Vec<Option<Cached>>, Unavailable> {
        match self {
            Session::Memory(cache) => Ok(cache.get(entries)),
            Session::Redis(session) => session.get(entries).await,
        }
    }

    /// LEASE for each entry, in order.
    ///
    /// # Errors
    ///
    /// The session is over; no lease was granted that could be used.
    pub async fn lease(
        &self,
        entries: &[EntryKey],
        token: Token,
    ) -> Result<Vec<Lease>, Unavailable> {
        match self {
            Session::Memory(cache) => Ok(cache.lease(entries, token)),
            Session::Redis(session) => session.lease(entries, token).await,
        }
    }

    /// FILL or SEEN for each sighting. Returns how many were filled.
    ///
    /// # Errors
    ///
    /// The session is over; it is not known what became of the entries.
    pub async fn settle(&self, sightings: &[Sighting]) -> Result<usize, Unavailable> {
        match self {
            Session::Memory(cache) => Ok(cache.settle(sightings)),
            Session::Redis(session) => session.settle(sightings).await,
        }
    }

    /// FIN for all the entries.
    ///
    /// # Errors
    ///
    /// The session is over; entries may be left as they were. Whoever wants to acknowledge a write
    /// has to repeat it in the view of then.
    pub async fn fin(&self, entries: &[EntryKey]) -> Result<(), Unavailable> {
        match self {
            Session::Memory(cache) => {
                cache.fin(entries);
                Ok(())
            }
            Session::Redis(session) => session.fin(entries).await,
        }
    }

    /// FIN for every entry of the shard in this epoch. It takes longer than other steps, as it looks
    /// at everything that is in the cache.
    ///
    /// # Errors
    ///
    /// As [`fin`](Session::fin).
    pub async fn clear(&self, shard: ShardId, epoch: Epoch) -> Result<(), Unavailable> {
        match self {
            Session::Memory(cache) => {
                cache.clear();
                Ok(())
            }
            Session::Redis(session) => session.clear(shard, epoch).await,
        }
    }
}
