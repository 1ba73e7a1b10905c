//! Which keys are asked for most, out of a sample of the requests.
//!
//! A sketch of fixed size (SpaceSaving): a key that is not in it takes the place of the one with the least
//! weight, whose weight it inherits as what it may have too much. What is told is the weight without
//! that: at least so much. Weights fade with time, so that it is the last minute or so that counts. They are not
//! made smaller at each look: later ones are made larger.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Keys that are followed by each worker.
const SLOTS: usize = 256;

/// Bytes of a key that are kept.
pub(super) const KEY_BYTES_MAX: usize = 256;

/// After so many seconds a request has 1/e of its weight.
const FADING_SECONDS: f64 = 60.0;

/// When weights have grown by e to this, they are made smaller again.
const GROWTH_MAX: f64 = 20.0;

/// A key, as much of it as is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledKey {
    /// Its first bytes.
    pub bytes: Bytes,
    /// How many it has.
    pub length: usize,
    /// The index of its shard.
    pub shard: usize,
    /// Tells it from others.
    pub(super) hash: u64,
}

impl SampledKey {
    pub(super) fn new(key: &[u8], shard: usize, hash: u64) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&key[..key.len().min(KEY_BYTES_MAX)]),
            length: key.len(),
            shard,
            hash,
        }
    }
}

/// A key that is asked for often.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// The key.
    pub key: SampledKey,
    /// Reads a second, estimated.
    pub reads: f64,
    /// Writes a second, estimated.
    pub writes: f64,
    /// Which part of all requests for keys that is: from 0 to 1.
    pub share: f64,
}

impl HotKey {
    /// Requests a second, estimated.
    pub fn requests(&self) -> f64 {
        self.reads + self.writes
    }
}

/// What one worker has sampled.
#[derive(Debug)]
pub(super) struct Sketch {
    slots: Vec<Slot>,
    /// The slot of a key, by its hash.
    places: HashMap<u64, usize>,
    /// When the weights were as they are written; when it began.
    reference: Instant,
    began: Instant,
    /// Of all requests.
    total: f64,
}

#[derive(Debug)]
struct Slot {
    key: SampledKey,
    reads: f64,
    writes: f64,
    inherited: f64,
}

impl Slot {
    fn weight(&self) -> f64 {
        self.reads + self.writes + self.inherited
    }
}

impl Sketch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            places: HashMap::new(),
            reference: now,
            began: now,
            total: 0.0,
        }
    }

    /// Notes requests for a key, `weight` of which this one stands for.
    pub(super) fn note(
        &mut self,
        hash: u64,
        key: impl FnOnce() -> SampledKey,
        is_write: bool,
        weight: f64,
        now: Instant,
    ) {
        let weight = weight * self.growth(now).exp();
        self.total += weight;
        let slot = match self.places.entry(hash) {
            Entry::Occupied(place) => &mut self.slots[*place.get()],
            Entry::Vacant(place) if self.slots.len() < SLOTS => {
                place.insert(self.slots.len());
                self.slots.push(Slot {
                    key: key(),
                    reads: 0.0,
                    writes: 0.0,
                    inherited: 0.0,
                });
                let last = self.slots.len() - 1;
                &mut self.slots[last]
            }
            Entry::Vacant(place) => {
                let weights = self.slots.iter().map(Slot::weight).enumerate();
                let least = weights.min_by(|(_, one), (_, other)| one.total_cmp(other));
                let least = least.map_or(0, |(least, _)| least);
                place.insert(least);
                let before = &self.slots[least];
                let (hash_before, inherited) = (before.key.hash, before.weight());
                self.places.remove(&hash_before);
                self.slots[least] = Slot {
                    key: key(),
                    reads: 0.0,
                    writes: 0.0,
                    inherited,
                };
                &mut self.slots[least]
            }
        };
        if is_write {
            slot.writes += weight;
        } else {
            slot.reads += weight;
        }
    }

    /// By which power of e weights are written larger now.
    fn growth(&mut self, now: Instant) -> f64 {
        let growth = self.growth_at(now);
        if growth < GROWTH_MAX {
            return growth;
        }
        let fade = (-growth).exp();
        self.total *= fade;
        for slot in &mut self.slots {
            slot.reads *= fade;
            slot.writes *= fade;
            slot.inherited *= fade;
        }
        self.reference = now;
        0.0
    }

    fn growth_at(&self, now: Instant) -> f64 {
        seconds(self.reference, now) / FADING_SECONDS
    }

    /// All that is followed, with rates; and the rate of all requests.
    pub(super) fn rates(&self, now: Instant) -> (Vec<HotKey>, f64) {
        // A steady rate has this weight by now.
        let age = seconds(self.began, now).max(1.0);
        let steady = FADING_SECONDS * (1.0 - (-age / FADING_SECONDS).exp());
        let scale = (-self.growth_at(now)).exp() / steady;
        let keys = self.slots.iter().map(|slot| HotKey {
            key: slot.key.clone(),
            reads: slot.reads * scale,
            writes: slot.writes * scale,
            share: 0.0,
        });
        (keys.collect(), self.total * scale)
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// The keys of several sketches, those with the most requests first.
pub(super) fn merged(sketches: Vec<(Vec<HotKey>, f64)>, count: usize) -> Vec<HotKey> {
    let mut keys: HashMap<u64, HotKey> = HashMap::new();
    let mut total = 0.0;
    for (of_worker, all) in sketches {
        total += all;
        for hot in of_worker {
            match keys.entry(hot.key.hash) {
                Entry::Occupied(mut known) => {
                    known.get_mut().reads += hot.reads;
                    known.get_mut().writes += hot.writes;
                }
                Entry::Vacant(place) => drop(place.insert(hot)),
            }
        }
    }
    let mut keys: Vec<HotKey> = keys.into_values().collect();
    keys.sort_by(|one, other| other.requests().total_cmp(&one.requests()));
    keys.truncate(count);
    for hot in &mut keys {
        hot.share = hot.requests() / total.max(f64::MIN_POSITIVE);
    }
    keys
}

/// How long a large value is remembered after it was last seen.
const BIG_FOR: Duration = Duration::from_secs(3600);

/// Large values that are remembered by each worker.
const BIG_SLOTS: usize = 64;

/// A key whose value is large.
#[derive(Debug, Clone, PartialEq)]
pub struct BigKey {
    /// The key.
    pub key: SampledKey,
    /// Bytes of its value, when it was last seen.
    pub size: usize,
    /// When that was.
    pub seen: Instant,
}

/// The largest values that one worker has seen.
#[derive(Debug, Default)]
pub(super) struct BigKeys(Vec<BigKey>);

impl BigKeys {
    pub(super) fn note(
        &mut self,
        hash: u64,
        key: impl FnOnce() -> SampledKey,
        size: usize,
        seen: Instant,
    ) {
        if let Some(known) = self.0.iter_mut().find(|known| known.key.hash == hash) {
            (known.size, known.seen) = (size, seen);
            return;
        }
        self.0
            .retain(|known| seen.saturating_duration_since(known.seen) < BIG_FOR);
        let big = |key| BigKey { key, size, seen };
        if self.0.len() < BIG_SLOTS {
            self.0.push(big(key()));
        } else if let Some(least) = self.0.iter_mut().min_by_key(|known| known.size)
            && least.size < size
        {
            *least = big(key());
        }
    }

    pub(super) fn read(&self, now: Instant) -> Vec<BigKey> {
        let is_known = |known: &&BigKey| now.saturating_duration_since(known.seen) < BIG_FOR;
        self.0.iter().filter(is_known).cloned().collect()
    }
}

/// What several workers have seen, each key as it was last, the largest first.
pub(super) fn largest(seen: Vec<BigKey>, count: usize) -> Vec<BigKey> {
    let mut latest: HashMap<u64, BigKey> = HashMap::new();
    for big in seen {
        match latest.entry(big.key.hash) {
            Entry::Occupied(mut known) if known.get().seen < big.seen => drop(known.insert(big)),
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => drop(place.insert(big)),
        }
    }
    let mut largest: Vec<BigKey> = latest.into_values().collect();
    largest.sort_by_key(|big| std::cmp::Reverse(big.size));
    largest.truncate(count);
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> SampledKey {
        SampledKey::new(format!("key:{number}").as_bytes(), 0, number)
    }

    fn note(sketch: &mut Sketch, number: u64, is_write: bool, now: Instant) {
        sketch.note(number, || key(number), is_write, 1.0, now);
    }

    #[test]
    fn a_steady_rate_is_told_as_it_is_early_and_late() {
        let start = Instant::now();
        let mut sketch = Sketch::new(start);
        for minute in 1..=40 {
            for tenth in 0..600 {
                let now = start + Duration::from_millis((minute - 1) * 60_000 + tenth * 100);
                note(&mut sketch, 1, false, now);
                if tenth % 2 == 0 {
                    note(&mut sketch, 2, true, now);
                }
            }
            // The weights were made smaller in between, after 20 minutes.
            let now = start + Duration::from_secs(minute * 60);
            let keys = merged(vec![sketch.rates(now)], 10);
            assert_eq!(keys[0].key.bytes, "key:1");
            assert!((keys[0].reads - 10.0).abs() < 0.1, "{minute}: {keys:?}");
            assert!((keys[1].writes - 5.0).abs() < 0.1, "{minute}: {keys:?}");
            assert!((keys[0].share - 2.0 / 3.0).abs() < 0.01, "{keys:?}");
        }
        let later = start + Duration::from_secs(45 * 60);
        let (keys, _) = sketch.rates(later);
        assert!(keys[0].reads < 0.1, "five minutes later: {keys:?}");
    }

    /// Keys come with a probability of 1/rank, from far more keys than there are slots.
    #[test]
    fn the_hottest_keys_come_first_with_their_true_shares() {
        let mut random = fastrand::Rng::with_seed(7);
        let keys = 20_000;
        let sums: Vec<f64> = (1..=keys)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / f64::from(rank);
                Some(*sum)
            })
            .collect();
        let all = sums[sums.len() - 1];
        let start = Instant::now();
        let mut sketches = [Sketch::new(start), Sketch::new(start)];
        for request in 0..200_000_u64 {
            let drawn = random.f64() * all;
            let rank = sums.partition_point(|sum| *sum < drawn) as u64 + 1;
            let now = start + Duration::from_micros(request * 50);
            note(&mut sketches[(request % 2) as usize], rank, false, now);
        }
        let now = start + Duration::from_secs(10);
        let rates = sketches.iter().map(|sketch| sketch.rates(now)).collect();
        let hottest = merged(rates, 10);
        for (rank, hot) in (1_u64..).zip(&hottest).take(5) {
            assert_eq!(hot.key.hash, rank, "{hottest:?}");
            let share = 1.0 / rank as f64 / all;
            assert!(
                hot.share > 0.8 * share && hot.share < 1.1 * share,
                "{rank}: {} of {share}",
                hot.share
            );
        }
        for sketch in sketches {
            assert_eq!(sketch.slots.len(), SLOTS);
            assert_eq!(sketch.places.len(), SLOTS);
        }
    }

    #[test]
    fn keys_that_are_all_alike_are_not_told_to_be_hot() {
        let start = Instant::now();
        let mut sketch = Sketch::new(start);
        for number in 0..100_000 {
            note(&mut sketch, number % 50_000, false, start);
        }
        let keys = merged(vec![sketch.rates(start + Duration::from_secs(1))], 1);
        assert!(keys[0].share < 0.001, "{keys:?}");
    }

    #[test]
    fn a_long_key_is_kept_in_part() {
        let key = SampledKey::new(&[b'x'; 1000], 3, 1);
        assert_eq!((key.bytes.len(), key.length), (KEY_BYTES_MAX, 1000));
    }

    #[test]
    fn the_largest_values_are_remembered_as_they_were_last() {
        let start = Instant::now();
        let mut big = BigKeys::default();
        for number in 0..1000 {
            big.note(number, || key(number), number as usize, start);
        }
        big.note(999, || key(999), 10, start + Duration::from_secs(1));
        let now = start + Duration::from_secs(2);
        let sizes: Vec<usize> = largest(big.read(now), 3)
            .iter()
            .map(|big| big.size)
            .collect();
        assert_eq!(sizes, [998, 997, 996]);
        assert_eq!(big.read(now).len(), BIG_SLOTS);
        assert_eq!(
            big.read(start + BIG_FOR).len(),
            1,
            "the others are forgotten"
        );
    }
}
