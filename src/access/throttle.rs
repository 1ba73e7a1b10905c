//! How long who gave a wrong password waits: for the answer at first, then for its next try.
//!
//! Failures are counted for each address and user. The first few only wait for their answers, so that somebody who
//! mistypes, or many clients that connect at once beside one that is set up wrongly, are not held up. Then tries
//! of that user from that address are judged one after another, with a pause before each, and who would have to
//! wait for long is refused without being judged. So closing the connection to try again on another gains nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pairs that are remembered at most. Beyond it, the one that failed longest ago is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// The longest wait: clients give up after a few seconds.
const WAIT_MAX: Duration = Duration::from_millis(3200);

/// From so many failures on, tries are judged one after another.
const IN_TURN_FROM: u32 = 8;

/// Who has not failed for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The failures of each address and user.
#[derive(Debug, Default)]
pub struct Throttle {
    failed: Mutex<HashMap<(IpAddr, String), Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    /// When the next try may be judged.
    next: Instant,
}

impl Failures {
    fn wait(&self) -> Duration {
        let doubled = 1u32
            .checked_shl(self.count.saturating_sub(1))
            .unwrap_or(u32::MAX);
        FIRST_WAIT.saturating_mul(doubled).min(WAIT_MAX)
    }
}

/// When a try may be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// After so long.
    In(Duration),
    /// Not at all: there are others before it for so long.
    Refused(Duration),
}

impl Throttle {
    /// The turn of a try at `now`, which is taken with that.
    pub fn turn(&self, address: IpAddr, user: &str, now: Instant) -> Turn {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = failed
            .get_mut(&(network(address), user.to_owned()))
            .filter(|failures| failures.count >= IN_TURN_FROM)
            .filter(|failures| now.saturating_duration_since(failures.last) <= FORGET_AFTER)
        else {
            return Turn::In(Duration::ZERO);
        };
        let turn = failures.next.max(now);
        let wait = turn - now;
        if wait > WAIT_MAX {
            return Turn::Refused(wait);
        }
        failures.next = turn + failures.wait();
        Turn::In(wait)
    }

    /// Notes a failure at `now`; how long its answer waits, and whether it is to be logged.
    pub fn failed(&self, address: IpAddr, user: &str, now: Instant) -> (Duration, bool) {
        let who = (network(address), user.to_owned());
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= REMEMBERED_MAX && !failed.contains_key(&who) {
            let oldest = failed.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                failed.remove(&oldest);
            }
        }
        let failures = failed.entry(who).or_insert(Failures {
            count: 0,
            last: now,
            next: now,
        });
        if now.saturating_duration_since(failures.last) > FORGET_AFTER {
            failures.count = 0;
        }
        failures.last = now;
        failures.count = failures.count.saturating_add(1);
        let wait = failures.wait();
        if failures.count >= IN_TURN_FROM {
            // The next one waits, and this one is not kept.
            failures.next = failures.next.max(now + wait);
            return (Duration::ZERO, failures.count.is_power_of_two());
        }
        (wait, true)
    }

    /// Forgets the failures of a user who was let in from an address.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&(network(address), user.to_owned()));
    }
}

/// What one client can change of its address at will is left out: the last 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            Ipv6Addr::from(segments).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const USER: &str = "default";

    #[test]
    fn the_first_failures_wait_for_their_answers() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let here = address("10.0.0.1");
        let waits: Vec<u128> = (0..7)
            .map(|_| throttle.failed(here, USER, now).0.as_millis())
            .collect();
        assert_eq!(waits, [25, 50, 100, 200, 400, 800, 1600]);
        assert_eq!(throttle.turn(here, USER, now), Turn::In(Duration::ZERO));
        // Others do not wait: neither other addresses nor other users.
        for (address, user) in [(address("10.0.0.2"), USER), (here, "other")] {
            assert_eq!(throttle.failed(address, user, now).0, FIRST_WAIT);
        }
        throttle.succeeded(here, "other");
        assert_eq!(throttle.failed(here, USER, now).0, Duration::ZERO);
        throttle.succeeded(here, USER);
        assert_eq!(throttle.failed(here, USER, now).0, FIRST_WAIT);
    }

    #[test]
    fn then_tries_are_judged_one_after_another_or_not_at_all() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let here = address("10.0.0.1");
        for _ in 0..IN_TURN_FROM {
            throttle.failed(here, USER, now);
        }
        assert_eq!(throttle.turn(here, USER, now), Turn::In(WAIT_MAX));
        assert_eq!(throttle.turn(here, USER, now), Turn::Refused(2 * WAIT_MAX));
        // A guess each 3.2 s, on however many connections.
        let mut judged = 0;
        for step in 0..1000 {
            let now = now + Duration::from_millis(100) * step;
            if let Turn::In(_) = throttle.turn(here, USER, now) {
                judged += 1;
                throttle.failed(here, USER, now);
            }
        }
        assert!(judged <= 32, "{judged}");
        assert_eq!(throttle.turn(here, "other", now), Turn::In(Duration::ZERO));
        let later = now + Duration::from_secs(1000) + FORGET_AFTER;
        assert_eq!(throttle.turn(here, USER, later), Turn::In(Duration::ZERO));
    }

    #[test]
    fn addresses_that_one_client_has_count_together() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        throttle.failed(address("2001:db8::1"), USER, now);
        let (wait, _) = throttle.failed(address("2001:db8::ffff:2"), USER, now);
        assert_eq!(wait, 2 * FIRST_WAIT);
        throttle.failed(address("10.0.0.1"), USER, now);
        let (wait, _) = throttle.failed(address("::ffff:10.0.0.1"), USER, now);
        assert_eq!(wait, 2 * FIRST_WAIT);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for number in 0..2 * REMEMBERED_MAX as u32 {
            let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            let now = start + Duration::from_millis(number.into());
            throttle.failed(address, USER, now);
        }
        assert_eq!(throttle.failed.lock().unwrap().len(), REMEMBERED_MAX);
        let last = IpAddr::from((0x0a00_0000 + 2 * REMEMBERED_MAX as u32 - 1).to_be_bytes());
        assert_eq!(throttle.failed(last, USER, start).0, 2 * FIRST_WAIT);
    }
}
