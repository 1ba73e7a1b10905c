//! What a source gives at a time, and where in the source that is.

use serde::{Deserialize, Serialize};

use super::record::Record;

/// Keys in a page at most.
pub const PAGE_KEYS: usize = 1000;
/// Bytes in a page at most, unless one record alone has more.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Some records.
#[derive(Debug, Default)]
pub struct Page {
    pub records: Vec<Record>,
    /// Keys that are no strings, with their types.
    pub others: Vec<(Vec<u8>, String)>,
    /// Keys that were there and had gone when their values were read.
    pub gone: u64,
    /// Rows without a key or without a value.
    pub nulls: u64,
    /// Rows with the key of the row before.
    pub duplicates: u64,
    /// How far this is, in what the source counts: keys, or bytes of a file.
    pub amount: u64,
    /// Where to go on when this page is done; `None` if that is no place to begin at.
    pub position: Option<Position>,
}

impl Page {
    /// About how much memory its records take.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Record::size).sum()
    }
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A cursor of SCAN, which is one of this process.
    Scan { run_id: String, cursor: u64 },
    /// The last key, in base64.
    Key { base64: String },
    /// Bytes from the beginning of a file.
    Byte { offset: u64 },
}
