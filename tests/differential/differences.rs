//! The differences from Redis that are meant. Whatever else differs is a mistake.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::case::SHARDS;
use crate::compare::name;
use crate::harness::shard_of;
use crate::servers::Backend;
use crate::wire::Frame;

/// A pair of replies that differ, and what led to them.
pub struct Pair<'a> {
    pub backend: Backend,
    /// The command; for an EXEC, all that it executes is in `queued`.
    pub words: &'a [Vec<u8>],
    pub queued: &'a [Vec<Vec<u8>>],
    pub reference: &'a Frame,
    pub ours: &'a Frame,
    /// Keys that were absent when they were watched and are absent now, for an EXEC.
    pub absent_throughout: &'a [Vec<u8>],
}

/// What is left to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Both hold the same.
    Same,
    /// Each did something else, so the case ends.
    Apart,
}

/// A difference that is meant.
pub struct Difference {
    /// Why it is.
    pub reason: &'static str,
    applies: fn(&Pair) -> bool,
    after: After,
    seen: AtomicU64,
}

const fn difference(reason: &'static str, after: After, applies: fn(&Pair) -> bool) -> Difference {
    Difference {
        reason,
        applies,
        after,
        seen: AtomicU64::new(0),
    }
}

/// All of them.
pub static DIFFERENCES: [Difference; 4] = [
    difference(
        "without two-phase commit, what needs keys of several shards at once is refused",
        After::Apart,
        |pair| {
            let is_refused = pair
                .ours
                .error()
                .is_some_and(|error| error.starts_with(b"CROSSSHARD "));
            is_refused && pair.backend.may_refuse_cross_shard() && spans_shards(pair)
        },
    ),
    difference(
        "WATCH compares versions of rows: a key that was absent and is absent again has not changed",
        After::Apart,
        |pair| {
            let is_exec = name(pair.words) == "exec";
            is_exec
                && pair.reference.is_null()
                && pair.ours.items().is_some()
                && !pair.absent_throughout.is_empty()
        },
    ),
    difference(
        "a row's deadline is a number of microseconds: what is too far away for it becomes some 146,000 years or more",
        After::Same,
        |pair| {
            let unit = match name(pair.words).as_str() {
                "ttl" | "expiretime" => 1000,
                "pttl" | "pexpiretime" => 1,
                _ => return false,
            };
            let is_last = |time: i64| time >= LAST_DEADLINE / unit;
            pair.reference.integer().is_some_and(is_last)
                && pair.ours.integer().is_some_and(is_last)
        },
    ),
    difference(
        "a relative time that would overflow within 2^50 ms from now is refused at once: now is the shard's to say",
        After::Apart,
        |pair| {
            let is_refused = pair
                .ours
                .error()
                .is_some_and(|error| error.starts_with(b"ERR invalid expire time"));
            is_refused
                && pair.reference.error().is_none()
                && pair.words.iter().any(|word| is_near_overflow(word))
        },
    ),
];

/// Whether it is one of the differences, and what then.
pub fn meant(pair: &Pair) -> Option<After> {
    let known = DIFFERENCES.iter().find(|known| (known.applies)(pair))?;
    known.seen.fetch_add(1, Ordering::Relaxed);
    Some(known.after)
}

/// Those that this process has not seen.
pub fn unseen() -> Vec<&'static str> {
    let unseen = DIFFERENCES
        .iter()
        .filter(|known| known.seen.load(Ordering::Relaxed) == 0);
    unseen.map(|known| known.reason).collect()
}

/// How often each was seen.
pub fn counts() -> String {
    let lines = DIFFERENCES.iter().map(|known| {
        format!(
            "{:>9} × {}\n",
            known.seen.load(Ordering::Relaxed),
            known.reason
        )
    });
    lines.collect()
}

/// Whether the words, any of which may be a key, are on several shards.
fn spans_shards(pair: &Pair) -> bool {
    let commands = std::iter::once(pair.words).chain(pair.queued.iter().map(Vec::as_slice));
    let words = commands.flat_map(|words| words.iter().skip(1));
    let shards: std::collections::BTreeSet<usize> =
        words.map(|word| shard_of(word, SHARDS)).collect();
    shards.len() > 1
}

/// What 2^62 microseconds are in milliseconds. PostgreSQL's timestamps end in the year 294276.
const LAST_DEADLINE: i64 = (1 << 62) / 1000 - (1 << 30);

/// Whether it is a number of seconds or milliseconds that is nearly too large.
fn is_near_overflow(word: &[u8]) -> bool {
    let near = i64::MAX - (1 << 50);
    let number = std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    number.is_some_and(|number| number >= near || (near / 1000..=i64::MAX / 1000).contains(&number))
}
