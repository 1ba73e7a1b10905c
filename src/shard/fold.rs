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
        .map(|(key, row)| {
            (
                key,
                Final {
                    row: Some(row),
                    changed: false,
                },
            )
        })
        .collect();
    let outcomes = operations
        .iter()
        .map(|(key, mutation)| {
            let entry = rows.entry(key.clone()).or_insert(Final {
                row: None,
                changed: false,
            });
            let (effect, outcome) = apply(mutation, entry.row.as_ref(), now, Stamp::draw());
            match effect {
                Effect::Keep => {}
                Effect::Put(row) => {
                    *entry = Final {
                        row: Some(row),
                        changed: true,
                    };
                }
                Effect::Remove => {
                    *entry = Final {
                        row: None,
                        changed: true,
                    };
                }
            }
            outcome
        })
        .collect();
    Folded { outcomes, rows }
}
