//! Generated sequences of commands, sent to a real redis-server and to respgres, which has to answer the same, byte
//! for byte.
//!
//! proptest draws the cases (`generate`), `session` sends one to both servers, `compare` says what is the same, and
//! `differences` is the list of what is meant to differ. A case that fails is made as small as it can be, and printed.
//!
//! `make test` draws its cases from one seed, so that a failure comes from a change and not from luck. `make
//! differential` draws from a new seed each time, which it prints. With proptest's file of failed cases there would be
//! sources that tests write: the seed and the printed case do the same.
//!
//! - `DIFFERENTIAL_CASES`: how many cases, for each test here, or in all for the long one.
//! - `DIFFERENTIAL_SEED`: a number from which they follow.
//! - `DIFFERENTIAL_WITHOUT`: names of commands, with commas between them, that are left out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod case;
mod compare;
mod differences;
mod generate;
mod harness;
mod servers;
mod session;
mod wire;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::generate::table::Group::{self, Bits, Connection, Keys, Strings, Transactions};
use self::generate::table::ROWS;
use self::servers::Backend;

/// One seed for all runs of `make test`.
const SEED: u64 = 1;

/// Cases of a test over SQLite. PostgreSQL, with a Redis beside it, takes a multiple of the time.
const CASES: u64 = 500;
const CASES_POSTGRES: u64 = 150;

macro_rules! tests_over_each_backend {
    ($($name:ident: $groups:expr,)+) => {
        $(mod $name {
            use super::*;
            #[test] fn embedded() { super::check(Backend::Embedded, $groups); }
            #[test] fn embedded_one_shard() { super::check(Backend::EmbeddedOneShard, $groups); }
            #[test] fn postgres() { super::check(Backend::Postgres, $groups); }
            #[test] fn redis_itself() { super::check(Backend::RedisItself, $groups); }
        })+
    };
}

tests_over_each_backend!(
    strings: &[Strings],
    bits: &[Bits],
    keys: &[Keys],
    transactions: &[Transactions, Strings],
    everything: &[Strings, Bits, Keys, Connection, Transactions],
);

#[track_caller]
fn check(backend: Backend, groups: &[Group]) {
    let usual = match backend {
        Backend::Embedded | Backend::EmbeddedOneShard | Backend::RedisItself => CASES,
        Backend::Postgres => CASES_POSTGRES,
    };
    let cases = variable("DIFFERENTIAL_CASES").unwrap_or(usual);
    let seed = variable("DIFFERENTIAL_SEED").unwrap_or(SEED);
    if let Err(failure) = draw(backend, groups, seed, cases) {
        panic!("{failure}");
    }
}

#[test]
fn every_command_that_is_to_be_served_is() {
    let servers = Backend::EmbeddedOneShard.servers();
    let missing: BTreeSet<&str> = ROWS
        .iter()
        .map(|row| row.name)
        .filter(|name| !servers.serves(name))
        .collect();
    assert!(missing.is_empty(), "not served: {missing:?}");
}

/// What is never answered but with an error is hardly tried.
#[test]
fn every_command_is_tried_with_and_without_mistakes() {
    let groups = [Strings, Bits, Keys, Connection, Transactions];
    draw(Backend::RedisItself, &groups, SEED, 2000).unwrap_or_else(|failure| panic!("{failure}"));
    let servers = Backend::RedisItself.servers();
    let tally = servers.tally();
    for row in ROWS.iter().filter(|row| !is_left_out(row.name)) {
        let (good, errors) = tally.get(row.name).copied().unwrap_or_default();
        assert!(
            good > 0 && errors > 0,
            "{}: {good} answers, {errors} errors",
            row.name
        );
    }
}

/// As many cases as one likes, over all backends at the same time.
#[test]
#[ignore = "takes as long as one likes; make differential runs it"]
fn at_length() {
    let cases = variable("DIFFERENTIAL_CASES").unwrap_or(100_000);
    let seed = variable("DIFFERENTIAL_SEED").unwrap_or_else(fresh_seed);
    eprintln!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_CASES={cases}");
    let (drawn, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for backend in [
            Backend::Embedded,
            Backend::EmbeddedOneShard,
            Backend::Postgres,
        ] {
            let (drawn, failures) = (&drawn, &failures);
            scope.spawn(move || {
                let mut told = Instant::now();
                loop {
                    let chunk = drawn.fetch_add(CHUNK, Ordering::Relaxed);
                    if chunk >= cases || !failures.lock().unwrap().is_empty() {
                        return;
                    }
                    let groups =
                        GROUPS_AT_LENGTH[(chunk / CHUNK) as usize % GROUPS_AT_LENGTH.len()];
                    if let Err(failure) =
                        draw(backend, groups, seed + chunk, CHUNK.min(cases - chunk))
                    {
                        failures.lock().unwrap().push(failure);
                    }
                    if told.elapsed() > PROGRESS {
                        told = Instant::now();
                        eprintln!(
                            "{} cases drawn, {} s",
                            chunk + CHUNK,
                            began.elapsed().as_secs()
                        );
                    }
                }
            });
        }
    });
    eprint!(
        "meant differences that were seen:\n{}",
        differences::counts()
    );
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if cases >= ENOUGH_FOR_ALL {
        let unseen = differences::unseen();
        assert!(
            unseen.is_empty(),
            "differences that are listed and were never seen: {unseen:?}"
        );
    }
}

/// Cases that follow from one seed.
const CHUNK: u64 = 200;

const GROUPS_AT_LENGTH: [&[Group]; 5] = [
    &[Strings, Bits, Keys, Connection, Transactions],
    &[Strings],
    &[Bits],
    &[Keys],
    &[Strings, Transactions],
];

const PROGRESS: Duration = Duration::from_secs(30);

/// After so many cases a difference that is meant has come up, or is none any more.
const ENOUGH_FOR_ALL: u64 = 20_000;

/// Draws cases and runs them; the error shows the first that fails, made small.
fn draw(backend: Backend, groups: &[Group], seed: u64, cases: u64) -> Result<(), String> {
    let servers = backend.servers();
    let strategy = generate::cases(groups, |name| servers.serves(name) && !is_left_out(name));
    let config = Config {
        cases: u32::try_from(cases).expect("a number of cases"),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let seed_bytes = [seed, backend as u64, groups.len() as u64, 0]
        .map(u64::to_le_bytes)
        .concat();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = runner.run(&strategy, |case| {
        session::run(&servers, &case).map_err(TestCaseError::fail)
    });
    outcome.map_err(|error| match error {
        TestError::Fail(reason, case) => format!(
            "{backend:?} differs from redis (DIFFERENTIAL_SEED={seed}, {groups:?}):\n{case:?}{reason}\n"
        ),
        TestError::Abort(reason) => format!("{backend:?}: no cases: {reason}"),
    })
}

fn is_left_out(name: &str) -> bool {
    let names = std::env::var("DIFFERENTIAL_WITHOUT").unwrap_or_default();
    names.split(',').any(|left_out| left_out == name)
}

/// A number in the environment.
fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000
}
