//! How often each command was called and how long it took: `# Commandstats`, `# Latencystats`, LATENCY
//! HISTOGRAM, and the errors that were answered. The figures are those of the [metrics](crate::metrics),
//! which go on for ever; here is what they were at CONFIG RESETSTAT.
//!
//! What is timed is a buffer of requests as a whole, as for [SLOWLOG](super::slowlog): one look at the
//! clock, and two additions for each run of equal commands. The commands of a pipeline are under way
//! together; its time is shared out among them evenly.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::dispatch::Request;
use crate::command::table::{COMMANDS, position};
use crate::metrics::{self, Distribution, Metrics, Worker};

/// What the figures were at the last CONFIG RESETSTAT.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    before: Mutex<Before>,
}

#[derive(Debug, Default)]
struct Before {
    counters: BTreeMap<&'static str, u64>,
    calls: BTreeMap<usize, Distribution>,
    errors: BTreeMap<String, u64>,
}

/// Notes that `requests` were handled together by a worker; `last` is the place of the last one's
/// command in the table.
pub(super) fn note(worker: &Worker, requests: &[Request], last: Option<usize>, took: Duration) {
    let nanos = metrics::share(took, requests.len());
    let (mut run, mut calls) = (last, 0);
    for request in requests {
        let command = command_of(request, run);
        if command != run {
            add(worker, run, calls, nanos);
            (run, calls) = (command, 0);
        }
        calls += 1;
    }
    add(worker, run, calls, nanos);
}

/// The place of a request's command in the table; the one of the request before is tried first.
pub(super) fn command_of(request: &Request, before: Option<usize>) -> Option<usize> {
    let Request::Words(words) = request else {
        return None;
    };
    let name = words.first()?;
    let is_same = |at: &usize| name.eq_ignore_ascii_case(COMMANDS[*at].name.as_bytes());
    before.filter(is_same).or_else(|| position(name))
}

fn add(worker: &Worker, command: Option<usize>, calls: u64, nanos: u64) {
    match command {
        Some(command) if calls > 0 => worker.note_calls(command, calls, nanos),
        Some(_) => {}
        None => worker.unknown_calls.add_alone(calls),
    }
}

impl Statistics {
    /// The times of a command, by its place in the table, since the last CONFIG RESETSTAT.
    pub(super) fn of(&self, metrics: &Metrics, command: usize) -> Distribution {
        let all = metrics.calls_of(command);
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before
            .calls
            .get(&command)
            .map_or(all.clone(), |before| all.since(before))
    }

    /// How many errors of each kind were answered since then.
    pub(super) fn errors(&self, metrics: &Metrics) -> BTreeMap<String, u64> {
        let mut errors = by_kind(metrics);
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        errors.retain(|kind, count| {
            *count -= (*count).min(before.errors.get(kind).copied().unwrap_or(0));
            *count > 0
        });
        errors
    }

    /// A counter of the process since then.
    pub(super) fn counter(&self, metrics: &Metrics, name: &'static str) -> u64 {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.counters.get(name).copied().unwrap_or(0);
        metrics.total(name).saturating_sub(before)
    }

    /// Begins anew.
    pub(super) fn reset(&self, metrics: &Metrics) {
        let counters = metrics.table().into_iter();
        let calls = (0..COMMANDS.len()).map(|command| (command, metrics.calls_of(command)));
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Before {
            counters: counters.map(|(name, _, count)| (name, count)).collect(),
            calls: calls.filter(|(_, calls)| calls.count() > 0).collect(),
            errors: by_kind(metrics),
        };
    }
}

fn by_kind(metrics: &Metrics) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for (failure, count) in metrics.errors() {
        *kinds.entry(failure.kind).or_default() += count;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(name: &'static str) -> Request {
        Request::Words([Bytes::from_static(name.as_bytes())].into_iter().collect())
    }

    #[test]
    fn the_time_of_a_pipeline_is_shared_out() {
        let metrics = Metrics::new(2, 1, COMMANDS.len());
        let statistics = Statistics::default();
        let requests = ["GET", "get", "SET", "nosuch", "get"].map(request);
        let get = position(b"get").unwrap();
        let took = Duration::from_micros(50);
        note(metrics.worker(1), &requests, Some(get), took);
        let calls = statistics.of(&metrics, get);
        assert_eq!((calls.count(), calls.sum), (3, 30_000));
        assert_eq!(calls.bounds(), [(16, 3)]);
        let set = position(b"set").unwrap();
        assert_eq!(statistics.of(&metrics, set).count(), 1);
        assert_eq!(metrics.unknown_calls(), 1);
        statistics.reset(&metrics);
        assert_eq!(statistics.of(&metrics, get).count(), 0);
        note(metrics.worker(0), &requests[..1], Some(get), took);
        assert_eq!(statistics.of(&metrics, get).count(), 1);
        assert_eq!(metrics.calls_of(get).count(), 4, "these go on");
    }

    #[test]
    fn errors_are_counted_by_their_first_word_since_the_reset() {
        let (metrics, statistics) = (Metrics::default(), Statistics::default());
        metrics.note_error(None, "ERR syntax error");
        metrics.note_error(Some(3), "ERR other");
        assert_eq!(statistics.errors(&metrics)["ERR"], 2);
        statistics.reset(&metrics);
        assert!(statistics.errors(&metrics).is_empty());
        metrics.note_error(Some(3), "ERR other");
        assert_eq!(statistics.errors(&metrics)["ERR"], 1);
    }
}
