//! What the page shows at one moment: rates and percentiles between two [samples](Sample), and what there is now.
//!
//! Times are in microseconds, rates in a second.

use serde::Serialize;
use utoipa::ToSchema;

use super::sample::{OfOperations, Sample};
use super::{Facts, lists};
use crate::command::table::COMMANDS;
use crate::engine::{Overview, ShardOverview};
use crate::http::probes::ReadyAnswer;
use crate::metrics::process::Memory;
use crate::metrics::{CACHE_STEPS, Distribution, Metrics};

/// Commands that are listed.
const COMMANDS_MAX: usize = 12;

/// Kinds of errors that are listed.
const ERRORS_MAX: usize = 8;

/// A point of the curves.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(in crate::http) struct Point {
    /// Milliseconds since the epoch.
    at: u64,
    /// Commands that read, a second.
    reads: f64,
    /// Commands that write, a second.
    writes: f64,
    /// Errors answered, a second.
    errors: f64,
    /// The part of the keys asked for that the cache answered, from 0 to 1; null if none was asked for.
    hit_rate: Option<f64>,
    /// Percentiles of the time that a reading command took.
    read: Option<Percentiles>,
    /// The same of a writing one.
    write: Option<Percentiles>,
    /// The longest 99th percentile of the time spent in the queue of a shard.
    queue: Option<f64>,
}

/// What so many percent did not exceed, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(in crate::http) struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Percentiles {
    /// `None` if nothing was measured.
    fn of(times: &Distribution) -> Option<Self> {
        let at = |percent| (times.quantile(percent) * 10.0).round() / 10.0;
        (times.count() > 0).then(|| Self {
            p50: at(50.0),
            p95: at(95.0),
            p99: at(99.0),
        })
    }
}

/// All that is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Snapshot {
    now: Point,
    state: ReadyAnswer,
    process: Process,
    clients: Clients,
    cache: CacheNow,
    /// How long the steps took, over the last ten seconds.
    stages: Vec<Stage>,
    /// Those that are called most.
    commands: Vec<CommandNow>,
    /// Those that are answered most, since the start.
    errors: Vec<ErrorNow>,
    shards: Vec<ShardNow>,
    hot_keys: Vec<lists::HotKey>,
    slow_log: Vec<lists::Slow>,
}

/// The process.
#[derive(Debug, Serialize, ToSchema)]
struct Process {
    version: &'static str,
    /// Seconds since the epoch; another number is another process.
    started: f64,
    /// Bytes.
    memory: u64,
    /// Bytes at most until now.
    memory_peak: u64,
    /// Processors that it keeps busy.
    cpu: f64,
    /// HTTP requests, a second.
    http_requests: f64,
}

/// The RESP clients.
#[derive(Debug, Serialize, ToSchema)]
struct Clients {
    connected: u64,
    max: u64,
    /// New ones, a second.
    opened: f64,
    /// Turned away since the start.
    rejected: u64,
    /// Bytes a second.
    input: f64,
    /// Bytes a second.
    output: f64,
}

/// The cache.
#[derive(Debug, Serialize, ToSchema)]
struct CacheNow {
    up: bool,
    /// What it is.
    what: String,
    /// Entries, if it is in this process.
    entries: Option<u64>,
    /// Bytes, if it is in this process.
    bytes: Option<u64>,
    /// Keys that it answered, a second.
    hits: f64,
    /// Keys that it did not know, a second: those who wait for the same read of a shard count each.
    misses: f64,
    /// Changes of the view of it since the start.
    view_changes: u64,
}

/// One step on the way of a command.
#[derive(Debug, Serialize, ToSchema)]
struct Stage {
    name: &'static str,
    /// How often, a second.
    rate: f64,
    times: Option<Percentiles>,
}

/// A command.
#[derive(Debug, Serialize, ToSchema)]
struct CommandNow {
    name: &'static str,
    rate: f64,
    times: Option<Percentiles>,
    /// Answered with an error since the start.
    errors: u64,
}

/// A kind of error.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorNow {
    command: &'static str,
    kind: String,
    count: u64,
    rate: f64,
}

/// A shard.
#[derive(Debug, Serialize, ToSchema)]
struct ShardNow {
    up: bool,
    /// Why it is down.
    reason: Option<String>,
    breaker_open: bool,
    /// How often that happened.
    breaker_openings: u64,
    cached: bool,
    /// Where it is.
    what: String,
    rows: Option<u64>,
    pool: PoolNow,
    /// Its part of all that is asked of the shards, from 0 to 1; null if nothing is.
    share: Option<f64>,
    reads: Load,
    writes: Load,
}

/// The connections to a shard.
#[derive(Debug, Serialize, ToSchema)]
struct PoolNow {
    used: usize,
    idle: usize,
    max: usize,
    waiting: usize,
    /// Waits for a connection, a second.
    waits: f64,
    wait: Option<Percentiles>,
}

/// What is asked of a shard.
#[derive(Debug, Serialize, ToSchema)]
struct Load {
    /// Operations, a second.
    rate: f64,
    /// Those that failed, a second.
    failed: f64,
    /// Operations in a statement, on average.
    batch: Option<f64>,
    queue: Option<Percentiles>,
    statement: Option<Percentiles>,
}

impl Point {
    /// Rates since `before`, percentiles since `window`.
    pub(super) fn new(now: &Sample, before: &Sample, window: &Sample) -> Self {
        let seconds = now.seconds_since(before);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let (hits, misses) = (
            rate(now.counter("cache_hits"), before.counter("cache_hits")),
            rate(now.counter("cache_misses"), before.counter("cache_misses")),
        );
        let queues = now
            .shards
            .iter()
            .zip(&window.shards)
            .flat_map(|(now, before)| {
                let of = |now: &OfOperations, before: &OfOperations| {
                    Percentiles::of(&now.queued.since(&before.queued)).map(|times| times.p99)
                };
                [
                    of(&now.reads, &before.reads),
                    of(&now.writes, &before.writes),
                ]
            });
        Self {
            at: now.unix_millis,
            reads: rate(now.reads.count(), before.reads.count()),
            writes: rate(now.writes.count(), before.writes.count()),
            errors: rate(now.failures(), before.failures()),
            hit_rate: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            read: Percentiles::of(&now.reads.since(&window.reads)),
            write: Percentiles::of(&now.writes.since(&window.writes)),
            queue: queues.flatten().max_by(f64::total_cmp),
        }
    }

    /// Milliseconds since the epoch.
    pub(super) fn at(&self) -> u64 {
        self.at
    }
}

/// What a snapshot is made of.
pub(super) struct Sources<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) overview: &'a Overview,
    pub(super) facts: &'a Facts,
    /// Now, a moment ago, and some seconds ago.
    pub(super) now: &'a Sample,
    pub(super) before: &'a Sample,
    pub(super) window: &'a Sample,
}

impl Sources<'_> {
    pub(super) fn snapshot(&self, point: Point) -> Snapshot {
        let Self { overview, now, .. } = self;
        let is_degraded =
            !overview.cache_available || overview.shards.iter().any(|shard| shard.state.is_err());
        Snapshot {
            now: point,
            state: ReadyAnswer::new(overview.readiness, is_degraded),
            process: self.process(),
            clients: Clients {
                connected: self.metrics.clients.get(),
                max: self.metrics.clients_max.get(),
                opened: self.rate("connections"),
                rejected: now.counter("connections_rejected"),
                input: self.rate("network_input_bytes"),
                output: self.rate("network_output_bytes"),
            },
            cache: CacheNow {
                up: overview.cache_available,
                what: self.facts.cache.clone(),
                entries: overview.in_process_cache.map(|(entries, _)| entries),
                bytes: overview.in_process_cache.map(|(_, bytes)| bytes),
                hits: self.rate("cache_hits"),
                misses: self.rate("cache_misses"),
                view_changes: now.counter("view_changes"),
            },
            stages: self.stages(),
            commands: self.commands(),
            errors: self.errors(),
            shards: self.shards(),
            hot_keys: lists::hot_keys(self.metrics),
            slow_log: lists::slow_log(self.metrics),
        }
    }

    /// A counter's growth, a second.
    fn rate(&self, counter: &str) -> f64 {
        self.growth(self.now.counter(counter), self.before.counter(counter))
    }

    fn growth(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.now.seconds_since(self.before)
    }

    /// How often something was measured in the window, a second.
    fn pace(&self, times: &Distribution) -> f64 {
        times.count() as f64 / self.now.seconds_since(self.window)
    }

    fn process(&self) -> Process {
        let memory = Memory::now();
        let seconds = self.now.seconds_since(self.window);
        Process {
            version: env!("CARGO_PKG_VERSION"),
            started: self.metrics.started.as_secs_f64(),
            memory: memory.resident,
            memory_peak: memory.peak,
            cpu: (self.now.cpu - self.window.cpu).max(0.0) / seconds,
            http_requests: self.rate("http_requests"),
        }
    }

    fn stages(&self) -> Vec<Stage> {
        let Self { now, window, .. } = self;
        let over_shards = |of: fn(&super::sample::OfShard) -> &Distribution| {
            let mut sum = Distribution::default();
            for (now, before) in now.shards.iter().zip(&window.shards) {
                sum += of(now).since(of(before));
            }
            sum
        };
        let mut stages = vec![
            ("reads", now.reads.since(&window.reads)),
            ("writes", now.writes.since(&window.writes)),
            ("cache get", now.cache_gets.since(&window.cache_gets)),
        ];
        let steps = now.cache_steps.iter().zip(&window.cache_steps);
        let names = ["cache lease", "cache fill", "cache invalidate"];
        const { assert!(CACHE_STEPS.len() == 3) };
        stages.extend(
            names
                .into_iter()
                .zip(steps.map(|(now, before)| now.since(before))),
        );
        stages.extend([
            ("read queue", over_shards(|shard| &shard.reads.queued)),
            (
                "read statement",
                over_shards(|shard| &shard.reads.statements),
            ),
            ("write queue", over_shards(|shard| &shard.writes.queued)),
            (
                "write commit",
                over_shards(|shard| &shard.writes.statements),
            ),
            ("pool wait", over_shards(|shard| &shard.pool_waits)),
        ]);
        let stage = |(name, times): (_, Distribution)| Stage {
            name,
            rate: self.pace(&times),
            times: Percentiles::of(&times),
        };
        stages.into_iter().map(stage).collect()
    }

    fn commands(&self) -> Vec<CommandNow> {
        let nothing = Distribution::default();
        let errors_of = |command: usize| {
            let all = self.now.errors.iter();
            let of_command = all.filter(|(failure, _)| failure.command == Some(command));
            of_command.map(|(_, count)| count).sum()
        };
        let mut commands: Vec<_> = self
            .now
            .commands
            .iter()
            .map(|(command, times)| {
                let before = self.window.commands.get(command).unwrap_or(&nothing);
                (*command, times.since(before), times.count())
            })
            .collect();
        // Those that are called now, then those that were called before.
        commands.sort_by_key(|(_, times, all)| std::cmp::Reverse((times.count(), *all)));
        commands.truncate(COMMANDS_MAX);
        let shown = |(command, times, _): (usize, Distribution, u64)| CommandNow {
            name: name_of(Some(command)),
            rate: self.pace(&times),
            times: Percentiles::of(&times),
            errors: errors_of(command),
        };
        commands.into_iter().map(shown).collect()
    }

    fn errors(&self) -> Vec<ErrorNow> {
        let mut errors: Vec<_> = self
            .now
            .errors
            .iter()
            .map(|(failure, count)| {
                let before = self.window.errors.get(failure).copied().unwrap_or(0);
                let since = count.saturating_sub(before) as f64;
                ErrorNow {
                    command: name_of(failure.command),
                    kind: failure.kind.clone(),
                    count: *count,
                    rate: since / self.now.seconds_since(self.window),
                }
            })
            .collect();
        errors.sort_by_key(|error| std::cmp::Reverse(error.count));
        errors.truncate(ERRORS_MAX);
        errors
    }

    fn shards(&self) -> Vec<ShardNow> {
        let Self { now, window, .. } = self;
        let asked: Vec<u64> = now
            .shards
            .iter()
            .zip(&window.shards)
            .map(|(now, before)| {
                let all = |of: &OfOperations| (of.done + of.failed).saturating_sub(of.kept);
                let (now, before) = (
                    all(&now.reads) + all(&now.writes),
                    all(&before.reads) + all(&before.writes),
                );
                now.saturating_sub(before)
            })
            .collect();
        let all: u64 = asked.iter().sum();
        let overviews = self.overview.shards.iter().enumerate();
        let shown = overviews.map(|(index, shard)| {
            let what = self.facts.shards.get(index).cloned().unwrap_or_default();
            let asked = asked.get(index).copied().unwrap_or(0);
            let share = (all > 0).then(|| asked as f64 / all as f64);
            self.shard(index, shard, what, share)
        });
        shown.collect()
    }

    fn shard(
        &self,
        index: usize,
        overview: &ShardOverview,
        what: String,
        share: Option<f64>,
    ) -> ShardNow {
        let nothing = super::sample::OfShard::default();
        let of = |sample: &'_ Sample| sample.shards.get(index).is_some();
        let (now, window) = match of(self.now) && of(self.window) {
            true => (&self.now.shards[index], &self.window.shards[index]),
            false => (&nothing, &nothing),
        };
        let waits = now.pool_waits.since(&window.pool_waits);
        let pool = overview.pool;
        ShardNow {
            up: overview.state.is_ok(),
            reason: overview.state.clone().err(),
            breaker_open: overview.is_breaker_open,
            breaker_openings: now.breaker_openings,
            cached: overview.is_cached,
            what,
            rows: overview.rows,
            pool: PoolNow {
                used: pool.size.saturating_sub(pool.idle),
                idle: pool.idle,
                max: pool.max,
                waiting: pool.waiting,
                waits: self.pace(&waits),
                wait: Percentiles::of(&waits),
            },
            share,
            reads: self.load(&now.reads, &window.reads),
            writes: self.load(&now.writes, &window.writes),
        }
    }

    fn load(&self, now: &OfOperations, window: &OfOperations) -> Load {
        let seconds = self.now.seconds_since(self.window);
        let batches = now.batches.since(&window.batches);
        Load {
            rate: now.done.saturating_sub(window.done) as f64 / seconds,
            failed: now.failed.saturating_sub(window.failed) as f64 / seconds,
            batch: (batches.count() > 0).then(|| batches.sum as f64 / batches.count() as f64),
            queue: Percentiles::of(&now.queued.since(&window.queued)),
            statement: Percentiles::of(&now.statements.since(&window.statements)),
        }
    }
}

fn name_of(command: Option<usize>) -> &'static str {
    command
        .and_then(|command| COMMANDS.get(command))
        .map_or("unknown", |spec| spec.name)
}
