//! The differences from Redis that are meant. Whatever else differs is a mistake.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::compare::name;
use crate::wire::Frame;

/// A pair of replies that differ, and what led to them.
pub struct Pair<'a> {
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
pub static DIFFERENCES: [Difference; 8] = [
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
    difference(
        "an error is text: of a word that is quoted in it, what is not UTF-8 is shown as U+FFFD",
        After::Same,
        |pair| {
            let is_shown =
                |error: &[u8]| error.windows(3).any(|three| three == "\u{fffd}".as_bytes());
            let has_bytes = |error: &[u8]| std::str::from_utf8(error).is_err();
            pair.ours.error().is_some_and(is_shown) && pair.reference.error().is_some_and(has_bytes)
        },
    ),
    difference(
        "LCS is bounded by its work, 2^27 steps, and not by the memory that Redis would take",
        After::Same,
        |pair| {
            let is_refused = |error: &[u8]| error.starts_with(b"ERR Insufficient memory");
            name(pair.words) == "lcs"
                && pair.reference.error().is_some_and(is_refused)
                && pair.ours.error().is_none()
        },
    ),
    difference(
        "a transaction is one of rows: what removes all keys of all shards has no place in it",
        After::Apart,
        |pair| {
            let is_refused =
                |error: &[u8]| error == b"ERR Command not allowed inside a transaction";
            name(pair.words).starts_with("flush") && pair.ours.error().is_some_and(is_refused)
        },
    ),
    difference(
        "what goes through all keys is answered when the transaction is over, and has no part in it",
        After::Same,
        |pair| {
            let is_exec = name(pair.words) == "exec";
            let all_keys = ["keys", "scan", "randomkey", "dbsize"];
            let has_both = pair.queued.len() > 1
                && pair
                    .queued
                    .iter()
                    .any(|words| all_keys.contains(&name(words).as_str()));
            is_exec && has_both && pair.reference.items().is_some() && pair.ours.items().is_some()
        },
    ),
    difference(
        "OBJECT tells what Redis would choose for the value if it were set, not what became of it, and no idle time",
        After::Same,
        |pair| {
            let words = |word: &Vec<u8>| {
                ["encoding", "refcount", "idletime"]
                    .iter()
                    .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
            };
            let is_object = |command: &[Vec<u8>]| {
                name(command) == "object" && command.get(1).is_some_and(words)
            };
            is_object(pair.words) && pair.ours.error().is_none() && pair.reference.error().is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(words: &[&str], reference: &str, ours: &str) -> Option<After> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (reference, ours) = (Frame::of(reference), Frame::of(ours));
        let pair = Pair {
            words: &words,
            queued: &[],
            reference: &reference,
            ours: &ours,
            absent_throughout: &[],
        };
        let known = DIFFERENCES.iter().find(|known| (known.applies)(&pair));
        known.map(|known| known.after)
    }

    #[test]
    fn only_far_deadlines_may_be_cut() {
        let answer = |reference, ours| pair(&["PTTL", "k"], reference, ours);
        let cut = ":4611686018427386\r\n";
        assert_eq!(answer(":7999999999999998\r\n", cut), Some(After::Same));
        assert_eq!(answer(":1000000\r\n", cut), None);
        assert_eq!(answer(":7999999999999998\r\n", ":-1\r\n"), None);
    }
}
