//! Going through all keys of all shards, one shard after the other.
//!
//! There is nothing in the proxy that remembers a scan: the cursor is all of it. So it goes on through
//! any proxy, and after a restart.

use bytes::Bytes;

use super::Engine;
use crate::error::Error;
use crate::shard::{Position, Shard, Stretch};

/// Keys of one stretch: a statement of a few milliseconds.
const STRETCH_MAX: usize = 1000;

/// A page ends when its keys take so many bytes: there are keys of a megabyte.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that a key takes beside its own.
const KEY_BYTES: usize = 64;

/// Where a scan stands: the shard in the upper 16 bits, the position there in the lower 48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// The beginning, and as the cursor that comes after a page the end.
    pub const START: Cursor = Cursor(0);

    /// The cursor that a client gave back. One that no scan has given out leads to the end.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What the client gets.
    pub fn bits(self) -> u64 {
        self.0
    }

    fn new(shard: usize, position: Position) -> Self {
        Self((shard as u64) << Position::BITS | position.bits())
    }

    fn shard(self) -> usize {
        (self.0 >> Position::BITS) as usize
    }

    fn position(self) -> Position {
        let below = (1 << Position::BITS) - 1;
        Position::from_bits(self.0 & below).unwrap_or(Position::START)
    }
}

/// Keys that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub keys: Vec<Bytes>,
    /// Where the next page begins; [`Cursor::START`] after the last one.
    pub next: Cursor,
}

impl Engine {
    /// Some `count` keys from `cursor` on; fewer if that would be many bytes. A key that is there from the
    /// first page to the last is in exactly one of them.
    ///
    /// # Errors
    ///
    /// A shard is down or refused.
    pub async fn scan(&self, cursor: Cursor, count: usize) -> Result<Page, Error> {
        let mut keys = Vec::new();
        let (mut index, mut position) = (cursor.shard(), cursor.position());
        let mut bytes = 0;
        while let Some(shard) = self.shards.all().get(index) {
            let room = count.saturating_sub(keys.len());
            if room == 0 || bytes >= PAGE_BYTES_MAX {
                let next = Cursor::new(index, position);
                return Ok(Page { keys, next });
            }
            let found = stretch(shard, position, room).await?;
            bytes += found
                .keys
                .iter()
                .map(|key| key.len() + KEY_BYTES)
                .sum::<usize>();
            keys.extend(found.keys);
            match found.next {
                Some(next) => position = next,
                None => (index, position) = (index + 1, Position::START),
            }
        }
        let next = Cursor::START;
        Ok(Page { keys, next })
    }

    /// One key by chance, from a shard by chance; `None` if all are empty.
    ///
    /// # Errors
    ///
    /// A shard is down or refused.
    pub async fn random_key(&self) -> Result<Option<Bytes>, Error> {
        let shards = self.shards.all();
        let first = fastrand::usize(..shards.len().max(1));
        for shard in shards.iter().cycle().skip(first).take(shards.len()) {
            if let Some(key) = shard.random_key().await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

async fn stretch(shard: &Shard, from: Position, room: usize) -> Result<Stretch, Error> {
    // It fits: it is below the bound.
    shard.scan(from, room.min(STRETCH_MAX) as u32).await
}
