//! A clock that goes on while the machine sleeps.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment on it. A lease has to end, and a deadline to pass, for a machine that was suspended as
/// for all others; [`std::time::Instant`] stands still meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootInstant(Duration);

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere this is the one that does not stop.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

impl BootInstant {
    pub(super) const START: BootInstant = BootInstant(Duration::ZERO);
    pub(super) const NEVER: BootInstant = BootInstant(Duration::MAX);

    /// Now. A clock that can't be read counts as one at which every lease has ended; the kernel has
    /// no reason to refuse.
    pub(super) fn now() -> Self {
        clock_gettime(CLOCK).map_or(Self::NEVER, |now| Self(now.into()))
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long before this `earlier` was; zero if it was not.
    pub(super) fn since(self, earlier: BootInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
