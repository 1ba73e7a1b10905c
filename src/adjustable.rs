//! Bounds that may change while the proxy runs. Clones share the value; it is looked at whenever it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A length of time, in whole milliseconds.
#[derive(Debug, Clone)]
pub struct Time(Arc<AtomicU64>);

impl Time {
    /// Begins with a value.
    pub fn new(time: Duration) -> Self {
        let cell = Self(Arc::default());
        cell.set(time);
        cell
    }

    /// Changes it.
    pub fn set(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A number of things.
#[derive(Debug, Clone)]
pub struct Size(Arc<AtomicUsize>);

impl Size {
    /// Begins with a value.
    pub fn new(size: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(size)))
    }

    /// Changes it.
    pub fn set(&self, size: usize) {
        self.0.store(size, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
