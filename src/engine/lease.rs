//! This proxy's lease on the view of one shard: what it read of it, and for how long it may rely on
//! that. Nobody uses the next view before every lease on this one has ended.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use crate::view::{CHANGE_WAIT, LEASE, View};

/// A moment on a clock that goes on while the machine sleeps: a lease has to end for a machine that
/// was suspended, as it does for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootInstant(Duration);

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere this is the one that does not stop.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

impl BootInstant {
    const START: BootInstant = BootInstant(Duration::ZERO);
    const NEVER: BootInstant = BootInstant(Duration::MAX);

    /// Now. A clock that can't be read counts as one at which every lease has ended; the kernel has
    /// no reason to refuse.
    pub(super) fn now() -> Self {
        clock_gettime(CLOCK).map_or(Self::NEVER, |now| Self(now.into()))
    }

    fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// Whether a view that was not known before can be in use elsewhere under another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Somebody may hold a lease on another view still.
    MayBeInUse,
    /// Nobody can: there was none, or it ended long ago.
    IsOver,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    view: View,
    from: BootInstant,
    until: BootInstant,
}

/// The lease on one shard's view.
#[derive(Debug)]
pub(super) struct ViewLease {
    held: watch::Sender<Option<Held>>,
}

impl ViewLease {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self {
            held: watch::Sender::new(None),
        }
    }

    /// The view of a cache inside this process: nobody else changes it.
    pub(super) fn in_process() -> Self {
        let held = Held {
            view: View::IN_PROCESS,
            from: BootInstant::START,
            until: BootInstant::NEVER,
        };
        Self {
            held: watch::Sender::new(Some(held)),
        }
    }

    /// From now on the view is off, for good.
    pub(super) fn give_up(&self) {
        self.held.send_replace(Some(Held {
            view: View {
                cache: None,
                ..View::IN_PROCESS
            },
            from: BootInstant::START,
            until: BootInstant::NEVER,
        }));
    }

    /// The view that may be used at this moment.
    pub(super) fn now(&self) -> Option<View> {
        self.at(BootInstant::now())
    }

    /// The view that may be used at `now`, a moment that has come.
    pub(super) fn at(&self, now: BootInstant) -> Option<View> {
        let held = (*self.held.borrow())?;
        (held.from <= now && now < held.until).then_some(held.view)
    }

    /// The view that was read last, whether or not it is still that of now.
    pub(super) fn last(&self) -> Option<View> {
        let held = *self.held.borrow();
        held.map(|held| held.view)
    }

    /// Waits until a view may be used.
    pub(super) async fn wait(&self) -> View {
        let mut changes = self.held.subscribe();
        loop {
            let held = *changes.borrow_and_update();
            let now = BootInstant::now();
            if let Some(view) = self.at(now) {
                return view;
            }
            let usable_in = held
                .filter(|held| now < held.from)
                .map(|held| held.from.0.saturating_sub(now.0));
            tokio::select! {
                // Never an error: the sender is our own.
                _ = changes.changed() => {}
                () = tokio::time::sleep(usable_in.unwrap_or(LEASE)) => {}
            }
        }
    }

    /// Notes that the shard, asked at `asked`, said that this is the view.
    pub(super) fn renew(&self, view: View, asked: BootInstant, before: Before) {
        self.held.send_modify(|held| {
            let until = asked.after(LEASE);
            match held {
                Some(held) if held.view == view => held.until = held.until.max(until),
                _ => {
                    let from = match before {
                        Before::IsOver => BootInstant::START,
                        // From now, not from `asked`: a change is one from when it is known to be
                        // made, and who renews the old lease does so until then.
                        Before::MayBeInUse => BootInstant::now().after(CHANGE_WAIT),
                    };
                    *held = Some(Held { view, from, until });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Epoch;

    fn view(epoch: u64) -> View {
        View {
            epoch: Epoch::new(epoch),
            cache: None,
        }
    }

    #[test]
    fn a_lease_counts_from_the_question() {
        let lease = ViewLease::unknown();
        assert_eq!(lease.now(), None);
        let asked = BootInstant::now();
        lease.renew(view(1), asked, Before::IsOver);
        assert_eq!(lease.now(), Some(view(1)));
        let ends = asked.after(LEASE);
        assert_eq!(lease.at(ends), None);
        assert_eq!(lease.last(), Some(view(1)));
        // An answer that took longer than a lease is worth nothing.
        let lease = ViewLease::unknown();
        lease.renew(view(1), BootInstant::START, Before::IsOver);
        assert_eq!(lease.now(), None);
    }

    #[test]
    fn renewing_prolongs_it_and_never_shortens_it() {
        let lease = ViewLease::unknown();
        let first = BootInstant::now();
        let second = first.after(Duration::from_millis(250));
        lease.renew(view(1), second, Before::IsOver);
        lease.renew(view(1), first, Before::MayBeInUse);
        assert_eq!(
            lease.at(first.after(Duration::from_millis(1249))),
            Some(view(1))
        );
        assert_eq!(lease.at(first.after(Duration::from_millis(1250))), None);
    }

    #[test]
    fn another_view_is_not_used_before_every_lease_on_the_old_one_has_ended() {
        let lease = ViewLease::unknown();
        lease.renew(view(1), BootInstant::now(), Before::IsOver);
        let learned = BootInstant::now();
        lease.renew(view(2), learned, Before::MayBeInUse);
        assert_eq!(lease.now(), None);
        let usable = BootInstant::now().after(CHANGE_WAIT);
        lease.renew(view(2), usable, Before::MayBeInUse);
        assert_eq!(lease.at(learned.after(LEASE)), None);
        assert_eq!(lease.at(usable), Some(view(2)));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_view_may_be_used() {
        let lease = ViewLease::unknown();
        lease.renew(view(1), BootInstant::now(), Before::IsOver);
        let start = std::time::Instant::now();
        lease.renew(view(2), BootInstant::now(), Before::MayBeInUse);
        let renewing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                lease.renew(view(2), BootInstant::now(), Before::MayBeInUse);
            }
        };
        tokio::select! {
            found = lease.wait() => assert_eq!(found, view(2)),
            () = renewing => {}
        }
        assert!(start.elapsed() >= CHANGE_WAIT);
    }
}
