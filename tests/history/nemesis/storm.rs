//! Lets the planned faults happen, and remembers them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::availability::Availability;
use super::cluster::{Cluster, Node, copy_first_time};
use super::fault::{KINDS, Kind};
use super::plan::{Plan, Planned};
use crate::checker::Nanos;
use crate::workload::Clock;

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Happened {
    pub begin: Nanos,
    pub end: Nanos,
    pub what: String,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |nanos: Nanos| nanos as f64 / 1e6;
        let (begin, end) = (ms(self.begin), ms(self.end));
        write!(f, "  {begin:>12.3} .. {end:>12.3} ms  {}", self.what)
    }
}

/// All faults of a run.
#[derive(Default)]
pub struct Record {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    recent: Mutex<VecDeque<Happened>>,
    /// Whether each is told of when it has ended.
    tells: bool,
}

/// More than happen while a round is under way and is judged.
const REMEMBERED: usize = 200;

impl Record {
    pub fn new(tells: bool) -> Record {
        Record {
            tells,
            ..Record::default()
        }
    }

    fn add(&self, planned: &Planned, begin: Nanos, end: Nanos) {
        let (_, name, _) = KINDS
            .iter()
            .find(|(kind, ..)| *kind == planned.kind)
            .expect("a known kind");
        *self
            .counts
            .lock()
            .expect("nobody panics here")
            .entry(name)
            .or_default() += 1;
        let mut recent = self.recent.lock().expect("nobody panics here");
        let happened = Happened {
            begin,
            end,
            what: format!("{:?}", planned.fault),
        };
        if self.tells {
            println!("{happened}");
        }
        recent.push_back(happened);
        if recent.len() > REMEMBERED {
            recent.pop_front();
        }
    }

    /// How many of each kind there were.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().expect("nobody panics here").clone()
    }

    /// The faults that were there at some moment of a span.
    pub fn between(&self, from: Nanos, to: Nanos) -> Vec<Happened> {
        let recent = self.recent.lock().expect("nobody panics here");
        let mut found: Vec<Happened> = recent
            .iter()
            .filter(|fault| fault.begin <= to && fault.end >= from)
            .cloned()
            .collect();
        found.sort_by_key(|fault| fault.begin);
        found
    }
}

/// What a storm needs to know.
pub struct Sky<'a> {
    pub cluster: &'a Cluster,
    pub availability: &'a Availability,
    pub record: &'a Record,
    pub clock: Clock,
    pub is_over: &'a AtomicBool,
    /// How long faults of Redis wait for the cache to be in use: when it is not, there is little that they could spoil.
    pub patience: Duration,
}

impl Sky<'_> {
    /// Storm after storm until it is over; every fault has then ended. `keys` gives those in use on each shard.
    pub fn rage(&self, mut plan: Plan, keys: impl Fn() -> Vec<Vec<String>> + Sync) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (storm, calm) = plan.storm();
            if storm
                .iter()
                .any(|planned| planned.kind == Kind::RedisDemote)
            {
                let is_first = copy_first_time(&self.cluster.redis(), &self.cluster.other_redis);
                if is_first {
                    std::thread::sleep(NOTICED);
                }
            }
            if storm.iter().any(|planned| planned.kind.is_of_redis()) {
                self.await_cache();
            }
            std::thread::scope(|scope| {
                for planned in &storm {
                    let keys = &keys;
                    scope.spawn(move || self.strike(planned, keys));
                }
            });
            if !self.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(calm);
            }
        }
    }

    /// Waits for a while until all proxies use the cache.
    fn await_cache(&self) {
        let end = Instant::now() + self.patience;
        let is_used = || self.cluster.nodes.iter().all(Node::uses_cache);
        while Instant::now() < end && !self.is_over.load(Ordering::Relaxed) && !is_used() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn strike(&self, planned: &Planned, keys: impl Fn() -> Vec<Vec<String>>) {
        std::thread::sleep(planned.at);
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let touched = planned.fault.touched();
        let begin = self.clock.now();
        self.availability.begins(&touched, begin);
        planned.fault.happen(self.cluster, planned.lasts, &keys());
        let end = self.clock.now();
        self.availability.ended(&touched, end);
        self.record.add(planned, begin, end.max(begin + MARK));
    }
}

/// Proxies notice within this time that Redis is another instance.
const NOTICED: Duration = Duration::from_millis(1500);

/// What a fault without a duration is taken to last, so that it is found.
const MARK: Nanos = Duration::from_millis(1).as_nanos() as Nanos;
