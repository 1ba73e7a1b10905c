//! The cache in front of the shards: one contract, over Redis ([`redis`]) and in the process
//! ([`memory`]).
//!
//! An entry is in one of three states, and changes only by the steps below, each atomic over one
//! entry. They are what keeps a plain cache-aside from returning stale values:
//!
//! | state | holds |
//! |---|---|
//! | absent | |
//! | value | the row's stamp, its times and its bytes, or that it is known to be absent |
//! | lease | a reader's token; the stamp that another reader has seen, if any |
//!
//! | step | what it does |
//! |---|---|
//! | [`get`](Cache::get) | looks, without changing anything |
//! | [`lease`](Cache::lease) | absent: becomes a lease of this token. Else tells what is there |
//! | [`settle`](Cache::settle) with a token (FILL) | a lease of this token, and no other stamp seen: becomes the value. Anything else: as without a token |
//! | [`settle`](Cache::settle) without a token (SEEN) | a value of another stamp: becomes absent. A lease: notes the stamp; if it had noted another: becomes absent |
//! | [`fin`](Cache::fin) | becomes absent |
//!
//! A lease lives 3 s, a value at most CACHE_TTL and never past the row's own expiry.

mod entry;
mod memory;
mod redis;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::command::Row;
use crate::routing::ShardId;

pub use entry::Cached;
pub use memory::MemoryCache;
pub use redis::{RedisCache, Settings as RedisSettings};

/// How long a lease lives. A shard read that takes longer does not fill the cache.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// A reader's token, unique to one flight of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

impl Token {
    /// Draws a token.
    pub fn draw() -> Self {
        Self(fastrand::u128(..))
    }
}

/// Which entry: a key and the shard that it lives on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// The shard of the key.
    pub shard: ShardId,
    /// The key.
    pub key: Bytes,
}

/// The answer to a LEASE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// The entry was absent and is now this reader's.
    Granted,
    /// Another reader's lease is there.
    Held,
    /// A value is there.
    Value(Cached),
}

/// What a reader saw at the shard, for FILL or SEEN.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The entry.
    pub entry: EntryKey,
    /// The token of the lease that was granted; `None` makes this a SEEN.
    pub token: Option<Token>,
    /// The row, or its absence.
    pub row: Option<Row>,
    /// How long the value may live at most, because the row expires; `None` is without bound.
    pub time_left: Option<Duration>,
}

/// The cache can't be used now; reads and writes go on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// The cache that the configuration chose.
#[derive(Debug)]
pub enum Cache {
    /// In this process.
    Memory(MemoryCache),
    /// A Redis, shared with other proxies.
    Redis(RedisCache),
}

impl Cache {
    /// What is known of each entry, in order; `None` for a lease or nothing.
    ///
    /// # Errors
    ///
    /// The cache is unavailable; nothing is known of any entry.
    pub async fn get(&self, entries: &[EntryKey]) -> Result<Vec<Option<Cached>>, Unavailable> {
        match self {
            Cache::Memory(cache) => Ok(cache.get(entries)),
            Cache::Redis(cache) => cache.get(entries).await,
        }
    }

    /// LEASE for each entry, in order.
    ///
    /// # Errors
    ///
    /// The cache is unavailable; no lease was granted that could be used.
    pub async fn lease(
        &self,
        entries: &[EntryKey],
        token: Token,
    ) -> Result<Vec<Lease>, Unavailable> {
        match self {
            Cache::Memory(cache) => Ok(cache.lease(entries, token)),
            Cache::Redis(cache) => cache.lease(entries, token).await,
        }
    }

    /// FILL or SEEN for each sighting.
    ///
    /// # Errors
    ///
    /// The cache is unavailable; it is not known what became of the entries.
    pub async fn settle(&self, sightings: Vec<Sighting>) -> Result<(), Unavailable> {
        match self {
            Cache::Memory(cache) => {
                cache.settle(sightings);
                Ok(())
            }
            Cache::Redis(cache) => cache.settle(&sightings).await,
        }
    }

    /// FIN for all the entries.
    ///
    /// # Errors
    ///
    /// The cache is unavailable; entries may be left as they were. The cache itself sees to it
    /// that they are gone before it is used again.
    pub async fn fin(&self, entries: &[EntryKey]) -> Result<(), Unavailable> {
        match self {
            Cache::Memory(cache) => {
                cache.fin(entries);
                Ok(())
            }
            Cache::Redis(cache) => cache.fin(entries).await,
        }
    }

    /// FIN for everything that this deployment has in the cache.
    ///
    /// # Errors
    ///
    /// As [`fin`](Cache::fin).
    pub async fn clear(&self) -> Result<(), Unavailable> {
        match self {
            Cache::Memory(cache) => {
                cache.clear();
                Ok(())
            }
            Cache::Redis(cache) => cache.clear().await,
        }
    }

    /// Whether the cache can be used now.
    pub fn is_available(&self) -> bool {
        match self {
            Cache::Memory(_) => true,
            Cache::Redis(cache) => cache.is_available(),
        }
    }

    /// Entries in the cache, those of other users of the same Redis included; 0 if unavailable.
    pub async fn len(&self) -> u64 {
        match self {
            Cache::Memory(cache) => cache.len(),
            Cache::Redis(cache) => cache.len().await,
        }
    }
}
