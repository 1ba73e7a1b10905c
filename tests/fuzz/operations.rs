//! What commands do to rows.

use std::collections::BTreeMap;
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use respgres::command::edit::Edit;
use respgres::command::operation::Access;
use respgres::command::{Many, Mutation, Operation, Outcome, Query, Row, Rows, Stamp};

use crate::case::{Case, Cases, Place, Places, places, rows};
use crate::corpus::Corpus;

/// Memory that an operation takes: for each byte of its words, its rows and the longest value.
const FACTOR: usize = 64;

/// Memory that needs no reason.
const SLACK: usize = 64 * 1024;

/// The longest number that INCRBYFLOAT writes.
const FLOAT_MAX: usize = 5 * 1024;

/// Runs an operation with stamps that are the same each time.
fn run(operation: &Operation, rows: &mut Rows) -> Outcome {
    fastrand::seed(7);
    operation.run(rows)
}

fn check(case: &Case) {
    for operation in case.operations() {
        check_operation(case, &operation);
    }
}

fn check_operation(case: &Case, operation: &Operation) {
    let mut after = case.rows();
    let mut outcome = Outcome::Nil;
    let taken = measure(|| outcome = run(operation, &mut after)).bytes_max as usize;
    let allowed = FACTOR * (case.size() + case.value_max) + table_of(case, operation) + SLACK;
    assert!(taken <= allowed, "{operation:?} took {taken} bytes");
    let told = told(operation);
    check_changes(case, operation, &after, &told);
    check_outcome(case, operation, &after, &outcome);

    // The keys that are told are all that it looks at, and no more of them than is told.
    let mut known = case.places.clone();
    known.retain(|key, _| told.contains_key(key));
    for (key, place) in &mut known {
        if let Some(row) = &mut place.row
            && !told[key].value
        {
            row.value = Bytes::new();
        }
    }
    let mut from_known = rows(&known, case.value_max);
    assert_eq!(
        run(operation, &mut from_known),
        outcome,
        "{operation:?}, with what it told of"
    );
    assert_same_changes(operation, &after, &from_known);

    if operation.is_blind() {
        let mut from_nothing = rows(&absent(case), case.value_max);
        let blind = run(operation, &mut from_nothing);
        assert_eq!(blind, outcome, "{operation:?} without rows");
        for key in told.keys() {
            let state = |rows: &Rows| {
                let row = live(rows, key)?;
                Some((row.value, row.expires_at, row.updated_at, row.stamp))
            };
            if !matches!(outcome, Outcome::Failed(_)) {
                assert_eq!(
                    state(&from_nothing),
                    state(&after),
                    "{operation:?} without rows"
                );
            }
        }
    }
    let (steps, bytes) = operation.weight();
    assert!(
        steps > 0 && bytes <= case.size(),
        "{operation:?} weighs {bytes} bytes"
    );
    check_read(case, operation, &outcome);
}

/// The table of LCS, a bit for each pair of bytes, and what it answers of each match. In a transaction the values may
/// have become as long as may be.
fn table_of(case: &Case, operation: &Operation) -> usize {
    let Operation::Many(many) = operation else {
        return 0;
    };
    let rows = case.places.values().filter_map(Place::live);
    let longest = rows.map(|row| row.value.len()).max().unwrap_or(0);
    let longest = longest.max(case.value_max);
    match &**many {
        Many::Read(_, Query::Lcs(_)) => longest * longest / 4 + 2048 * longest,
        Many::Transaction { steps, .. } => steps.iter().map(|step| table_of(case, step)).sum(),
        _ => 0,
    }
}

fn told(operation: &Operation) -> BTreeMap<Bytes, Access> {
    let mut told = BTreeMap::new();
    operation
        .keys(&mut |key, access| *told.entry(key.clone()).or_insert(Access::default()) |= access);
    told
}

/// The same shards, without the rows.
fn absent(case: &Case) -> Places {
    let mut places = case.places.clone();
    places.values_mut().for_each(|place| place.row = None);
    places
}

fn live(rows: &Rows, key: &Bytes) -> Option<Row> {
    places(rows).get(key).and_then(Place::live).cloned()
}

fn check_changes(case: &Case, operation: &Operation, after: &Rows, told: &BTreeMap<Bytes, Access>) {
    let before = &case.places;
    let longest = before
        .values()
        .filter_map(Place::live)
        .map(|row| row.value.len());
    let longest = longest.max().unwrap_or(0);
    for (key, slot) in after.iter() {
        let was = before.get(key).and_then(|place| place.row.as_ref());
        let is_told = told.contains_key(key);
        assert!(
            is_told || before.contains_key(key),
            "{operation:?} names {key:?}, and did not tell"
        );
        assert!(
            is_told || !slot.changed,
            "{operation:?} changes {key:?}, and did not tell"
        );
        assert!(
            slot.changed || was == slot.row.as_ref(),
            "{operation:?} changes {key:?} silently"
        );
        assert!(slot.changed || !slot.has_new_value);
        let Some(row) = &slot.row else { continue };
        if slot.changed && !slot.has_new_value {
            let same_value = was.is_some_and(|was| was.value == row.value);
            assert!(
                same_value,
                "{operation:?} gives {key:?} another value silently"
            );
        }
        if slot.has_new_value {
            let most = longest_after(operation, case.value_max, longest);
            let length = row.value.len();
            assert!(
                length <= most,
                "{operation:?} makes a value of {length} bytes"
            );
        }
        let was_live = before.get(key).and_then(Place::live).is_some();
        if slot.changed && !was_live && slot.row.is_some() {
            assert!(
                told[key].absence,
                "{operation:?} creates {key:?}, and did not tell"
            );
        }
        if slot.changed {
            assert!(
                was.is_none_or(|was| was.stamp != row.stamp),
                "{operation:?} keeps the stamp of {key:?}"
            );
        }
    }
}

/// How long a value may be that an operation makes.
fn longest_after(operation: &Operation, value_max: usize, longest_before: usize) -> usize {
    match operation {
        Operation::Many(many) => match &**many {
            // What was too long already may be renamed, copied and combined.
            Many::Rename { .. } | Many::Copy { .. } | Many::Combine { .. } => {
                value_max.max(longest_before)
            }
            Many::Transaction { steps, .. } => {
                let longest = steps.iter().fold(longest_before, |longest, step| {
                    longest.max(longest_after(step, value_max, longest))
                });
                longest.max(value_max)
            }
            _ => value_max,
        },
        // The digits of a number, of which it is not the limit that bounds them.
        Operation::One(_, Mutation::IncrementFloat(_)) => value_max.max(FLOAT_MAX),
        Operation::One(_, Mutation::Increment(_)) => value_max.max(20),
        // A value from a time when it might be longer stays as long.
        Operation::One(_, Mutation::Edit(Edit::SetBit { .. } | Edit::Overwrite { .. })) => {
            value_max.max(longest_before)
        }
        // As in Redis, a field has to begin within the limit, not to end there.
        Operation::One(_, Mutation::Edit(Edit::Fields(_))) => longest_before.max(value_max + 8),
        Operation::One(..) => value_max,
    }
}

fn check_outcome(case: &Case, operation: &Operation, after: &Rows, outcome: &Outcome) {
    if let Outcome::Failed(text) = outcome {
        let changed = after.iter().any(|(_, slot)| slot.changed);
        assert!(
            !changed,
            "{operation:?} failed ({text}), but not altogether"
        );
        return;
    }
    let length = |key| live(after, key).map_or(0, |row| row.value.len() as i64);
    match operation {
        Operation::Many(many) => match (&**many, outcome) {
            (Many::Combine { to, .. }, Outcome::Integer(told)) => {
                assert_eq!(
                    *told,
                    length(to),
                    "{operation:?}, and the length that is there"
                );
            }
            (Many::Set(pairs), _) | (Many::SetIfNone(pairs), Outcome::Integer(1)) => {
                let last: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (key, value)).collect();
                for (key, value) in last {
                    let fits = value.len() <= case.value_max;
                    let there = live(after, key).map(|row| row.value);
                    assert!(
                        !fits || there.as_ref() == Some(value),
                        "{operation:?} did not set {key:?}"
                    );
                }
            }
            _ => {}
        },
        Operation::One(key, Mutation::Edit(Edit::Append(_))) => {
            assert_eq!(*outcome, Outcome::Integer(length(key)), "{operation:?}");
        }
        Operation::One(..) => {}
    }
}

fn assert_same_changes(operation: &Operation, one: &Rows, other: &Rows) {
    for (key, slot) in one.iter() {
        let Some(same) = other.get(key) else {
            assert!(!slot.changed);
            continue;
        };
        assert_eq!(
            (slot.changed, slot.has_new_value),
            (same.changed, same.has_new_value),
            "{operation:?} on {key:?}, with what it told of"
        );
        if !slot.changed {
            continue;
        }
        let kept = |row: &Option<Row>| {
            row.clone().map(|mut row| {
                if !slot.has_new_value {
                    row.value = Bytes::new();
                }
                row
            })
        };
        assert_eq!(
            kept(&slot.row),
            kept(&same.row),
            "{operation:?} on {key:?}, with what it told of"
        );
    }
}

/// Outside of a transaction a read is answered from the rows without an operation.
fn check_read(case: &Case, operation: &Operation, outcome: &Outcome) {
    let Operation::Many(many) = operation else {
        return;
    };
    let Many::Read(keys, query) = &**many else {
        return;
    };
    let found: Vec<_> = keys
        .iter()
        .map(|key| case.places.get(key).and_then(Place::live))
        .collect();
    let time_left = || {
        let place = case.places.get(keys.first()?)?;
        Some(place.live()?.expires_at?.since(place.now))
    };
    assert_eq!(query.answer(&found, &time_left), *outcome, "{query:?}");
}

fn check_transaction(case: &Case) {
    let steps = case.operations();
    let watched = |key: &Bytes| {
        (
            key.clone(),
            case.places
                .get(key)
                .and_then(Place::live)
                .map(|row| row.stamp),
        )
    };
    let watched: Vec<_> = case.places.keys().map(watched).collect();
    let transaction = Operation::from(Many::Transaction {
        watched: watched.clone(),
        steps: steps.clone(),
    });
    check_operation(case, &transaction);

    let mut at_once = case.rows();
    let outcome = run(&transaction, &mut at_once);
    let mut one_by_one = case.rows();
    fastrand::seed(7);
    let outcomes = steps.iter().map(|step| step.run(&mut one_by_one)).collect();
    assert_eq!(outcome, Outcome::List(outcomes), "at once, and one by one");
    assert!(
        places(&at_once) == places(&one_by_one),
        "at once, and one by one"
    );

    for at in 0..watched.len() {
        let mut watched = watched.clone();
        watched[at].1 = match watched[at].1 {
            Some(stamp) => Some(Stamp::from_bits(stamp.bits() ^ 1)),
            None => Some(Stamp::draw()),
        };
        let steps = steps.clone();
        let transaction = Operation::from(Many::Transaction { watched, steps });
        let mut rows = case.rows();
        assert_eq!(
            transaction.run(&mut rows),
            Outcome::Nil,
            "a watched key was written"
        );
        assert!(rows.iter().all(|(_, slot)| !slot.changed));
    }
}

#[test]
fn any_command_on_any_rows_does_what_it_told() {
    let cases = Cases {
        corpus: Corpus::load(),
        commands_max: 4,
    };
    bolero::check!()
        .with_generator(cases)
        .with_test_time(Duration::from_secs(4))
        .for_each(check);
}

#[test]
fn a_transaction_is_its_steps_one_by_one() {
    let cases = Cases {
        corpus: Corpus::load(),
        commands_max: 8,
    };
    bolero::check!()
        .with_generator(cases)
        .with_test_time(Duration::from_secs(3))
        .for_each(check_transaction);
}
