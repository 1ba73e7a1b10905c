//! Who is refused when more comes than can be done.
//!
//! A queue that is only full for a moment, or stands still for a moment, is nothing bad: everybody in it is
//! served. One that is *never short* makes everybody wait and serves nobody more. So, as CoDel does
//! (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012), not the length is looked at
//! but the time that is spent in it: once each batch of a whole second was full and had somebody in it
//! who waited longer than the bound, the lane is overloaded, and who waited longer is refused. Those
//! that are served wait up to the bound then, and the shard is as busy as before.

use std::time::{Duration, Instant};

use crate::adjustable::Time;

/// A queue that is too long for so long is not a burst.
const STANDING: Duration = Duration::from_secs(1);

/// What a lane knows of its queue.
#[derive(Debug)]
pub(super) struct Admission {
    wait_max: Time,
    /// Since when each batch was full, and late.
    late_since: Option<Instant>,
    /// When the last batch departed, if it was full.
    last_full: Option<Instant>,
    /// How long the lane took for a full batch last.
    batch_takes: Duration,
}

impl Admission {
    pub(super) fn new(wait_max: Time) -> Self {
        Self {
            wait_max,
            late_since: None,
            last_full: None,
            batch_takes: Duration::ZERO,
        }
    }

    /// How long an item may wait at this moment; `None` if all are served.
    ///
    /// A shard that takes longer than the bound for a batch would be left without work if only what came
    /// within the bound were served: two batches may always wait.
    pub(super) fn bound(&self, now: Instant) -> Option<Duration> {
        let late_since = self.late_since?;
        let is_overloaded = now.duration_since(late_since) >= STANDING;
        is_overloaded.then(|| self.wait_max.get().max(2 * self.batch_takes))
    }

    /// Notes that a batch departs, in which the first waited for `oldest`. It is full if there was no room
    /// in it for all that waited.
    pub(super) fn depart(&mut self, now: Instant, oldest: Duration, is_full: bool) {
        if let Some(last) = self.last_full {
            self.batch_takes = now.duration_since(last);
        }
        self.last_full = is_full.then_some(now);
        let wait_max = self.wait_max.get();
        if !is_full || oldest <= wait_max / 2 {
            self.late_since = None;
            self.batch_takes = Duration::ZERO;
        } else if oldest > wait_max {
            self.late_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(500);
    const STEP: Duration = Duration::from_millis(20);

    fn admission() -> Admission {
        Admission::new(Time::new(BOUND))
    }

    #[test]
    fn a_burst_is_served_whole() {
        let mut admission = admission();
        let begin = Instant::now();
        // After a standstill of two seconds, what gathered leaves within one.
        for step in 0..50 {
            let now = begin + STEP * step;
            assert_eq!(admission.bound(now), None, "{step}");
            admission.depart(now, Duration::from_secs(2), true);
        }
        admission.depart(begin + STEP * 50, Duration::from_millis(100), false);
        assert_eq!(admission.bound(begin + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_queue_that_is_never_short_is_cut_to_the_bound() {
        let mut admission = admission();
        let begin = Instant::now();
        let mut now = begin;
        while now.duration_since(begin) < STANDING {
            assert_eq!(admission.bound(now), None);
            admission.depart(now, Duration::from_secs(2), true);
            now += STEP;
        }
        assert_eq!(admission.bound(now), Some(BOUND));
        // Those that are served now have waited up to the bound, which does not end it,
        for _ in 0..100 {
            admission.depart(now, BOUND, true);
            now += STEP;
            assert_eq!(admission.bound(now), Some(BOUND));
        }
        // but a queue that is short, or empty, does.
        let mut other = admission;
        other.depart(now, BOUND / 2, true);
        assert_eq!(other.bound(now), None);
        assert_eq!(other.bound(now + STANDING), None);
    }

    #[test]
    fn a_slow_shard_keeps_two_batches_of_work() {
        let mut admission = admission();
        let mut now = Instant::now();
        let takes = Duration::from_secs(3);
        for _ in 0..3 {
            admission.depart(now, Duration::from_secs(9), true);
            now += takes;
        }
        assert_eq!(admission.bound(now), Some(2 * takes));
        // One that takes long for batches that are not full is slow, not overloaded.
        admission.depart(now, Duration::from_secs(9), false);
        assert_eq!(admission.bound(now + takes), None);
    }

    #[test]
    fn the_bound_can_be_changed() {
        let wait_max = Time::new(BOUND);
        let mut admission = Admission::new(wait_max.clone());
        let begin = Instant::now();
        admission.depart(begin, BOUND * 2, true);
        wait_max.set(BOUND * 4);
        assert_eq!(admission.bound(begin + STANDING), Some(BOUND * 4));
    }
}
