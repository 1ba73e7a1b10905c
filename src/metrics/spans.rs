//! Where the time of a request went.

use std::time::Duration;

/// What a request waited for. The rest of its time is the proxy's own, and the client's that did not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spans {
    /// In front of a shard, until its batch left.
    pub queue: Duration,
    /// For the cache: looking up, leases, filling, removing.
    pub cache: Duration,
    /// For the shard: its statements, their commit, and locks.
    pub shard: Duration,
}

impl Spans {
    /// All of them.
    pub fn total(&self) -> Duration {
        self.queue + self.cache + self.shard
    }

    /// The longer of the two: what is waited for at the same time.
    pub fn or_longer(self, other: Spans) -> Spans {
        if other.total() > self.total() {
            other
        } else {
            self
        }
    }

    /// Both, one after the other.
    pub fn then(self, next: Spans) -> Spans {
        Spans {
            queue: self.queue + next.queue,
            cache: self.cache + next.cache,
            shard: self.shard + next.shard,
        }
    }
}
