//! What was counted until some moment. Two of them tell what happened in between.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::command::table::COMMANDS;
use crate::metrics::process::{cpu_seconds, unix_time};
use crate::metrics::{Distribution, Failure, Metrics, OUTCOMES, Operations, Outcome, Shard};

/// The counters at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) unix_millis: u64,
    /// Those commands that were called, by their place in the table, and all of them by kind.
    pub(super) commands: BTreeMap<usize, Distribution>,
    pub(super) reads: Distribution,
    pub(super) writes: Distribution,
    pub(super) errors: BTreeMap<Failure, u64>,
    pub(super) counters: BTreeMap<&'static str, u64>,
    pub(super) cache_gets: Distribution,
    pub(super) cache_steps: Vec<Distribution>,
    pub(super) shards: Vec<OfShard>,
    /// Seconds of processor time.
    pub(super) cpu: f64,
}

/// Those of one shard.
#[derive(Debug, Default)]
pub(super) struct OfShard {
    pub(super) reads: OfOperations,
    pub(super) writes: OfOperations,
    pub(super) pool_waits: Distribution,
    pub(super) breaker_openings: u64,
}

/// Those of one kind of operations on one shard.
#[derive(Debug, Default)]
pub(super) struct OfOperations {
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Those of them that did not get to the shard, since it was down.
    pub(super) kept: u64,
    pub(super) queued: Distribution,
    pub(super) statements: Distribution,
    pub(super) batches: Distribution,
}

/// Whether a command reads or writes keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Other,
}

fn kind(command: usize) -> Kind {
    let flags = COMMANDS.get(command).map_or(&[][..], |spec| spec.flags);
    if flags.contains(&"write") {
        Kind::Write
    } else if flags.contains(&"readonly") {
        Kind::Read
    } else {
        Kind::Other
    }
}

impl Sample {
    pub(super) fn take(metrics: &Metrics) -> Self {
        let calls = (0..COMMANDS.len()).map(|command| (command, metrics.calls_of(command)));
        let commands: BTreeMap<_, _> = calls.filter(|(_, times)| times.count() > 0).collect();
        let (mut reads, mut writes) = (Distribution::default(), Distribution::default());
        for (command, times) in &commands {
            match kind(*command) {
                Kind::Read => reads += times.clone(),
                Kind::Write => writes += times.clone(),
                Kind::Other => {}
            }
        }
        let counters = metrics.table().into_iter();
        let (user, system) = cpu_seconds("/proc/self/stat");
        Self {
            at: Instant::now(),
            unix_millis: u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX),
            commands,
            reads,
            writes,
            errors: metrics.errors(),
            counters: counters.map(|(name, _, count)| (name, count)).collect(),
            cache_gets: metrics.cache_gets(),
            cache_steps: metrics.cache_steps.iter().map(|step| step.read()).collect(),
            shards: metrics.shards().iter().map(OfShard::take).collect(),
            cpu: user + system,
        }
    }

    /// A counter of the process, by its name.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Errors that were answered to clients.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Seconds since `before`, and never nothing.
    pub(super) fn seconds_since(&self, before: &Sample) -> f64 {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        seconds.max(0.001)
    }
}

impl OfShard {
    fn take(shard: &Shard) -> Self {
        Self {
            reads: OfOperations::take(&shard.reads),
            writes: OfOperations::take(&shard.writes),
            pool_waits: shard.pool_waits.read(),
            breaker_openings: shard.breaker_openings.get(),
        }
    }
}

impl OfOperations {
    fn take(operations: &Operations) -> Self {
        let count = |outcome| operations.count(outcome);
        let all: u64 = OUTCOMES.iter().map(|(outcome, _)| count(*outcome)).sum();
        let done = count(Outcome::Ok);
        Self {
            done,
            failed: all - done.min(all),
            kept: count(Outcome::Down),
            queued: operations.queued.read(),
            statements: operations.statements.read(),
            batches: operations.batches.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::position;

    #[test]
    fn commands_are_told_apart_by_what_they_do() {
        for (name, expected) in [
            ("get", Kind::Read),
            ("mget", Kind::Read),
            ("set", Kind::Write),
            ("getdel", Kind::Write),
            ("ping", Kind::Other),
        ] {
            let command = position(name.as_bytes()).unwrap();
            assert_eq!(kind(command), expected, "{name}");
        }
        assert_eq!(kind(usize::MAX), Kind::Other);
    }
}
