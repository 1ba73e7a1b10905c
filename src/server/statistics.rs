//! How often each command was called and how long it took: `# Commandstats`, `# Latencystats`, LATENCY
//! HISTOGRAM, and the errors that were answered.
//!
//! What is timed is a buffer of requests as a whole, as for [SLOWLOG](super::slowlog): one look at the
//! clock, and three additions for each run of equal commands. The commands of a pipeline are under way
//! together; its time is shared out among them evenly.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::dispatch::Request;
use crate::command::table::{COMMANDS, position};
use crate::metrics::Metrics;

/// Powers of two of a microsecond that are told apart; the last holds all that is longer, 18 minutes.
const BUCKETS: usize = 31;

/// Kinds of errors that are told apart, as in Redis.
const ERRORS_MAX: usize = 128;

/// The figures, each worker's apart: they add to them at every request.
#[derive(Debug)]
pub(super) struct Statistics {
    workers: Vec<Box<[Figures]>>,
    errors: Mutex<BTreeMap<String, u64>>,
    /// What the counters of the process were at CONFIG RESETSTAT.
    before: Mutex<BTreeMap<&'static str, u64>>,
}

/// Those of one command.
#[derive(Debug, Default)]
struct Figures {
    calls: AtomicU64,
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// The sum of them over the workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) micros: u64,
    buckets: [u64; BUCKETS],
}

impl Statistics {
    pub(super) fn new(workers: usize) -> Self {
        let figures = || COMMANDS.iter().map(|_| Figures::default()).collect();
        Self {
            workers: (0..workers.max(1)).map(|_| figures()).collect(),
            errors: Mutex::default(),
            before: Mutex::default(),
        }
    }

    /// Notes that `requests` were handled together by a worker; `last` is the place of the last one's
    /// command in the table.
    pub(super) fn note(
        &self,
        worker: usize,
        requests: &[Request],
        last: Option<usize>,
        took: Duration,
    ) {
        let Some(figures) = self.workers.get(worker) else {
            return;
        };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let nanos = nanos / requests.len().max(1) as u64;
        let (mut run, mut calls) = (last, 0);
        for request in requests {
            let command = match request {
                Request::Words(words) => words.first().and_then(|name| {
                    let is_same =
                        |at: &usize| name.eq_ignore_ascii_case(COMMANDS[*at].name.as_bytes());
                    run.filter(is_same).or_else(|| position(name))
                }),
                Request::Refused(_) => None,
            };
            if command != run {
                add(figures, run, calls, nanos);
                (run, calls) = (command, 0);
            }
            calls += 1;
        }
        add(figures, run, calls, nanos);
    }

    /// What is noted of a command, by its place in the table.
    pub(super) fn of(&self, command: usize) -> Sum {
        let mut sum = Sum::default();
        let mut nanos = 0;
        for figures in self.workers.iter().filter_map(|all| all.get(command)) {
            sum.calls += figures.calls.load(Ordering::Relaxed);
            nanos += figures.nanos.load(Ordering::Relaxed);
            for (sum, bucket) in sum.buckets.iter_mut().zip(&figures.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
        }
        sum.micros = nanos / 1000;
        sum
    }

    /// Notes an error that is answered.
    pub(super) fn note_error(&self, text: &str) {
        let kind = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = errors.get_mut(kind) {
            *count += 1;
        } else if errors.len() < ERRORS_MAX {
            errors.insert(kind.to_owned(), 1);
        }
    }

    /// How many errors of each kind were answered.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A counter of the process since the last CONFIG RESETSTAT.
    pub(super) fn since_reset(&self, name: &'static str, count: u64) -> u64 {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        count.saturating_sub(before.get(name).copied().unwrap_or(0))
    }

    /// Begins anew; the counters of the process go on.
    pub(super) fn reset(&self, metrics: &Metrics) {
        let counters = metrics.table().into_iter();
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) =
            counters.map(|(name, _, count)| (name, count)).collect();
        for figures in self.workers.iter().flat_map(|all| all.iter()) {
            figures.calls.store(0, Ordering::Relaxed);
            figures.nanos.store(0, Ordering::Relaxed);
            for bucket in &figures.buckets {
                bucket.store(0, Ordering::Relaxed);
            }
        }
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

fn add(figures: &[Figures], command: Option<usize>, calls: u64, nanos: u64) {
    let Some(figures) = command.and_then(|at| figures.get(at)).filter(|_| calls > 0) else {
        return;
    };
    figures.calls.fetch_add(calls, Ordering::Relaxed);
    figures
        .nanos
        .fetch_add(nanos.saturating_mul(calls), Ordering::Relaxed);
    figures.buckets[bucket(nanos / 1000)].fetch_add(calls, Ordering::Relaxed);
}

/// The first bucket whose bound is not less.
fn bucket(micros: u64) -> usize {
    let bits = u64::BITS - micros.saturating_sub(1).leading_zeros();
    let position = if micros <= 1 { 0 } else { bits as usize };
    position.min(BUCKETS - 1)
}

impl Sum {
    /// Each bound in microseconds up to the largest time, with how many took no longer.
    pub(super) fn histogram(&self) -> Vec<(u64, u64)> {
        let mut below = 0;
        let all: u64 = self.buckets.iter().sum();
        let mut histogram = Vec::new();
        for (position, count) in self.buckets.iter().enumerate() {
            below += count;
            if below > 0 {
                histogram.push((1 << position, below));
            }
            if below == all {
                break;
            }
        }
        histogram
    }

    /// Microseconds that `percent` of the calls did not exceed: a power of two.
    pub(super) fn percentile(&self, percent: f64) -> u64 {
        let histogram = self.histogram();
        let all = histogram.last().map_or(0, |(_, count)| *count);
        let wanted = all as f64 * percent / 100.0;
        histogram
            .iter()
            .find(|(_, below)| *below as f64 >= wanted)
            .map_or(0, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(name: &'static str) -> Request {
        Request::Words([Bytes::from_static(name.as_bytes())].into_iter().collect())
    }

    #[test]
    fn a_bucket_is_a_power_of_two() {
        for (micros, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)] {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_time_of_a_pipeline_is_shared_out() {
        let statistics = Statistics::new(2);
        let requests = ["GET", "get", "SET", "nosuch", "get"].map(request);
        let get = position(b"get").unwrap();
        statistics.note(1, &requests, Some(get), Duration::from_micros(50));
        let sum = statistics.of(get);
        assert_eq!((sum.calls, sum.micros), (3, 30));
        assert_eq!(sum.histogram(), [(16, 3)]);
        assert_eq!(sum.percentile(50.0), 16);
        assert_eq!(statistics.of(position(b"set").unwrap()).calls, 1);
        statistics.reset(&Metrics::default());
        assert_eq!(statistics.of(get).calls, 0);
        assert_eq!(statistics.of(get).percentile(99.0), 0);
    }

    #[test]
    fn errors_are_counted_by_their_first_word() {
        let statistics = Statistics::new(1);
        statistics.note_error("ERR syntax error");
        statistics.note_error("ERR other");
        statistics.note_error("WRONGTYPE x");
        let errors = statistics.errors();
        assert_eq!(errors["ERR"], 2);
        assert_eq!(errors["WRONGTYPE"], 1);
    }
}
