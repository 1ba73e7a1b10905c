//! Bounds of the RESP port that may change while it runs, and the places for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::adjustable::{Size, Time};
use crate::budget::Budget;

/// Bounds that may change while the port serves.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at a time.
    pub clients_max: usize,
    /// All arguments of a request together, in bytes; for connections that come from then on.
    pub request_max: usize,
    /// Bytes of the larger arguments that all clients may have under way together.
    pub request_memory: usize,
    /// Bytes of replies that wait for a slow reader, and of messages.
    pub output_max: usize,
    /// Commands between MULTI and EXEC.
    pub queued_max: usize,
    /// How long a connection has to say who it is, if it must.
    pub authentication_timeout: Duration,
}

/// The bounds in force.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) places: Places,
    pub(super) request_max: Size,
    pub(super) request_memory: Budget,
    pub(super) output_max: Size,
    pub(super) queued_max: Size,
    pub(super) authentication_timeout: Time,
}

impl InForce {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            places: Places::new(bounds.clients_max),
            request_max: Size::new(bounds.request_max),
            request_memory: Budget::new(bounds.request_memory),
            output_max: Size::new(bounds.output_max),
            queued_max: Size::new(bounds.queued_max),
            authentication_timeout: Time::new(bounds.authentication_timeout),
        }
    }

    pub(super) fn set(&self, bounds: Bounds) {
        self.places.max.set(bounds.clients_max);
        self.request_max.set(bounds.request_max);
        self.request_memory.set_max(bounds.request_memory);
        self.output_max.set(bounds.output_max);
        self.queued_max.set(bounds.queued_max);
        self.authentication_timeout
            .set(bounds.authentication_timeout);
    }
}

/// How many clients there may be, and are.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) max: Size,
    taken: Arc<AtomicUsize>,
}

/// The place of one client, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    fn new(max: usize) -> Self {
        Self {
            max: Size::new(max),
            taken: Arc::default(),
        }
    }

    /// A place, if one is free. When there are fewer than before, nobody has to go.
    pub(super) fn take(&self) -> Option<Place> {
        let max = self.max.get();
        let more = |taken| (taken < max).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Place(Arc::clone(&self.taken)))
    }

    /// The place of somebody who was told to go, and may still have it for a moment.
    pub(super) fn take_over(&self) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(&self.taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_bound_says_now() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        places.max.set(3);
        let third = places.take();
        assert!(third.is_some());
        places.max.set(1);
        drop((first, second));
        assert!(
            places.take().is_none(),
            "the third has the one that is left"
        );
        let fourth = places.take_over();
        drop(third);
        assert!(places.take().is_none(), "the fourth has it");
        drop(fourth);
        assert!(places.take().is_some());
    }
}
