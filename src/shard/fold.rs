//! Several operations on several rows, as one state change: what a batch does.

use std::collections::HashMap;

use bytes::Bytes;

use super::Operation;
use crate::command::mutation::{Effect, apply};
use crate::command::{Outcome, Row, Stamp, Timestamp};

/// What a batch leaves behind.
pub(super) struct Folded {
    /// One for each operation, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// The last state of each key that was named, and whether it differs from the first.
    pub(super) rows: HashMap<Bytes, Final>,
}

/// The state of a row after the batch.
pub(super) struct Final {
    pub(super) row: Option<Row>,
    pub(super) changed: bool,
    /// Whether the row's value is another one. Where it is not, the value need not be known.
    pub(super) has_new_value: bool,
}

impl Final {
    fn unchanged(row: Option<Row>) -> Self {
        Self {
            row,
            changed: false,
            has_new_value: false,
        }
    }
}

/// Applies `operations` in order to the rows that `current` holds (a key that is not in it has no
/// row). Only the last state of each key matters to anyone: the batch commits as one.
pub(super) fn fold(
    operations: &[Operation],
    current: HashMap<Bytes, Row>,
    now: Timestamp,
) -> Folded {
    let mut rows: HashMap<Bytes, Final> = current
        .into_iter()
        .map(|(key, row)| (key, Final::unchanged(Some(row))))
        .collect();
    let outcomes = operations
        .iter()
        .map(|(key, mutation)| {
            let last = rows
                .entry(key.clone())
                .or_insert_with(|| Final::unchanged(None));
            let (effect, outcome) = apply(mutation, last.row.as_ref(), now, Stamp::draw());
            match effect {
                Effect::Keep => {}
                Effect::Put(row) => {
                    last.row = Some(row);
                    last.changed = true;
                    last.has_new_value |= mutation.sets_value();
                }
                Effect::Remove => {
                    last.row = None;
                    last.changed = true;
                }
            }
            outcome
        })
        .collect();
    Folded { outcomes, rows }
}
