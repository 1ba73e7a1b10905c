//! Which generation serves. See [`super`] for the states.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use ::redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::lookups::Lookups;
use super::names::Names;
use super::{RedisSession, Shared};
use crate::view::{Instance, Sight};

/// Connections that were made together, and all lead to one instance.
pub(super) struct Generation {
    pub(super) instance: Instance,
    pub(super) names: Names,
    /// For GET: one on each worker, by its number.
    pub(super) lookups: Vec<Lookups>,
    /// For LEASE, whose answers may be large.
    pub(super) leases: MultiplexedConnection,
    /// For what must happen: an invalidation waits behind nobody's large values.
    pub(super) duties: MultiplexedConnection,
    pub(super) over: CancellationToken,
    /// As `over`, for those who ask at each answer: that takes a lock which all share.
    pub(super) is_over: AtomicBool,
}

impl Generation {
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Shared {
    /// A session on the generation that serves.
    pub(super) fn session(self: &Arc<Self>) -> Option<RedisSession> {
        let current = self.read_current();
        Some(RedisSession {
            generation: Arc::clone(current.as_ref()?),
            shared: Arc::clone(self),
        })
    }

    /// Lets the generation serve.
    pub(super) fn publish(self: &Arc<Self>, generation: Generation) -> RedisSession {
        let generation = Arc::new(generation);
        let mut current = self.write_current();
        *current = Some(Arc::clone(&generation));
        self.sights.send_replace(Sight {
            cache: Some(generation.instance),
            since: Instant::now(),
        });
        drop(current);
        RedisSession {
            shared: Arc::clone(self),
            generation,
        }
    }

    /// Ends the generation, if it is not over yet.
    pub(super) fn end(&self, generation: &Arc<Generation>, reason: impl fmt::Display) {
        let mut current = self.write_current();
        if !current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, generation))
        {
            return;
        }
        *current = None;
        self.sights.send_replace(Sight {
            cache: None,
            since: Instant::now(),
        });
        generation.is_over.store(true, Ordering::Release);
        generation.over.cancel();
        drop(current);
        warn!(redis = self.address, %reason, "the cache is lost; going on without it");
    }

    fn read_current(&self) -> RwLockReadGuard<'_, Option<Arc<Generation>>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the sight changes too, so that they change together.
    fn write_current(&self) -> RwLockWriteGuard<'_, Option<Arc<Generation>>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }
}
