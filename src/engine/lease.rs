//! This proxy's lease on the view of one shard: what it read of it, and for how long it may rely on
//! that. Nobody uses the next view before every lease on this one has ended.

use std::time::Duration;

use tokio::sync::watch;

use super::boot_clock::BootInstant;
use crate::view::{CHANGE_WAIT, Epoch, Instance, LEASE, View};

/// A lease that ended so long ago is not one that is about to be renewed.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// Whether a view that was not known before can be in use elsewhere under another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Somebody may hold a lease on another view still.
    MayBeInUse,
    /// Nobody can: there was none, or nobody else can be there.
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

    /// From now on, the cache is `instance` for good: nobody else can be in front of the shard.
    pub(super) fn own(&self, instance: Instance) {
        self.held.send_replace(Some(Held {
            view: View {
                epoch: Epoch::FIRST,
                cache: Some(instance),
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

    /// The view that was read last, whether or not it may be used now.
    pub(super) fn last(&self) -> Option<View> {
        let held = *self.held.borrow();
        held.map(|held| held.view)
    }

    /// The view on which the lease has ended at `now`, so that nobody knows whether it still is the
    /// view.
    pub(super) fn ended(&self, now: BootInstant) -> Option<View> {
        let held = (*self.held.borrow())?;
        (held.from <= now && held.until <= now).then_some(held.view)
    }

    /// Whether there was a lease, and it could not be renewed for some time.
    pub(super) fn is_lost(&self) -> bool {
        let held = *self.held.borrow();
        held.is_some_and(|held| held.until.after(LOST_AFTER) <= BootInstant::now())
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
                .map(|held| held.from.since(now));
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

    #[test]
    fn a_lease_that_has_ended_is_told_from_one_that_has_not_begun() {
        let lease = ViewLease::unknown();
        assert_eq!(lease.ended(BootInstant::now()), None);
        let asked = BootInstant::now();
        lease.renew(view(1), asked, Before::IsOver);
        assert_eq!(lease.ended(asked), None);
        assert_eq!(lease.ended(asked.after(LEASE)), Some(view(1)));
        lease.renew(view(2), asked, Before::MayBeInUse);
        assert_eq!(lease.ended(asked.after(LEASE)), None);
        assert!(!lease.is_lost());
    }

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
