//! A circuit breaker: after the first failures a shard's operations are refused at once, instead
//! of each waiting for its own time-out, until a probe in the background finds it well again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::routing::ShardId;

/// Operations that may be lost in a row before the breaker opens. One lost connection is an
/// administrator's KILL; several are a server that does not answer.
const LOST_MAX: u32 = 3;

pub(super) struct Breaker {
    is_open: AtomicBool,
    lost_in_a_row: AtomicU32,
    reason: Mutex<String>,
}

impl Breaker {
    /// A breaker that lets nothing through until it is closed.
    pub(super) fn open(reason: String) -> Self {
        Self {
            is_open: AtomicBool::new(true),
            lost_in_a_row: AtomicU32::new(0),
            reason: Mutex::new(reason),
        }
    }

    /// Fails while the breaker is open.
    pub(super) fn check(&self, shard: ShardId) -> Result<(), Error> {
        self.state()
            .map_err(|reason| Error::ShardDown { shard, reason })
    }

    /// `Err` with the reason while the breaker is open.
    pub(super) fn state(&self) -> Result<(), String> {
        if !self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self
            .reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    /// Opens the breaker. True if that is news: it was closed, or the reason is another one.
    pub(super) fn trip(&self, reason: String) -> bool {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = self.is_open.swap(true, Ordering::AcqRel);
        let is_news = !was_open || *known != reason;
        *known = reason;
        is_news
    }

    /// Closes the breaker. True if it was open.
    pub(super) fn close(&self) -> bool {
        self.lost_in_a_row.store(0, Ordering::Relaxed);
        self.is_open.swap(false, Ordering::AcqRel)
    }

    /// Notes an operation that went well.
    pub(super) fn succeeded(&self) {
        // A load first: the line is shared by all lanes, and this is nearly always 0.
        if self.lost_in_a_row.load(Ordering::Relaxed) != 0 {
            self.lost_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Notes an operation that was lost. True if the breaker should open.
    pub(super) fn failed(&self) -> bool {
        self.lost_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= LOST_MAX
    }
}
