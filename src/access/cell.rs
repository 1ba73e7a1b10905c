//! The users in force, which can be replaced while connections use them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::source::{LoadError, Source};
use super::users::Users;

/// The users in force.
///
/// A connection keeps its user, and compares a number with each buffer of requests that it reads; the lock is taken
/// only when that has changed. So nothing cleverer than a lock is needed.
#[derive(Debug)]
pub struct Access {
    generation: AtomicU64,
    current: Mutex<Arc<Users>>,
    source: Mutex<Source>,
    is_configured: AtomicBool,
}

impl Access {
    /// The users of a source, read now.
    ///
    /// # Errors
    ///
    /// They can't be read.
    pub fn load(source: Source) -> Result<Self, LoadError> {
        Ok(Self {
            generation: AtomicU64::new(0),
            current: Mutex::new(Arc::new(source.load()?)),
            is_configured: AtomicBool::new(source.is_given()),
            source: Mutex::new(source),
        })
    }

    /// Where the users are read from.
    pub fn source(&self) -> Source {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.clone()
    }

    /// Has them read from elsewhere the next time.
    pub fn set_source(&self, source: Source) {
        self.is_configured
            .store(source.is_given(), Ordering::Relaxed);
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// From now on users that let anybody in are not taken.
    pub fn require_passwords(&self) {
        self.source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .must_ask = true;
    }

    /// Whether there are others than the one user who may do everything.
    pub fn is_configured(&self) -> bool {
        self.is_configured.load(Ordering::Relaxed)
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
