//! What each worker counts for itself, since it does so at every command.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use super::counter::Counter;
use super::histogram::{Distribution, Histogram, nanos};
use super::sampler::Sampler;

/// The figures of one worker, on cache lines of their own. Only its thread adds to those that are
/// added to [alone](Counter::add_alone).
#[derive(Debug)]
#[repr(align(128))]
pub struct Worker {
    /// RESP commands processed.
    pub commands: Counter,
    /// Bytes read from RESP clients.
    pub input_bytes: Counter,
    /// Bytes written to RESP clients.
    pub output_bytes: Counter,
    /// How long the cache took to answer a GET, from its being sent.
    pub cache_gets: Histogram,
    /// Which requests are looked at more closely.
    pub sampler: Sampler,
    /// Calls of commands that are not in the table.
    pub unknown_calls: Counter,
    /// By the place of a command in its table.
    calls: Box<[Histogram]>,
}

impl Worker {
    pub(super) fn new(commands: usize, hasher: RandomState) -> Self {
        Self {
            commands: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            cache_gets: Histogram::default(),
            sampler: Sampler::new(hasher),
            unknown_calls: Counter::default(),
            calls: (0..commands).map(|_| Histogram::default()).collect(),
        }
    }

    /// Notes that a command, by its place in the table, was called so often, and took so long each time.
    /// Only for the worker itself.
    pub fn note_calls(&self, command: usize, calls: u64, nanos_each: u64) {
        if let Some(histogram) = self.calls.get(command) {
            histogram.note_calls_alone(calls, nanos_each);
        }
    }

    /// How many commands the table has.
    pub(super) fn commands_known(&self) -> usize {
        self.calls.len()
    }

    /// The times of a command.
    pub(super) fn calls_of(&self, command: usize) -> Distribution {
        self.calls
            .get(command)
            .map(Histogram::read)
            .unwrap_or_default()
    }
}

/// The time of a buffer as the share of each of its requests, in nanoseconds.
pub fn share(took: Duration, requests: usize) -> u64 {
    nanos(took) / requests.max(1) as u64
}
