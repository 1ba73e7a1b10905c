//! The users in force, which can be replaced while connections use them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::users::Users;

/// The users in force.
///
/// A connection keeps its user, and compares a number with each buffer of requests that it reads; the lock is taken
/// only when that has changed. So nothing cleverer than a lock is needed.
#[derive(Debug)]
pub struct Access {
    generation: AtomicU64,
    current: Mutex<Arc<Users>>,
}

impl Access {
    /// These users at first.
    pub fn new(users: Users) -> Self {
        Self {
            generation: AtomicU64::new(0),
            current: Mutex::new(Arc::new(users)),
        }
    }

    /// Replaces the users. Connections see it with what they read next.
    pub fn replace(&self, users: Users) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(users);
        // Under the lock, as `current` reads it: who has an old number looks again.
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Which users are in force; grows with each change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The users in force, and which these are.
    pub fn current(&self) -> (Arc<Users>, u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&current), self.generation())
    }
}
