//! When two replies are the same: byte for byte, but for what time and chance decide.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::case::KEYS;
use crate::wire::Frame;

/// How the replies to a command are compared, where their bytes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exact,
    /// The time left of a key, in units of so many milliseconds.
    TimeLeft(i64),
    /// When a key ends.
    Deadline(i64),
    /// Seconds since a key was used.
    IdleTime,
    /// In any order.
    Unordered,
    /// One page of a scan; what the whole of it finds is compared apart.
    Page,
    /// A key, whichever.
    AnyKey,
}

impl Comparison {
    fn of(words: &[Vec<u8>]) -> Comparison {
        match (name(words).as_str(), words.get(1)) {
            ("ttl", _) => Comparison::TimeLeft(1000),
            ("pttl", _) => Comparison::TimeLeft(1),
            ("expiretime", _) => Comparison::Deadline(1000),
            ("pexpiretime", _) => Comparison::Deadline(1),
            ("keys", _) => Comparison::Unordered,
            ("scan", _) => Comparison::Page,
            ("randomkey", _) => Comparison::AnyKey,
            ("object", Some(sub)) if sub.eq_ignore_ascii_case(b"idletime") => Comparison::IdleTime,
            _ => Comparison::Exact,
        }
    }
}

/// The name of a command, in lower case.
pub fn name(words: &[Vec<u8>]) -> String {
    let name = words.first().map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// Whether both replies to a command are the same. `elapsed` is since the case began: times that both servers
/// took may lie that far apart.
pub fn same(words: &[Vec<u8>], reference: &Frame, ours: &Frame, elapsed: Duration) -> bool {
    if reference == ours {
        return true;
    }
    let numbers = || Some((reference.integer()?, ours.integer()?));
    let items = || Some((reference.items()?, ours.items()?));
    match Comparison::of(words) {
        Comparison::Exact => false,
        Comparison::TimeLeft(unit) => numbers()
            .is_some_and(|(reference, ours)| same_time_left(unit, reference, ours, elapsed)),
        Comparison::Deadline(unit) => {
            numbers().is_some_and(|(reference, ours)| same_deadline(unit, reference, ours, elapsed))
        }
        Comparison::IdleTime => numbers()
            .is_some_and(|(reference, ours)| reference.abs_diff(ours) <= elapsed.as_secs() + 1),
        Comparison::Unordered => items().is_some_and(|(mut reference, mut ours)| {
            let order = |frames: &mut Vec<Frame>| frames.sort_by_key(Frame::to_string);
            order(&mut reference);
            order(&mut ours);
            reference == ours
        }),
        Comparison::Page => {
            items().is_some_and(|(reference, ours)| is_page(&reference) && is_page(&ours))
        }
        Comparison::AnyKey => reference.bulk().is_some() && ours.bulk().is_some(),
    }
}

/// A cursor, and an array of strings.
fn is_page(items: &[Frame]) -> bool {
    let [cursor, found] = items else { return false };
    let is_number =
        |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<u64>().is_ok());
    cursor.bulk().is_some_and(is_number)
        && found
            .items()
            .is_some_and(|found| found.iter().all(|key| key.bulk().is_some()))
}

/// A case that is over within this time finds a relative expiry's TTL the same: see the fractions of a second in
/// `generate::words`.
const STEADY: Duration = Duration::from_millis(200);

/// Times left that come from absolute instants, which are far away, are rounded wherever now happens to be.
const RELATIVE_MAX: i64 = 2_000_000_000 * 1000;

fn same_time_left(unit: i64, reference: i64, ours: i64, elapsed: Duration) -> bool {
    if reference < 0 || ours < 0 {
        return false;
    }
    let is_relative = reference <= RELATIVE_MAX / unit;
    if unit == 1000 && is_relative && elapsed < STEADY {
        return false;
    }
    reference.abs_diff(ours) <= tolerance(unit, elapsed)
}

/// The instants that the generator sets, in seconds: they are the same to the millisecond. Others came from a time
/// from then on.
const SET: std::ops::Range<i64> = 4_100_000_000..4_200_000_000;

fn same_deadline(unit: i64, reference: i64, ours: i64, elapsed: Duration) -> bool {
    if reference < 0 || ours < 0 || SET.contains(&(reference / (1000 / unit))) {
        return false;
    }
    reference.abs_diff(ours) <= tolerance(unit, elapsed)
}

/// In the unit; rounding can make one of a moment.
fn tolerance(unit: i64, elapsed: Duration) -> u64 {
    elapsed.as_millis() as u64 / unit as u64 + 2 - u64::from(unit > 1)
}

/// The keys of the pages of a scan.
pub fn scanned(page: &Frame) -> Option<(Vec<u8>, BTreeSet<Vec<u8>>)> {
    let items = page.items()?;
    let [cursor, found] = &items[..] else {
        return None;
    };
    let keys: Option<BTreeSet<Vec<u8>>> = found
        .items()?
        .iter()
        .map(|key| Some(key.bulk()?.to_vec()))
        .collect();
    Some((cursor.bulk()?.to_vec(), keys?))
}

/// Pages that a scan of a case's keys can have, with room for what a mistaken word made a key.
pub const PAGES_MAX: usize = 100 * KEYS;

#[test]
fn times_are_compared_as_closely_as_chance_allows() {
    let soon = Duration::from_millis(30);
    assert!(same_time_left(1, 1_000_000, 1_000_012, soon));
    assert!(!same_time_left(1, 1_000_000, 1_000_100, soon));
    assert!(
        !same_time_left(1000, 1000, 1001, soon),
        "the same, were it not for how it is rounded"
    );
    assert!(same_time_left(1000, 1000, 1001, Duration::from_secs(1)));
    assert!(same_time_left(1000, 2_500_000_000, 2_500_000_001, soon));
    assert!(!same_time_left(1000, -1, -2, soon));
    assert!(!same_deadline(
        1,
        4_110_000_000_499,
        4_110_000_000_500,
        soon
    ));
    assert!(!same_deadline(1000, 4_110_000_000, 4_110_000_001, soon));
    assert!(same_deadline(1, 1_800_000_000_000, 1_800_000_000_010, soon));
    assert!(!same_deadline(
        1,
        1_800_000_000_000,
        1_800_000_000_100,
        soon
    ));
}
