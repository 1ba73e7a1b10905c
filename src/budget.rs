//! Memory that many may take, and all together only so much of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes for all. Clones share them.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    max: Arc<AtomicUsize>,
}

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            used: Arc::default(),
            max: Arc::new(AtomicUsize::new(max)),
        }
    }

    /// Changes it. What is taken already is not taken back.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many bytes there are for all.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Nothing of it yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

/// What one has taken of a budget. Dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Takes more, if there is so much left. Nobody waits here: two that each hold a half could wait for ever.
    pub fn take(&mut self, bytes: usize) -> bool {
        let max = self.budget.max();
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= max);
        let is_taken = self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if is_taken {
            self.bytes += bytes;
        }
        is_taken
    }

    /// Gives so much of it back.
    pub fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Of which budget it is.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_take_no_more_than_there_is() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.take(6));
        assert!(!other.take(5));
        assert!(other.take(4));
        one.give_back(2);
        assert!(other.take(2));
        drop(one);
        assert!(other.take(4));
        assert!(!other.take(1));
        assert!(!other.take(usize::MAX));
        budget.set_max(11);
        assert!(other.take(1));
    }
}
