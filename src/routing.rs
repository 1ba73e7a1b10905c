//! Which shard a key lives on: `md5(key)`, read as a big-endian 128-bit number, modulo the number
//! of shards, over the raw bytes of the key.
//!
//! The rule is part of every deployment's stored identity. Changing it would orphan every row, so
//! it is fixed by test vectors computed with another implementation (Python's hashlib).

use std::fmt;

use md5::{Digest, Md5};

/// The name of this routing rule, as the shards store it in their identity.
pub const SCHEME: &str = "md5-mod";

/// The position of a shard: `SHARD_n_URL` has index `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard at this index.
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The index, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// `shard_1`: the name used in errors, health and statistics.
impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard_{}", self.0)
    }
}

/// The shard of `key` among `num_shards` (at least 1).
pub fn shard_of(key: &[u8], num_shards: u16) -> ShardId {
    debug_assert!(num_shards > 0);
    if num_shards == 1 {
        return ShardId(0);
    }
    let digest: [u8; 16] = Md5::digest(key).into();
    // The remainder is below num_shards, so it fits u16.
    ShardId((u128::from_be_bytes(digest) % u128::from(num_shards)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_on_shard_2_of_3() {
        assert_eq!(shard_of(b"user:123", 3), ShardId::new(2));
    }

    #[test]
    fn a_single_shard_takes_everything() {
        assert_eq!(shard_of(b"", 1), ShardId::new(0));
        assert_eq!(shard_of(b"anything", 1), ShardId::new(0));
    }
}
