//! The cache in front of the shards: one contract, over Redis ([`RedisCache`]) and in the process
//! ([`MemoryCache`]).
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
//! | [`get`](Session::get) | looks, without changing anything |
//! | [`lease`](Session::lease) | absent: becomes a lease of this token. Else tells what is there |
//! | [`settle`](Session::settle) with a token (FILL) | a lease of this token, and no other stamp seen: becomes the value. Anything else: as without a token |
//! | [`settle`](Session::settle) without a token (SEEN) | a value of another stamp: becomes absent. A lease: notes the stamp; if it had noted another: becomes absent |
//! | [`fin`](Session::fin) | becomes absent |
//!
//! A lease lives 3 s, a value at most CACHE_TTL and never past the row's own expiry.
//!
//! They keep that only among entries of one process of the cache. Which one that is, is the
//! [view](crate::view); the steps are done on a [`Session`], which leads to that one or fails.

mod entry;
mod memory;
mod redis;
#[cfg(test)]
mod redis_tests;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::command::Row;
use crate::routing::ShardId;
use crate::view::{Epoch, Instance, Sight};

pub use entry::Cached;
pub use memory::MemoryCache;
pub use redis::channels::{Answer as ChannelsAnswer, Channels, Message};
pub use redis::survey::{RedisFacts, survey};
pub use redis::{RedisCache, RedisSession, Settings as RedisSettings};
pub use session::Session;

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

/// Which entry: a key, the shard that it lives on, and the view of that shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// The shard of the key.
    pub shard: ShardId,
    /// The epoch of the view that the entry belongs to: none sees the entries of another.
    pub epoch: Epoch,
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

/// The session is over: the cache was lost, if only for a moment.
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
    /// What leads to `instance`, if that is what is reached now.
    pub fn session(&self, instance: Instance) -> Option<Session> {
        match self {
            Cache::Memory(cache) => {
                (cache.sight().cache == Some(instance)).then(|| Session::Memory(cache.clone()))
            }
            Cache::Redis(cache) => cache.session(instance).map(Session::Redis),
        }
    }

    /// Which instance is reached now, and since when.
    pub fn sight(&self) -> Sight {
        match self {
            Cache::Memory(cache) => cache.sight(),
            Cache::Redis(cache) => cache.sight(),
        }
    }

    /// The [`sight`](Cache::sight) of now and those to come.
    pub fn sights(&self) -> watch::Receiver<Sight> {
        match self {
            Cache::Memory(cache) => cache.sights(),
            Cache::Redis(cache) => cache.sights(),
        }
    }

    /// Changes how long what is filled from now on may live.
    pub fn set_ttl(&self, ttl: Duration) {
        match self {
            Cache::Memory(cache) => cache.set_ttl(ttl),
            Cache::Redis(cache) => cache.set_ttl(ttl),
        }
    }

    /// Entries in the cache, those of other users of the same Redis included; 0 if it is not
    /// reached.
    pub async fn entry_count(&self) -> u64 {
        match self {
            Cache::Memory(cache) => cache.entry_count(),
            Cache::Redis(cache) => cache.entry_count().await,
        }
    }
}
