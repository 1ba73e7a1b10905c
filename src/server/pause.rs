//! CLIENT PAUSE: commands wait in front of the server for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::dispatch::Request;
use super::spec_of;

/// The pause, if there is one.
#[derive(Debug)]
pub(super) struct Pause {
    epoch: Instant,
    /// Milliseconds after `epoch` at which it ends; 0 while there is none.
    until: AtomicU64,
    /// Whether commands that only read go on.
    writes_only: AtomicBool,
    over: Notify,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            until: AtomicU64::new(0),
            writes_only: AtomicBool::new(false),
            over: Notify::new(),
        }
    }
}

impl Pause {
    /// Begins a pause, or changes the one there is: as in Redis it never becomes shorter or milder.
    pub(super) fn begin(&self, millis: u64, writes_only: bool) {
        let until = self.now().saturating_add(millis);
        if self.time_left().is_none() {
            self.writes_only.store(writes_only, Ordering::Relaxed);
        } else if !writes_only {
            self.writes_only.store(false, Ordering::Relaxed);
        }
        self.until.fetch_max(until, Ordering::Release);
        self.over.notify_waiters();
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.over.notify_waiters();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn time_left(&self) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return None;
        }
        let left = until.checked_sub(self.now()).filter(|left| *left > 0);
        if left.is_none() {
            // So that nobody has to look at the clock again. A pause that has begun since stays.
            let _ = self
                .until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        left.map(Duration::from_millis)
    }

    /// How many of `requests` may be handled now; the next one has to wait.
    pub(super) fn admitted(&self, requests: &[Request]) -> usize {
        if self.until.load(Ordering::Acquire) == 0 || self.time_left().is_none() {
            return requests.len();
        }
        if !self.writes_only.load(Ordering::Relaxed) {
            return 0;
        }
        let waits = |request: &Request| match request {
            Request::Words(words) => spec_of(words).is_some_and(|spec| {
                let may_write = spec.flags.contains(&"write");
                may_write || matches!(spec.name, "publish" | "spublish" | "exec")
            }),
            Request::Refused(_) => false,
        };
        requests.iter().position(waits).unwrap_or(requests.len())
    }

    /// Returns when there is no pause, or it may have changed.
    pub(super) async fn wait(&self) {
        let changed = self.over.notified();
        if let Some(left) = self.time_left() {
            tokio::select! {
                () = changed => {}
                () = sleep(left) => {}
            }
        }
    }
}
