//! The other proxies in front of a shard: what they reach, and which of them died.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::shard::{Member, MemberId};
use crate::view::Other;

/// How long a proxy's session has been gone when it is taken for dead. One that lives opens
/// another much sooner.
const DEAD_AFTER: Duration = Duration::from_millis(1500);

/// What one proxy knows of the others.
#[derive(Default)]
pub(super) struct Members {
    others: Vec<Other>,
    gone_since: HashMap<MemberId, Instant>,
}

impl Members {
    /// Notes who is there.
    pub(super) fn learn(&mut self, members: &[Member], now: Instant) {
        self.others.clear();
        let mut gone_since = HashMap::new();
        for member in members {
            if !member.is_alive {
                let since = self.gone_since.get(&member.id).copied().unwrap_or(now);
                gone_since.insert(member.id, since);
            } else if member.is_active {
                // One that stands still has said what it reached before.
                self.others.push(Other {
                    cache: member.cache,
                    for_time: member.reported_for,
                });
            }
        }
        self.gone_since = gone_since;
    }

    /// Those that live and do not stand still.
    pub(super) fn others(&self) -> &[Other] {
        &self.others
    }

    /// One that died. It is not named again before it has been gone for as long once more: what
    /// can't be ended now can't be ended a moment later.
    pub(super) fn take_dead(&mut self, now: Instant) -> Option<MemberId> {
        let is_dead = |since: Instant| now.saturating_duration_since(since) >= DEAD_AFTER;
        let (id, since) = self
            .gone_since
            .iter_mut()
            .find(|(_, since)| is_dead(**since))?;
        *since = now;
        Some(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: MemberId, is_alive: bool, is_active: bool) -> Member {
        Member {
            id,
            cache: None,
            reported_for: Duration::ZERO,
            is_alive,
            is_active,
        }
    }

    #[test]
    fn a_member_is_dead_when_it_has_been_gone_for_a_while() {
        let (living, gone, back) = (MemberId::draw(), MemberId::draw(), MemberId::draw());
        let mut members = Members::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let all = |back_is_alive| {
            [
                member(living, true, true),
                member(gone, false, false),
                member(back, back_is_alive, back_is_alive),
            ]
        };
        members.learn(&all(false), at(0));
        assert_eq!(members.others().len(), 1);
        members.learn(&all(true), at(1000));
        members.learn(&all(false), at(1499));
        assert_eq!(members.take_dead(at(1499)), None);
        assert_eq!(members.take_dead(at(1500)), Some(gone));
        assert_eq!(members.take_dead(at(1500)), None, "not at once again");
        members.learn(&all(true), at(3000));
        assert_eq!(members.take_dead(at(3000)), Some(gone));
        members.learn(&[member(living, true, false)], at(9000));
        assert_eq!(members.take_dead(at(9000)), None);
        assert_eq!(members.others(), [], "it stands still");
    }
}
