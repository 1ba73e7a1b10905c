//! Which requests of a worker are looked at more closely: a few, drawn at random, whatever comes.
//!
//! Each worker counts down to the next one: that is a subtraction for each buffer. How far they are apart, on
//! average, follows from how many there are, so that it costs the same at any rate: every request
//! of a proxy that has little to do, one in some hundred of one that is busy.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::hot_keys::{BigKey, BigKeys, HotKey, SampledKey, Sketch};

/// Requests that are looked at in a second.
const SAMPLES_A_SECOND: f64 = 1000.0;

/// After so many of them, or so long, it is seen how far they should be apart.
const ROUND: u32 = 128;
const ROUND_MAX: Duration = Duration::from_secs(1);

/// How far they are apart at most, on average.
const GAP_MAX: f64 = 8192.0;

/// Keys of one request that are looked at.
const KEYS_MAX: usize = 64;

/// The sampling of one worker.
#[derive(Debug)]
pub struct Sampler {
    /// Requests before the next one that is looked at. Only the worker changes it.
    left: AtomicU64,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    /// How far requests are apart on average: so many does one stand for.
    gap: f64,
    round_began: Instant,
    in_round: u32,
    hot: Sketch,
    big: BigKeys,
}

/// A key in a request.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Bytes of its value, if that is known.
    pub size: Option<usize>,
}

impl Sampler {
    pub(super) fn new(hasher: RandomState) -> Self {
        let now = Instant::now();
        Self {
            left: AtomicU64::new(0),
            hasher,
            state: Mutex::new(State {
                random: fastrand::Rng::new(),
                gap: 1.0,
                round_began: now,
                in_round: 0,
                hot: Sketch::new(now),
                big: BigKeys::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the `requests` that have come together at `now` are to be looked at. Only for the worker
    /// itself.
    pub fn draw(&self, requests: usize, now: Instant) -> Samples {
        let left = self.left.load(Ordering::Relaxed);
        let requests = requests as u64;
        if left >= requests {
            self.left.store(left - requests, Ordering::Relaxed);
            return Samples::default();
        }
        self.draw_some(left, requests, now)
    }

    #[cold]
    fn draw_some(&self, left: u64, requests: u64, now: Instant) -> Samples {
        let mut state = self.state();
        let mut samples = Samples::default();
        let mut next = left;
        while next < requests {
            let at = usize::try_from(next).unwrap_or(usize::MAX);
            samples.0.push((at, state.gap));
            next += state.next_gap(now);
        }
        // The first comes last.
        samples.0.reverse();
        self.left.store(next - requests, Ordering::Relaxed);
        samples
    }

    /// Notes the keys of a request that came at `now` and stands for `weight` of its kind; `count` is how many
    /// keys there are, and `shard` finds the shard of one.
    pub fn note<'a>(
        &self,
        now: Instant,
        weight: f64,
        is_write: bool,
        count: usize,
        keys: impl Iterator<Item = Access<'a>>,
        shard: impl Fn(&[u8]) -> usize,
    ) {
        let mut state = self.state();
        // Of many keys every n-th.
        let step = count.div_ceil(KEYS_MAX).max(1);
        let first = state.random.usize(..step);
        let weight = weight * step as f64;
        for Access { key, size } in keys.skip(first).step_by(step) {
            let hash = self.hasher.hash_one(key);
            let sampled = || SampledKey::new(key, shard(key), hash);
            state.hot.note(hash, sampled, is_write, weight, now);
            if let Some(size) = size {
                state.big.note(hash, sampled, size, now);
            }
        }
    }

    pub(super) fn rates(&self, now: Instant) -> (Vec<HotKey>, f64) {
        self.state().hot.rates(now)
    }

    pub(super) fn big(&self, now: Instant) -> Vec<BigKey> {
        self.state().big.read(now)
    }
}

/// The requests of a buffer that are looked at, by their places, the last one first; with the number of
/// requests that each stands for.
#[derive(Debug, Default)]
pub struct Samples(SmallVec<[(usize, f64); 2]>);

impl Samples {
    /// The place of the next one; beyond all if there is none.
    pub fn next(&self) -> usize {
        self.0.last().map_or(usize::MAX, |(at, _)| *at)
    }

    /// Takes the next one; returns its weight.
    pub fn take(&mut self) -> f64 {
        self.0.pop().map_or(0.0, |(_, weight)| weight)
    }
}

impl State {
    /// Draws how far the next request is away.
    fn next_gap(&mut self, now: Instant) -> u64 {
        self.in_round += 1;
        let elapsed = now.saturating_duration_since(self.round_began);
        if self.in_round >= ROUND || elapsed >= ROUND_MAX {
            let rate = f64::from(self.in_round) / elapsed.as_secs_f64().max(1e-6);
            self.gap = (self.gap * rate / SAMPLES_A_SECOND).clamp(1.0, GAP_MAX);
            (self.round_began, self.in_round) = (now, 0);
        }
        if self.gap <= 1.0 {
            return 1;
        }
        // Geometric: each request has the same chance.
        let drawn = (1.0 - self.random.f64()).ln() / (1.0 - 1.0 / self.gap).ln();
        1 + drawn as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::hot_keys::merged;

    /// Requests at a steady rate; every fourth is for one key, the others for many.
    fn run(a_second: u32, seconds: u32) -> (Sampler, Vec<HotKey>, u32) {
        let sampler = Sampler::new(RandomState::new());
        sampler.state().random = fastrand::Rng::with_seed(11);
        let start = sampler.state().round_began;
        let mut samples = 0;
        let requests = a_second * seconds;
        for request in 0..requests as usize {
            let now = start + Duration::from_secs(1) / a_second * request as u32;
            let mut drawn = sampler.draw(1, now);
            if drawn.next() > 0 {
                continue;
            }
            let key = match request % 4 {
                0 => "hot".to_owned(),
                _ => format!("cold:{request}"),
            };
            let access = Access {
                key: key.as_bytes(),
                size: Some(request),
            };
            let weight = drawn.take();
            sampler.note(now, weight, false, 1, [access].into_iter(), |_| 2);
            samples += 1;
        }
        let now = start + Duration::from_secs(seconds.into());
        let keys = merged(vec![sampler.rates(now)], 3);
        (sampler, keys, samples)
    }

    #[test]
    fn of_few_requests_all_are_looked_at() {
        let (_, keys, samples) = run(100, 20);
        assert_eq!(samples, 2000);
        assert_eq!(
            (&keys[0].key.bytes[..], keys[0].key.shard),
            (&b"hot"[..], 2)
        );
        assert!((keys[0].reads - 25.0).abs() < 1.0, "{keys:?}");
    }

    #[test]
    fn of_many_as_many_as_of_fewer_and_the_rates_are_right() {
        let (sampler, keys, samples) = run(200_000, 10);
        assert!((5_000..20_000).contains(&samples), "{samples}");
        assert_eq!(keys[0].key.bytes, "hot");
        let share = keys[0].share;
        assert!((share - 0.25).abs() < 0.02, "{share}");
        let rate = keys[0].reads;
        assert!((rate - 50_000.0).abs() < 5_000.0, "{rate}");
        let gap = sampler.state().gap;
        assert!((100.0..400.0).contains(&gap), "{gap}");
    }

    #[test]
    fn large_buffers_have_as_many_samples_as_small_ones() {
        let sampler = Sampler::new(RandomState::new());
        let now = Instant::now();
        let mut state = sampler.state();
        (state.gap, state.random) = (16.0, fastrand::Rng::with_seed(3));
        state.round_began = now + Duration::from_secs(1);
        drop(state);
        let mut count = 0;
        let mut weights = 0.0;
        for buffer in 0..100 {
            // The gap would be adapted after so many.
            sampler.state().in_round = 0;
            let mut samples = sampler.draw(if buffer % 2 == 0 { 300 } else { 20 }, now);
            let mut before = None;
            while samples.next() < usize::MAX {
                assert!(before < Some(samples.next()));
                assert!(samples.next() < 300);
                before = Some(samples.next());
                weights += samples.take();
                count += 1;
            }
        }
        assert!((850..1150).contains(&count), "{count} of 16000");
        assert!((weights - 16_000.0).abs() < 2_000.0, "{weights}");
    }

    #[test]
    fn of_many_keys_some_stand_for_all() {
        let sampler = Sampler::new(RandomState::new());
        let keys: Vec<String> = (0..1000).map(|n| format!("key:{n}")).collect();
        let accesses = keys.iter().map(|key| Access {
            key: key.as_bytes(),
            size: None,
        });
        let now = Instant::now();
        sampler.note(now, 1.0, true, keys.len(), accesses, |_| 0);
        let (found, total) = sampler.rates(now + Duration::from_secs(1));
        assert!(found.len() <= KEYS_MAX && found.len() > KEYS_MAX / 2);
        assert!((900.0..1100.0).contains(&total), "{total}");
    }
}
