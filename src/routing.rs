//! Which shard a key lives on: `md5(key)`, read as a big-endian 128-bit number, modulo the number
//! of shards, over the raw bytes of the key, or of its hash tag if the deployment has those.
//!
//! The rule is part of every deployment's stored identity. Changing it would orphan every row, so
//! it is fixed by test vectors computed with another implementation (Python's hashlib).

use std::fmt;

use md5::{Digest, Md5};

/// What of a key is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// The whole key.
    #[default]
    WholeKey,
    /// Its [tag], where it has one.
    HashTags,
}

impl Scheme {
    /// The scheme of a deployment with hash tags, or without.
    pub const fn of(hash_tags: bool) -> Self {
        match hash_tags {
            true => Scheme::HashTags,
            false => Scheme::WholeKey,
        }
    }

    /// The name of the rule, as the shards store it in their identity.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::WholeKey => "md5-mod",
            Scheme::HashTags => "md5-mod-tags",
        }
    }
}

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

/// The routing of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// The number of shards, at least 1.
    pub num_shards: u16,
    /// What is hashed.
    pub scheme: Scheme,
}

impl Routing {
    /// The shard of `key`.
    pub fn shard_of(self, key: &[u8]) -> ShardId {
        match self.scheme {
            Scheme::WholeKey => shard_of(key, self.num_shards),
            Scheme::HashTags => shard_of(tag(key), self.num_shards),
        }
    }
}

/// What stands between the first `{` and the next `}`, unless that is nothing; else the whole key.
/// Redis Cluster's rule: keys with one tag belong together.
pub fn tag(key: &[u8]) -> &[u8] {
    let tagged = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let inner = &key[open + 1..];
        let close = inner.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &inner[..close])
    };
    tagged().unwrap_or(key)
}

/// The shard among `num_shards` (at least 1) that these bytes select.
pub fn shard_of(bytes: &[u8], num_shards: u16) -> ShardId {
    debug_assert!(num_shards > 0);
    if num_shards == 1 {
        return ShardId(0);
    }
    let digest: [u8; 16] = Md5::digest(bytes).into();
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

    #[test]
    fn a_tag_is_between_the_first_brace_and_the_next_that_closes() {
        for (key, expected) in [
            ("{user:1}.name", "user:1"),
            ("a{b}c", "b"),
            ("{}a", "{}a"),
            ("a{}{b}", "a{}{b}"),
            ("a{{b}}c", "{b"),
            ("a{b}{c}", "b"),
            ("a{b", "a{b"),
            ("a}b{c}", "c"),
            ("ab", "ab"),
            ("", ""),
        ] {
            assert_eq!(tag(key.as_bytes()), expected.as_bytes(), "{key}");
        }
    }
}
