//! How what was measured is distributed, in buckets whose bounds are powers of two.

use std::ops::AddAssign;
use std::time::Duration;

use super::counter::Counter;

/// Powers of two that are told apart; the last holds all that is more. In microseconds, 18 minutes.
pub const BUCKETS: usize = 31;

/// A distribution that grows.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Histogram {
    /// Notes a time that something took.
    pub fn note_time(&self, took: Duration) {
        let nanos = nanos(took);
        self.buckets[bucket(nanos / 1000)].add(1);
        self.sum.add(nanos);
    }

    /// Notes that `calls` took so many nanoseconds each; for who is the only one that adds to this
    /// histogram, as to [`Counter::add_alone`].
    pub fn note_calls_alone(&self, calls: u64, nanos: u64) {
        self.buckets[bucket(nanos / 1000)].add_alone(calls);
        self.sum.add_alone(nanos.saturating_mul(calls));
    }

    /// Notes the size of something.
    pub fn note_size(&self, size: usize) {
        let size = size as u64;
        self.buckets[bucket(size)].add(1);
        self.sum.add(size);
    }

    /// What there is now.
    pub fn read(&self) -> Distribution {
        let mut read = Distribution {
            sum: self.sum.get(),
            ..Distribution::default()
        };
        for (count, bucket) in read.counts.iter_mut().zip(&self.buckets) {
            *count = bucket.get();
        }
        read
    }
}

/// The nanoseconds of a time; those of 584 years for a longer one.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The first bucket whose bound is not less.
fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.saturating_sub(1).leading_zeros();
    let position = if value <= 1 { 0 } else { bits as usize };
    position.min(BUCKETS - 1)
}

/// What a histogram held at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    /// The sum of what was measured: of sizes, or of times in nanoseconds.
    pub sum: u64,
}

impl Distribution {
    /// How much was measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many are not more than each power of two; the last bound has no end, and is not among them.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        let bounded = self.counts[..BUCKETS - 1].iter().enumerate();
        bounded.map(move |(position, count)| {
            below += count;
            (1 << position, below)
        })
    }

    /// Each bound up to the largest of what was measured, with how many are not more, from the first
    /// bound that has any.
    pub fn bounds(&self) -> Vec<(u64, u64)> {
        let mut below = 0;
        let all = self.count();
        let mut bounds = Vec::new();
        for (position, count) in self.counts.iter().enumerate() {
            below += count;
            if below > 0 {
                bounds.push((1 << position, below));
            }
            if below == all {
                break;
            }
        }
        bounds
    }

    /// What `percent` did not exceed: a power of two; 0 if nothing was measured.
    pub fn percentile(&self, percent: f64) -> u64 {
        let bounds = self.bounds();
        let all = bounds.last().map_or(0, |(_, count)| *count);
        let wanted = all as f64 * percent / 100.0;
        bounds
            .iter()
            .find(|(_, below)| *below as f64 >= wanted)
            .map_or(0, |(bound, _)| *bound)
    }

    /// What `percent` did not exceed, supposing that what is in a bucket is spread evenly over it; 0 if nothing was
    /// measured.
    pub fn quantile(&self, percent: f64) -> f64 {
        let wanted = self.count() as f64 * percent / 100.0;
        let (mut below, mut lower) = (0.0, 0.0);
        for (position, count) in self.counts.iter().enumerate() {
            let (upper, count) = ((1_u64 << position) as f64, *count as f64);
            if count > 0.0 && below + count >= wanted {
                return lower + (upper - lower) * (wanted - below) / count;
            }
            (below, lower) = (below + count, upper);
        }
        0.0
    }

    /// What was measured since it was `before`.
    pub fn since(&self, before: &Distribution) -> Distribution {
        let mut since = self.clone();
        since.sum = since.sum.saturating_sub(before.sum);
        for (count, before) in since.counts.iter_mut().zip(&before.counts) {
            *count = count.saturating_sub(*before);
        }
        since
    }
}

impl AddAssign for Distribution {
    fn add_assign(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (count, other) in self.counts.iter_mut().zip(other.counts) {
            *count += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_power_of_two() {
        for (micros, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)] {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_is_beyond_the_last_bound_counts_all_the_same() {
        let histogram = Histogram::default();
        histogram.note_size(3);
        histogram.note_size(usize::MAX);
        let read = histogram.read();
        assert_eq!(read.count(), 2);
        assert_eq!(read.cumulative().last(), Some((1 << (BUCKETS - 2), 1)));
        assert_eq!(read.cumulative().nth(1), Some((2, 0)));
        assert_eq!(read.cumulative().nth(2), Some((4, 1)));
    }

    #[test]
    fn a_quantile_is_within_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(50.0), 0.0);
        histogram.note_calls_alone(100, 12_000);
        let read = histogram.read();
        assert_eq!((read.quantile(50.0), read.quantile(100.0)), (12.0, 16.0));
        histogram.note_calls_alone(100, 1_000);
        let read = histogram.read();
        assert_eq!((read.quantile(25.0), read.quantile(75.0)), (0.5, 12.0));
    }

    #[test]
    fn a_distribution_is_that_of_what_came_since() {
        let histogram = Histogram::default();
        histogram.note_time(Duration::from_micros(9));
        let before = histogram.read();
        histogram.note_calls_alone(3, 10_000);
        let since = histogram.read().since(&before);
        assert_eq!((since.count(), since.sum), (3, 30_000));
        assert_eq!(since.bounds(), [(16, 3)]);
        assert_eq!(since.percentile(50.0), 16);
        assert_eq!(Distribution::default().percentile(99.0), 0);
    }
}
