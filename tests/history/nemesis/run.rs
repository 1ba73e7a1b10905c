//! The runs: a short one with every test run, and one of any length.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::availability::Availability;
use super::client::Client;
use super::cluster::{Cluster, Node};
use super::fault::{KINDS, Kind};
use super::judge::{Judge, Log, Round};
use super::plan::Plan;
use super::storm::{Record, Sky};
use super::summary::{Summary, describe};
use super::{PROXIES, SHARDS};
use crate::checker::Value;
use crate::harness::key_on;
use crate::workload::{Answer, Clock, Command, Workload, observed};

/// Clients of each proxy on each shard's keys. A client stays with its shard, so that one that waits for a shard in
/// trouble does not hide whether the others work.
const CLIENTS: usize = 3;

const ALL_CLIENTS: usize = PROXIES * SHARDS * CLIENTS;

/// How long keys are used before there are new ones.
const ROUND: Duration = Duration::from_secs(15);

/// How long the clients go on after the last fault.
const CALM: Duration = Duration::from_secs(3);

/// How often a long run says how it is.
const PROGRESS: Duration = Duration::from_secs(30);

/// Clients pause for up to this between two commands, so that the servers, not the recording, have the processors.
const PAUSE_US: u64 = 5000;

/// How often proxies are asked how many reads the cache answered: who is killed is asked just before, if it answers.
const NOTED: Duration = Duration::from_secs(1);

/// Violations that are told in full.
const TOLD: usize = 3;

/// The longest time without success on the way to a shard that no fault touches.
const UNDISTURBED_MAX: Duration = Duration::from_secs(10);

/// How soon after the last fault of Redis the cache is used again.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// The same in a long run: a cache that was lost several times in a row is left alone for up to a minute.
const UNUSED_MAX_SOAK: Duration = Duration::from_secs(120);

#[test]
fn linearizable_and_durable_under_faults() {
    let seconds = variable("NEMESIS_SECONDS").unwrap_or(24);
    run(
        Duration::from_secs(seconds),
        // Of the first 3000 seeds the one that has most kinds of faults within that time: 20 of 21.
        variable("NEMESIS_SEED").unwrap_or(1689),
        UNUSED_MAX,
        Duration::from_secs(8),
    );
}

#[test]
#[ignore = "an hour, or SOAK_MINUTES; make soak runs it"]
fn soak() {
    let minutes = variable("SOAK_MINUTES").unwrap_or(60);
    let seed = variable("NEMESIS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    run(
        Duration::from_secs(minutes * 60),
        seed,
        UNUSED_MAX_SOAK,
        Duration::from_secs(60),
    );
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
    )
}

/// The kinds that NEMESIS_FAULTS names; all if it is not set.
fn chosen_kinds() -> Vec<Kind> {
    let Ok(names) = std::env::var("NEMESIS_FAULTS") else {
        return KINDS.iter().map(|(kind, ..)| *kind).collect();
    };
    let kind = |name: &str| {
        let found = KINDS.iter().find(|(_, known, _)| *known == name);
        let (kind, ..) = found.unwrap_or_else(|| panic!("no fault is named {name}: see KINDS"));
        *kind
    };
    names
        .split(',')
        .filter(|name| *name != "none")
        .map(kind)
        .collect()
}

/// Everything that the threads of a run share.
struct Stage {
    cluster: Cluster,
    clock: Clock,
    workload: Workload,
    availability: Availability,
    record: Record,
    round: RwLock<Arc<Round>>,
    /// No more faults.
    is_calm: AtomicBool,
    /// No more commands.
    is_over: AtomicBool,
    seed: u64,
    /// How long faults of Redis wait for the cache to be in use.
    patience: Duration,
}

/// Sets flags when its thread panics: nobody must wait for ever for one that has failed.
struct EndsAll<'a>(&'a Stage);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_calm.store(true, Ordering::Relaxed);
            self.0.is_over.store(true, Ordering::Relaxed);
        }
    }
}

fn run(length: Duration, seed: u64, unused_max: Duration, patience: Duration) {
    println!("NEMESIS_SEED={seed}");
    let began = Instant::now();
    let stage = Stage {
        cluster: Cluster::start(),
        clock: Clock::start(),
        workload: Workload::default(),
        availability: Availability::default(),
        record: Record::new(std::env::var_os("NEMESIS_TELL").is_some()),
        round: RwLock::new(Arc::new(Round::new(0))),
        is_calm: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        seed,
        patience,
    };
    println!(
        "the deployment was ready after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let plan = Plan::new(seed, chosen_kinds());
    let summary = std::thread::scope(|scope| {
        let _guard = EndsAll(&stage);
        let (sender, logs) = channel();
        for client in 0..ALL_CLIENTS {
            let (stage, sender) = (&stage, sender.clone());
            scope.spawn(move || stage.be_client(client, &sender));
        }
        drop(sender);
        scope.spawn(|| {
            while !stage.is_over.load(Ordering::Relaxed) {
                for node in &stage.cluster.nodes {
                    node.note_reads();
                }
                std::thread::sleep(NOTED);
            }
        });
        let storms = scope.spawn(|| {
            let _guard = EndsAll(&stage);
            stage.sky().rage(plan, || stage.current().keys.clone());
            stage.cluster.wait_healthy();
            std::thread::sleep(CALM);
            // While clients are still at work: what comes after is no time without success.
            let gaps = stage.availability.gaps(stage.clock.now());
            for node in &stage.cluster.nodes {
                node.note_reads();
            }
            stage.is_over.store(true, Ordering::Relaxed);
            gaps
        });
        let mut summary = stage.preside(length, &logs);
        summary.gaps = storms.join().expect("the faults have all ended well");
        summary.reads = stage.cluster.nodes.iter().map(Node::reads).collect();
        summary
    });
    println!("{summary}");
    assert!(summary.operations > 0, "nothing was done");
    // Without the cache there is little that could be wrong.
    for (proxy, reads) in summary.reads.iter().enumerate() {
        assert!(reads.hits > 0, "proxy {proxy} never used the cache");
    }
    let unavailable = Duration::from_nanos(summary.gaps.undisturbed.length);
    assert!(
        unavailable <= UNDISTURBED_MAX,
        "for {unavailable:?} something did not work that nothing disturbed"
    );
    let unused = Duration::from_nanos(summary.gaps.cache_unused.length);
    assert!(
        unused <= unused_max,
        "the cache was not used for {unused:?} after Redis was back"
    );
    assert_eq!(
        summary.violations, 0,
        "run it again with NEMESIS_SEED={seed}"
    );
}

impl Stage {
    fn sky(&self) -> Sky<'_> {
        Sky {
            cluster: &self.cluster,
            availability: &self.availability,
            record: &self.record,
            clock: self.clock,
            is_over: &self.is_calm,
            patience: self.patience,
        }
    }

    fn current(&self) -> Arc<Round> {
        self.round.read().expect("nobody panics here").clone()
    }

    /// Changes rounds, and judges those that are over; ends the run when its time has come.
    fn preside(&self, length: Duration, logs: &Receiver<Log>) -> Summary {
        let mut summary = Summary {
            seed: self.seed,
            ..Summary::default()
        };
        let mut judge = Judge::new(&self.cluster, self.clock);
        let start = Instant::now();
        let (mut next_round, mut next_word) = (start + ROUND, start + PROGRESS);
        let mut waiting: Vec<(Arc<Round>, Vec<Log>)> = vec![(self.current(), Vec::new())];
        loop {
            match logs.recv_timeout(Duration::from_millis(100)) {
                Ok(log) => {
                    let of = waiting
                        .iter_mut()
                        .find(|(round, _)| round.number == log.round);
                    of.expect("a round that is not judged yet").1.push(log);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while waiting
                .first()
                .is_some_and(|(_, logs)| logs.len() == ALL_CLIENTS)
            {
                let (round, logs) = waiting.remove(0);
                self.conclude(&mut judge, &round, logs, &mut summary);
            }
            let now = Instant::now();
            if now >= start + length {
                self.is_calm.store(true, Ordering::Relaxed);
            }
            if now >= next_round && !self.is_over.load(Ordering::Relaxed) {
                let round = Arc::new(Round::new(self.current().number + 1));
                waiting.push((round.clone(), Vec::new()));
                *self.round.write().expect("nobody panics here") = round;
                next_round = now + ROUND;
            }
            if now >= next_word {
                let faults: u64 = self.record.counts().values().sum();
                let errors: u64 = summary.errors.values().sum();
                println!(
                    "{:>5} s: {} operations judged, {faults} faults, {errors} errors, {} violations",
                    start.elapsed().as_secs(),
                    summary.operations,
                    summary.violations
                );
                next_word = now + PROGRESS;
            }
        }
        // The last round may have begun when clients had already ended.
        for (round, logs) in waiting {
            self.conclude(&mut judge, &round, logs, &mut summary);
        }
        for finding in judge.finish() {
            self.tell(&finding, &mut summary);
        }
        summary.length = start.elapsed();
        summary.faults = self.record.counts();
        summary
    }

    fn conclude(&self, judge: &mut Judge, round: &Round, logs: Vec<Log>, summary: &mut Summary) {
        summary.rounds += 1;
        for log in &logs {
            summary.operations += log.operations;
            summary.once += log.once.len() as u64;
            for (error, count) in &log.errors {
                *summary.errors.entry(error).or_default() += count;
            }
        }
        for finding in judge.judge(round, logs) {
            self.tell(&finding, summary);
        }
    }

    fn tell(&self, finding: &super::judge::Finding, summary: &mut Summary) {
        summary.violations += 1;
        if summary.violations <= TOLD {
            println!("{}", describe(finding, &self.record));
        }
    }

    /// Commands, one after another, until the run is over.
    fn be_client(&self, number: usize, logs: &Sender<Log>) {
        let _guard = EndsAll(self);
        let (proxy, shard) = (number % PROXIES, number / PROXIES % SHARDS);
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_mul(1000) + number as u64);
        let mut client = Client::new(&self.cluster.nodes[proxy]);
        let mut round = self.current();
        let mut log = Log::default();
        let mut written_once = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let now = self.current();
            if now.number != round.number {
                // It may have waited for longer than a round is.
                for number in round.number + 1..=now.number {
                    let next = Log {
                        round: number,
                        ..Log::default()
                    };
                    logs.send(std::mem::replace(&mut log, next))
                        .expect("somebody listens");
                }
                round = now;
            }
            std::thread::sleep(Duration::from_micros(random.u64(0..PAUSE_US)));
            if !client.connect() {
                *log.errors.entry("refused").or_default() += 1;
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let call = self.clock.now();
            let only_reads = self.cluster.only_reads.load(Ordering::Relaxed);
            let answer = if !only_reads && random.u32(0..30) == 0 {
                written_once += 1;
                let key = key_on(shard, SHARDS, &format!("once:{number}:{written_once}"));
                let value = format!("{}", self.workload.value());
                let answer = client.set(&key, &value);
                if answer == Answer::Stored {
                    log.once.push((key, value));
                }
                answer
            } else if random.u32(0..12) == 0 {
                let keys = &round.keys[shard];
                let calls: Vec<(&String, Command, Answer)> = if only_reads || random.bool() {
                    let answers = client.get_all(keys);
                    let calls = keys.iter().zip(answers);
                    calls
                        .map(|(key, answer)| (key, Command::Get, answer))
                        .collect()
                } else {
                    let pairs: Vec<(&String, Value)> = keys
                        .iter()
                        .map(|key| (key, self.workload.value()))
                        .collect();
                    let answer = client.set_all(&pairs);
                    let calls = pairs.into_iter();
                    calls
                        .map(|(key, value)| (key, Command::Set(value), answer.clone()))
                        .collect()
                };
                let end = self.clock.now();
                for (key, command, answer) in &calls {
                    if let Some(op) = observed(number, *command, answer, call, end) {
                        log.histories.entry((*key).clone()).or_default().push(op);
                    }
                }
                calls[0].2.clone()
            } else {
                let key = random.choice(&round.keys[shard]).expect("a round has keys");
                let command = match self.workload.any(&mut random) {
                    _ if only_reads => Command::Get,
                    command => command,
                };
                let outcome = client.run(key, command);
                let end = self.clock.now();
                if let Some(op) = observed(number, command, &outcome.answer, call, end) {
                    log.histories.entry(key.clone()).or_default().push(op);
                }
                if outcome.is_hit {
                    self.availability.hit(proxy, end);
                }
                outcome.answer
            };
            log.operations += 1;
            match answer {
                Answer::NotDone(error) | Answer::Unknown(error) => {
                    *log.errors.entry(error).or_default() += 1
                }
                _ => self.availability.succeeded(proxy, shard, self.clock.now()),
            }
        }
        logs.send(log).expect("somebody listens");
    }
}
