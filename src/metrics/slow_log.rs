//! What took long.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Spans;

/// The last buffers of requests that took long.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    /// The latest first.
    list: VecDeque<(u64, SlowEntry)>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowEntry {
    /// When it was done, since the epoch.
    pub at: Duration,
    /// From its being read to its last reply.
    pub took: Duration,
    /// What it waited for.
    pub spans: Spans,
    /// How many requests were handled together.
    pub commands: usize,
    /// The words of the first one, cut, and without passwords.
    pub words: Vec<Bytes>,
    /// The client's address.
    pub address: String,
    /// The client's name for itself.
    pub name: Bytes,
}

impl SlowLog {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one, and forgets the earliest beyond `entries_max`.
    pub fn note(&self, entry: SlowEntry, entries_max: usize) {
        let mut entries = self.entries();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.list.push_front((id, entry));
        entries.list.truncate(entries_max);
    }

    /// The latest ones with their numbers, the latest first.
    pub fn latest(&self, count: usize) -> Vec<(u64, SlowEntry)> {
        self.entries().list.iter().take(count).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries().list.len()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.entries().list.clear();
    }
}
