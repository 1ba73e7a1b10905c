//! How long a client that gave a wrong password waits for the answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at most. Beyond it, the one that failed longest ago is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// The longest wait: clients give up after a few seconds.
const WAIT_MAX: Duration = Duration::from_millis(3200);

/// An address that has not failed for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The failures of each address.
#[derive(Debug, Default)]
pub struct Throttle {
    failed: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// Notes a failure at `now`; how long its answer waits. Failures on several connections of one address count
    /// together.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let address = network(address);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= ADDRESSES_MAX && !failed.contains_key(&address) {
            let oldest = failed.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                failed.remove(&oldest);
            }
        }
        let failures = failed.entry(address).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.saturating_duration_since(failures.last) > FORGET_AFTER {
            failures.count = 0;
        }
        failures.last = now;
        failures.count = failures.count.saturating_add(1);
        let doubled = 1u32.checked_shl(failures.count - 1).unwrap_or(u32::MAX);
        FIRST_WAIT.saturating_mul(doubled).min(WAIT_MAX)
    }

    /// Forgets the failures of an address from which somebody was let in.
    pub fn succeeded(&self, address: IpAddr) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&network(address));
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

    #[test]
    fn each_failure_of_an_address_waits_longer_up_to_a_bound() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let waits: Vec<u128> = (0..10)
            .map(|_| throttle.failed(address("10.0.0.1"), now).as_millis())
            .collect();
        assert_eq!(waits, [25, 50, 100, 200, 400, 800, 1600, 3200, 3200, 3200]);
        for _ in 0..100 {
            assert_eq!(throttle.failed(address("10.0.0.1"), now), WAIT_MAX);
        }
        assert_eq!(throttle.failed(address("10.0.0.2"), now), FIRST_WAIT);
        throttle.succeeded(address("10.0.0.1"));
        assert_eq!(throttle.failed(address("10.0.0.1"), now), FIRST_WAIT);
        let later = now + FORGET_AFTER + Duration::from_secs(1);
        assert_eq!(throttle.failed(address("10.0.0.1"), later), FIRST_WAIT);
    }

    #[test]
    fn addresses_that_one_client_has_count_together() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        throttle.failed(address("2001:db8::1"), now);
        let wait = throttle.failed(address("2001:db8::ffff:2"), now);
        assert_eq!(wait, 2 * FIRST_WAIT);
        throttle.failed(address("10.0.0.1"), now);
        let wait = throttle.failed(address("::ffff:10.0.0.1"), now);
        assert_eq!(wait, 2 * FIRST_WAIT);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for number in 0..2 * ADDRESSES_MAX as u32 {
            let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            throttle.failed(address, start + Duration::from_millis(number.into()));
        }
        assert_eq!(throttle.failed.lock().unwrap().len(), ADDRESSES_MAX);
        let last = IpAddr::from((0x0a00_0000 + 2 * ADDRESSES_MAX as u32 - 1).to_be_bytes());
        assert_eq!(throttle.failed(last, start), 2 * FIRST_WAIT);
    }
}
