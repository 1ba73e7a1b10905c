//! The shard's clock, as far as it is known here.
//!
//! One clock decides when a row expires: the shard's. A value in the cache carries its deadline on
//! that clock, and may be there a little longer than it should, by the time that its FILL was under
//! way. So a hit is compared with the latest time that it can be at the shard now.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::boot_clock::BootInstant;
use crate::command::Timestamp;

/// Readings older than this no longer count where there is a newer one: a clock may be set.
const READING_AGE_MAX: Duration = Duration::from_secs(5);

/// What is known of one shard's clock.
#[derive(Debug, Default)]
pub(super) struct ShardClock {
    reading: Mutex<Option<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// When the shard was asked. It answered with its now at that moment or later, so that
    /// `now + elapsed since asked` is never before the shard's time.
    asked: BootInstant,
    now: Timestamp,
}

impl Reading {
    fn latest_possible(&self, at: BootInstant) -> Timestamp {
        let elapsed = at.since(self.asked);
        Timestamp::from_micros(
            self.now
                .micros()
                .saturating_add(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl ShardClock {
    /// Notes that the shard, asked at `asked`, said it was `now`.
    pub(super) fn observe(&self, asked: BootInstant, now: Timestamp) {
        self.observe_at(asked, now, BootInstant::now());
    }

    fn observe_at(&self, asked: BootInstant, now: Timestamp, heard: BootInstant) {
        let new = Reading { asked, now };
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = reading.is_some_and(|known| {
            asked.since(known.asked) < READING_AGE_MAX
                && known.latest_possible(asked) <= now
                // Else it was no bound: the clock has been set.
                && now <= known.latest_possible(heard)
        });
        // The answer that came back fastest bounds the clock best; it is kept for a while.
        if !keep {
            *reading = Some(new);
        }
    }

    /// The latest time that it can be at the shard; `None` if it has never been asked.
    pub(super) fn latest_possible_now(&self) -> Option<Timestamp> {
        let reading = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.map(|reading| reading.latest_possible(BootInstant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_recent_reading_counts() {
        let clock = ShardClock::default();
        assert_eq!(clock.latest_possible_now(), None);
        let start = BootInstant::now();
        let ms = |ms| start.after(Duration::from_millis(ms));
        let known = || clock.reading.lock().unwrap().unwrap().now.micros();
        clock.observe_at(start, Timestamp::from_micros(1_000_000), ms(0));
        // 1 ms later the shard is said to be 5 ms further: that answer took 9 ms.
        clock.observe_at(ms(1), Timestamp::from_micros(1_005_000), ms(10));
        assert_eq!(known(), 1_000_000);
        // One that is tighter replaces it, and so does any when the other has grown old.
        clock.observe_at(ms(2), Timestamp::from_micros(1_000_500), ms(2));
        assert_eq!(known(), 1_000_500);
        clock.observe_at(ms(60_000), Timestamp::from_micros(90_000_000), ms(100_000));
        assert_eq!(known(), 90_000_000);
        // One that says more than can be is right: the clock has been set.
        clock.observe_at(ms(60_100), Timestamp::from_micros(99_000_000), ms(60_101));
        assert_eq!(known(), 99_000_000);
    }
}
