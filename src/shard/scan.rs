//! Going through all keys of a shard, in an order that stays as it is while they are written.

use bytes::Bytes;

use super::{Asked, Backend, Shard, on_backend};
use crate::error::Error;

/// A place in the order of a shard's keys, which has 48 bits. Each key has its place as long as it
/// exists; a few may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// Before every key.
    pub const START: Position = Position(0);

    /// Bits of a position.
    pub const BITS: u32 = 48;

    /// The position with these bits, of which there must not be more than [`BITS`](Self::BITS).
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits >> Self::BITS == 0).then_some(Self(bits))
    }

    /// Its bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The one after it, unless it is the last.
    pub(super) fn next(self) -> Option<Self> {
        Self::from_bits(self.0 + 1)
    }
}

/// Some keys of a shard that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The keys, each of them once.
    pub keys: Vec<Bytes>,
    /// Where the next stretch begins; `None` if there are no more keys.
    pub next: Option<Position>,
}

impl Stretch {
    /// Of keys with their places, in order, of which `limit` were asked for: fewer are the last.
    pub(super) fn of(found: Vec<(Position, Bytes)>, limit: u32) -> Self {
        let next = match found.last() {
            Some((last, _)) if found.len() >= limit as usize => last.next(),
            _ => None,
        };
        let keys = found.into_iter().map(|(_, key)| key).collect();
        Self { keys, next }
    }
}

impl Shard {
    /// Some `limit` live keys (at least 1) from a position on; more only where several have one place.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn scan(&self, from: Position, limit: u32) -> Result<Stretch, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.scan(from, limit).await);
        self.judge(result, Asked::ToRead)
    }

    /// One live key by chance; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn random_key(&self) -> Result<Option<Bytes>, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.random_key().await);
        self.judge(result, Asked::ToRead)
    }
}
