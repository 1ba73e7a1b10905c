//! Who is refused when more comes than can be done.
//!
//! A queue that is only full for a moment, or stands still for a moment, is nothing bad: everybody in it is
//! served. One that is *never short* makes everybody wait and serves nobody more. So, as CoDel does
//! (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012), the time that the first of a batch has waited tells
//! whether a lane is overloaded: each batch of a whole second, and some at least, was full and late.
//!
//! What to do then is not CoDel's, whose senders slow down when something is dropped; clients send again at once.
//! Dropping whoever waited too long would empty the queue of a burst, and leave the shard without work until the
//! next one. Refusing at once whoever finds the queue too long would take more work than is left for the others: a refusal
//! costs a third of what it refuses, and who is told sends the next request. So the queue is cut to the length that is
//! served in a part of the bound, and who comes then waits for room in it, each connection in its turn, which
//! slows it down to what can be done. Refused is who found no room for the rest of the bound, and what the queue has too
//! much of that has waited for all of the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::adjustable::Time;

/// A queue that is too long for so long is not a burst, and how fast it is served is known.
const STANDING: Duration = Duration::from_secs(1);

/// Nor are fewer batches than this: one that stands still is late for many that follow it.
const BATCHES_MIN: u32 = 8;

/// The queue has one part in so many of the time that an item may wait. The rest is for waiting in front of it, which
/// slows its client down.
const QUEUE_PART: u32 = 4;

/// A queue that may be longer than any lane's need not be bounded.
const LENGTH_MAX: usize = 1 << 16;

/// How long an item waits for room in a full queue that is not overloaded, but stands still perhaps.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

/// What both ends of a lane know of how much is let in. Clones are the same gate.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    wait_max: Time,
    /// How many items may wait.
    length: Arc<AtomicUsize>,
}

impl Gate {
    /// No bound but the queue's own.
    const OPEN: usize = usize::MAX;

    pub(super) fn new(wait_max: Time) -> Self {
        Self {
            wait_max,
            length: Arc::new(AtomicUsize::new(Self::OPEN)),
        }
    }

    /// How many items may wait at this moment; `None` if the lane is not overloaded.
    pub(super) fn length(&self) -> Option<usize> {
        Some(self.length.load(Ordering::Relaxed)).filter(|length| *length != Self::OPEN)
    }

    pub(super) fn set_length(&self, length: Option<usize>) {
        self.length
            .store(length.unwrap_or(Self::OPEN), Ordering::Relaxed);
    }

    /// How much longer somebody who was there at `since`, and finds no room, waits for it.
    pub(super) fn patience(&self, since: Instant, now: Instant) -> Duration {
        let in_all = match self.length() {
            None => ROOM_WAIT_MAX,
            Some(_) => {
                let wait_max = self.wait_max.get();
                wait_max - wait_max / QUEUE_PART
            }
        };
        in_all.saturating_sub(now.saturating_duration_since(since))
    }

    /// Lets in twice as many: all at once would be as many again as there is room for in the queue itself.
    fn widen(&self) {
        let wider = self.length().and_then(|length| length.checked_mul(2));
        self.set_length(wider.filter(|length| *length < LENGTH_MAX));
    }

    fn queue_wait_max(&self) -> Duration {
        self.wait_max.get() / QUEUE_PART
    }
}

/// Watches the queue of a lane, and narrows its gate.
#[derive(Debug)]
pub(super) struct Admission {
    gate: Gate,
    late: Option<Late>,
}

/// Batches that were full, the first of them late.
#[derive(Debug)]
struct Late {
    since: Instant,
    batches: u32,
    /// Items that left after the first batch.
    items: usize,
}

impl Late {
    fn at(now: Instant) -> Self {
        Self {
            since: now,
            batches: 0,
            items: 0,
        }
    }
}

impl Admission {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, late: None }
    }

    /// How many items may wait at this moment; `None` if the lane is not overloaded.
    pub(super) fn length(&self) -> Option<usize> {
        self.gate.length()
    }

    /// Whether the next item is refused, which has waited for so long and has so many behind it: how many those may be, if
    /// it is. The shard is never left without work.
    pub(super) fn cut_to(&self, behind: usize, waited: Duration) -> Option<usize> {
        let length = self.gate.length()?;
        (behind > length && waited > self.gate.wait_max.get()).then_some(length)
    }

    /// Notes that a batch of so many departs, in which the first waited for `oldest`. It is full if there was no
    /// room in it for all that waited.
    pub(super) fn depart(&mut self, now: Instant, oldest: Duration, items: usize, is_full: bool) {
        let wait_max = self.gate.queue_wait_max();
        if !is_full || oldest <= wait_max / 2 {
            self.late = None;
            self.gate.widen();
            return;
        }
        let Some(late) = &mut self.late else {
            self.late = (oldest > wait_max).then(|| Late::at(now));
            return;
        };
        late.batches += 1;
        late.items += items;
        let lasted = now.saturating_duration_since(late.since);
        if lasted >= STANDING && late.batches >= BATCHES_MIN {
            let each_second = late.items as f64 / lasted.as_secs_f64();
            let in_bound = (each_second * wait_max.as_secs_f64()) as usize;
            // A shard that takes longer than the bound for a batch must not be left without work.
            self.gate.set_length(Some(in_bound.max(2 * items)));
            self.late = Some(Late::at(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the queue's part.
    const BOUND: Duration = Duration::from_millis(500);
    const STEP: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(2);

    fn admission() -> Admission {
        Admission::new(Gate::new(Time::new(QUEUE_PART * BOUND)))
    }

    /// Batches of 100 that depart every 20 ms, `count` times, each full and with somebody who waited so long.
    fn depart(admission: &mut Admission, now: &mut Instant, oldest: Duration, count: u32) {
        for _ in 0..count {
            admission.depart(*now, oldest, 100, true);
            *now += STEP;
        }
    }

    #[test]
    fn a_burst_is_served_whole() {
        let (mut admission, mut now) = (admission(), Instant::now());
        // After a standstill of two seconds, what gathered leaves within one.
        depart(&mut admission, &mut now, LATE, 50);
        admission.depart(now, Duration::from_millis(100), 10, false);
        depart(&mut admission, &mut now, BOUND, 500);
        assert_eq!(admission.gate.length(), None);
    }

    #[test]
    fn one_standstill_after_another_is_no_overload() {
        let (mut admission, mut now) = (admission(), Instant::now());
        for _ in 0..7 {
            depart(&mut admission, &mut now, LATE, 1);
            now += Duration::from_millis(1200);
        }
        assert_eq!(admission.gate.length(), None);
    }

    #[test]
    fn a_queue_that_is_never_short_is_cut_to_what_is_served_in_the_bound() {
        let (mut admission, mut now) = (admission(), Instant::now());
        depart(&mut admission, &mut now, LATE, 51);
        // 5,000 a second.
        assert_eq!(admission.gate.length(), Some(2500));
        // Those that are served now have waited about the bound, which does not end it.
        depart(&mut admission, &mut now, BOUND * 3 / 4, 500);
        assert_eq!(admission.gate.length(), Some(2500));
        // It follows how fast the shard is.
        for _ in 0..60 {
            admission.depart(now, BOUND, 100, true);
            now += 2 * STEP;
        }
        assert_eq!(admission.gate.length(), Some(1250));
        // A queue that is short, or empty, ends it step by step.
        admission.depart(now, BOUND / 2, 100, true);
        assert_eq!(admission.gate.length(), Some(2500));
        for _ in 0..5 {
            admission.depart(now, LATE, 10, false);
        }
        assert_eq!(admission.gate.length(), None);
    }

    #[test]
    fn a_slow_shard_keeps_two_batches_of_work() {
        let (mut admission, mut now) = (admission(), Instant::now());
        for _ in 0..10 {
            admission.depart(now, Duration::from_secs(9), 512, true);
            now += Duration::from_secs(3);
        }
        assert_eq!(admission.gate.length(), Some(1024));
        // One that takes long for batches that are not full is slow, not overloaded.
        admission.depart(now, Duration::from_secs(9), 12, false);
        assert_eq!(admission.gate.length(), Some(2048));
    }

    #[test]
    fn who_finds_no_room_waits_for_the_rest_of_the_bound() {
        let (mut admission, mut now) = (admission(), Instant::now());
        assert_eq!(admission.gate.patience(now, now), ROOM_WAIT_MAX);
        assert_eq!(
            admission.gate.patience(now, now + LATE),
            ROOM_WAIT_MAX - LATE
        );
        depart(&mut admission, &mut now, LATE, 51);
        let patience = 3 * BOUND;
        assert_eq!(admission.gate.patience(now, now), patience);
        assert_eq!(admission.gate.patience(now, now + BOUND), patience - BOUND);
        assert_eq!(admission.gate.patience(now, now + LATE), Duration::ZERO);
    }
}
