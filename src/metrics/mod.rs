//! The figures of this process. Every layer counts here; `/metrics`, INFO and LATENCY read.
//!
//! What is counted at every command is counted by each worker for itself ([`Worker`]) and summed up when
//! somebody asks. What is counted once a batch is in one place ([`Shard`], [`Metrics`]).

mod counter;
mod histogram;
mod hot_keys;
pub mod process;
mod sampler;
mod shard;
mod slow_log;
mod spans;
mod worker;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use counter::{Counter, Gauge};
pub use histogram::{Distribution, Histogram};
pub use hot_keys::{BigKey, HotKey, SampledKey};
pub use sampler::{Access, Sampler, Samples};
pub use shard::{OUTCOMES, Operations, Outcome, Shard};
pub use slow_log::{SlowEntry, SlowLog};
pub use spans::Spans;
pub use worker::{Worker, share};

/// Pairs of a command and a kind of error that are told apart.
const ERRORS_MAX: usize = 1024;

macro_rules! counters {
    ($($field:ident: $help:literal;)*) => {
        /// All figures.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Counter,)*
            /// Clients that are connected to the RESP port.
            pub clients: Gauge,
            /// How many there may be.
            pub clients_max: Gauge,
            /// How long the cache took for the steps that come in batches, as [`CACHE_STEPS`] names them.
            pub cache_steps: [Histogram; CACHE_STEPS.len()],
            /// What took long.
            pub slow_log: SlowLog,
            /// When the process started, since the epoch.
            pub started: Duration,
            workers: Box<[Worker]>,
            shards: Box<[Shard]>,
            errors: Mutex<BTreeMap<Failure, u64>>,
            succeeded: Mutex<BTreeMap<Option<usize>, u64>>,
        }

        impl Metrics {
            /// The figures of so many workers, shards and commands.
            pub fn new(workers: usize, shards: usize, commands: usize) -> Self {
                let hasher = RandomState::new();
                Self {
                    $($field: Counter::default(),)*
                    clients: Gauge::default(),
                    clients_max: Gauge::default(),
                    cache_steps: Default::default(),
                    slow_log: SlowLog::default(),
                    started: process::unix_time(),
                    workers: (0..workers.max(1)).map(|_| Worker::new(commands, hasher.clone())).collect(),
                    shards: (0..shards.max(1)).map(|_| Shard::default()).collect(),
                    errors: Mutex::default(),
                    succeeded: Mutex::default(),
                }
            }

            /// Every counter that has no label as (name, help, value); `/metrics` adds the prefix
            /// `respgres_` and the suffix `_total`.
            pub fn table(&self) -> Vec<(&'static str, &'static str, u64)> {
                let sum = |of: fn(&Worker) -> &Counter| self.workers.iter().map(|worker| of(worker).get()).sum();
                vec![
                    $((stringify!($field), $help, self.$field.get()),)*
                    ("commands", "RESP commands processed", sum(|worker| &worker.commands)),
                    ("network_input_bytes", "Bytes read from RESP clients", sum(|worker| &worker.input_bytes)),
                    ("network_output_bytes", "Bytes written to RESP clients", sum(|worker| &worker.output_bytes)),
                ]
            }
        }
    };
}

counters! {
    cache_hits: "Keys answered from the cache";
    cache_misses: "Keys that were asked for and that the cache did not know; those who wait for the same read of a shard count each";
    connections: "RESP connections accepted";
    connections_rejected: "RESP connections refused because of MAX_CLIENTS";
    authentication_failures: "Logins of RESP clients refused because of a wrong name or password";
    commands_denied: "RESP commands refused because the client had not logged in, or its user lacks the right";
    protocol_errors: "RESP connections closed because of a broken frame";
    http_requests: "HTTP requests answered";
    http_unauthorized: "HTTP requests with a wrong token";
    shard_read_batches: "Read statements sent to shards";
    shard_write_batches: "Write statements or transactions sent to shards";
    shard_writes: "Single writes in those batches";
    transactions_across: "Transactions begun over several shards";
    transactions_recovered: "Parts of such transactions that were left behind by another proxy, or by a lost connection, and finished here";
    shard_errors: "Shard operations that failed";
    view_changes: "Changes of a shard's view of the cache, by whichever proxy";
    outside_writes: "Rows changed past the proxies whose cache entries were removed";
    expired_rows_removed: "Rows deleted by the sweeper because they had expired";
    tls_connections: "Connections accepted with TLS, on both ports";
    tls_refused: "Connections to the ports with TLS that ended in the handshake";
    tls_refused_plain: "Those of them that did not speak TLS";
}

/// The steps on the cache that come in batches, as labels.
pub const CACHE_STEPS: [&str; 3] = ["lease", "settle", "fin"];

/// The place of a step in [`Metrics::cache_steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStep {
    /// A reader asks for leave to fill.
    Lease,
    /// It fills, or says what it saw.
    Settle,
    /// A write removes entries.
    Fin,
}

/// An error that was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The place of the command in its table; `None` for one that is not there.
    pub command: Option<usize>,
    /// The first word of the error.
    pub kind: String,
}

/// Of one worker, one shard and no commands.
impl Default for Metrics {
    fn default() -> Self {
        Self::new(1, 1, 0)
    }
}

impl Metrics {
    /// What one worker counts; the last one stands for any other thread.
    pub fn worker(&self, worker: usize) -> &Worker {
        // There is at least one.
        &self.workers[worker.min(self.workers.len() - 1)]
    }

    /// What is counted of a shard, by its index.
    pub fn shard(&self, shard: usize) -> &Shard {
        // There is at least one.
        &self.shards[shard.min(self.shards.len() - 1)]
    }

    /// Of all shards, in their order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// How long the calls of a command took, by its place in the table.
    pub fn calls_of(&self, command: usize) -> Distribution {
        self.over_workers(|worker| worker.calls_of(command))
    }

    /// How often commands were called that are not in the table.
    pub fn unknown_calls(&self) -> u64 {
        let workers = self.workers.iter();
        workers.map(|worker| worker.unknown_calls.get()).sum()
    }

    /// How long the cache took to answer a GET.
    pub fn cache_gets(&self) -> Distribution {
        self.over_workers(|worker| worker.cache_gets.read())
    }

    fn over_workers(&self, of: impl Fn(&Worker) -> Distribution) -> Distribution {
        let mut sum = Distribution::default();
        for worker in &self.workers {
            sum += of(worker);
        }
        sum
    }

    /// The keys that are asked for most, the hottest first, over the last minute or so.
    pub fn hot_keys(&self, count: usize) -> Vec<HotKey> {
        let now = Instant::now();
        let workers = self.workers.iter();
        let rates = workers.map(|worker| worker.sampler.rates(now)).collect();
        hot_keys::merged(rates, count)
    }

    /// The keys with the largest values that were seen, the largest first.
    pub fn big_keys(&self, count: usize) -> Vec<BigKey> {
        let now = Instant::now();
        let workers = self.workers.iter();
        let seen = workers.flat_map(|worker| worker.sampler.big(now)).collect();
        hot_keys::largest(seen, count)
    }

    /// A counter of [`table`](Metrics::table), by its name; 0 if there is none.
    pub fn total(&self, name: &str) -> u64 {
        let table = self.table();
        let found = table.iter().find(|(known, _, _)| *known == name);
        found.map_or(0, |(_, _, count)| *count)
    }

    /// Notes an error that is answered to a command.
    pub fn note_error(&self, command: Option<usize>, text: &str) {
        let kind = text.split(' ').next().unwrap_or_default();
        let failure = Failure {
            command,
            kind: kind.to_owned(),
        };
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = errors.get_mut(&failure) {
            *count += 1;
        } else if errors.len() < ERRORS_MAX {
            errors.insert(failure, 1);
        }
    }

    /// How often each error was answered.
    pub fn errors(&self) -> BTreeMap<Failure, u64> {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The calls of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// The place of the command in its table; `None` for all that are not there.
    pub command: Option<usize>,
    /// How long they took.
    pub times: Distribution,
    /// Calls that were answered with no error. Never less than somebody was told before.
    pub succeeded: u64,
    /// Calls that were answered with an error.
    pub failed: u64,
}

impl Metrics {
    /// The calls of all commands that were called, in the order of the table; those that are not in it last, and
    /// without times.
    pub fn calls(&self) -> Vec<Calls> {
        let commands = self.worker(0).commands_known();
        let known = (0..commands)
            .map(|command| (Some(command), self.calls_of(command)))
            .filter(|(_, times)| times.count() > 0);
        let counted: Vec<_> = known
            .map(|(command, times)| (command, times.count(), times))
            .chain([(None, self.unknown_calls(), Distribution::default())])
            .collect();
        // An error is counted when it is answered, and the call a moment later. The errors are read last, so that they
        // are too many at most; and what was told stays until the calls have caught up.
        let errors = self.errors();
        let mut told = self
            .succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let calls = counted.into_iter().map(|(command, calls, times)| {
            let of_command = |(failure, _): &(&Failure, &u64)| failure.command == command;
            let failed = errors
                .iter()
                .filter(of_command)
                .map(|(_, count)| count)
                .sum();
            let succeeded = told.entry(command).or_default();
            *succeeded = calls.saturating_sub(failed).max(*succeeded);
            Calls {
                command,
                times,
                succeeded: *succeeded,
                failed,
            }
        });
        calls.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_is_summed_up() {
        let metrics = Metrics::new(2, 3, 5);
        for worker in [0, 1, 7] {
            metrics.worker(worker).commands.add_alone(2);
            metrics.worker(worker).note_calls(4, 3, 2_000);
        }
        metrics.worker(0).note_calls(5, 1, 1);
        assert_eq!(metrics.total("commands"), 6);
        let calls = metrics.calls_of(4);
        assert_eq!((calls.count(), calls.sum), (9, 18_000));
        assert_eq!(metrics.calls_of(5).count(), 0);
    }

    #[test]
    fn successes_never_become_fewer() {
        let metrics = Metrics::new(1, 1, 3);
        let counts = |metrics: &Metrics| -> Vec<_> {
            let calls = metrics.calls().into_iter();
            calls
                .map(|calls| (calls.command, calls.succeeded, calls.failed))
                .collect()
        };
        metrics.worker(0).note_calls(1, 2, 1_000);
        assert_eq!(counts(&metrics), [(Some(1), 2, 0), (None, 0, 0)]);
        // The error was answered, and the call is not counted yet.
        metrics.note_error(Some(1), "ERR no");
        assert_eq!(counts(&metrics), [(Some(1), 2, 1), (None, 0, 0)]);
        metrics.worker(0).note_calls(1, 1, 1_000);
        assert_eq!(counts(&metrics), [(Some(1), 2, 1), (None, 0, 0)]);
        metrics.worker(0).note_calls(1, 1, 1_000);
        metrics.worker(0).unknown_calls.add_alone(1);
        assert_eq!(counts(&metrics), [(Some(1), 3, 1), (None, 1, 0)]);
    }

    #[test]
    fn errors_are_counted_by_command_and_first_word() {
        let metrics = Metrics::default();
        metrics.note_error(Some(1), "ERR syntax error");
        metrics.note_error(Some(1), "ERR other");
        metrics.note_error(None, "WRONGTYPE x");
        let errors: Vec<_> = metrics
            .errors()
            .into_iter()
            .map(|(failure, count)| (failure.command, failure.kind, count))
            .collect();
        let expected = [
            (None, "WRONGTYPE".to_owned(), 1),
            (Some(1), "ERR".to_owned(), 2),
        ];
        assert_eq!(errors, expected);
    }
}
