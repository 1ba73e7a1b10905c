//! What is counted of each shard. Nothing here is touched where the cache answers.

use super::counter::Counter;
use super::histogram::Histogram;

/// The figures of one shard.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Shard {
    /// Reads: one operation is a key.
    pub reads: Operations,
    /// Writes: one operation is a change to a key, or to several at one instant.
    pub writes: Operations,
    /// Waits for a connection of the pool, where none was free at once; opening one included.
    pub pool_waits: Histogram,
    /// How often the breaker opened.
    pub breaker_openings: Counter,
    /// Entries that reads filled into the cache.
    pub fills: Counter,
    /// Entries that reads meant to fill, and that the cache did not take: they were written meanwhile, are
    /// too large, expire at once, or the cache is full.
    pub fills_refused: Counter,
    /// Reads that got no leave to fill, since another reader has it.
    pub fills_left_to_others: Counter,
}

/// Operations of one kind on one shard.
#[derive(Debug, Default)]
pub struct Operations {
    /// How long each waited for its batch to leave.
    pub queued: Histogram,
    /// How long the shard took for a batch, the wait for a connection included.
    pub statements: Histogram,
    /// Operations in a batch.
    pub batches: Histogram,
    outcomes: [Counter; OUTCOMES.len()],
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// The shard can't be reached.
    Down,
    /// The shard answered with an error.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
    /// It found no room in the queue.
    Busy,
}

/// All outcomes, with their names as a label, in their order.
pub const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Ok, "ok"),
    (Outcome::Down, "down"),
    (Outcome::Refused, "refused"),
    (Outcome::Unknown, "unknown"),
    (Outcome::Busy, "busy"),
];

impl Operations {
    /// Notes how operations ended.
    pub fn ended(&self, outcome: Outcome, operations: usize) {
        self.outcomes[outcome as usize].add(operations as u64);
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_listed_in_their_order() {
        for (place, (outcome, name)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, place, "{name}");
        }
    }
}
