//! Commands on all keys of all shards.

use bytes::Bytes;

use super::glob;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyspace {
    /// DBSIZE
    Count,
    /// FLUSHDB, FLUSHALL, with or without ASYNC and SYNC
    Flush,
    /// KEYS pattern
    Keys(Filter),
    /// RANDOMKEY
    Random,
    /// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
    Scan(Scan),
}

/// The arguments of SCAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Where to go on; 0 is the beginning.
    pub cursor: u64,
    /// Which of the keys are answered.
    pub filter: Filter,
    /// How many keys are looked at, at least 1.
    pub count: usize,
}

/// Which keys are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every key.
    #[default]
    All,
    /// Those that match a pattern.
    Matching(Bytes),
    /// None: those of a type that there is not.
    Nothing,
}

impl Filter {
    /// Those that match `pattern`. A star alone is every key, also the empty one, which other
    /// patterns with a star do not match.
    pub fn matching(pattern: &Bytes) -> Self {
        match &pattern[..] {
            b"*" => Self::All,
            _ => Self::Matching(pattern.clone()),
        }
    }

    /// Whether `key` is one of them.
    pub fn accepts(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Matching(pattern) => glob::matches(pattern, key, false),
            Self::Nothing => false,
        }
    }
}
