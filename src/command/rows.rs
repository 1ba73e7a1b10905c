//! The rows of several keys: what the operations of a transaction find, and what they leave behind.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::Outcome;
use super::mutation::{Context, Effect, Mutation, apply};
use super::row::{Row, Stamp, Timestamp};

/// The keys of a transaction and their rows, which nobody else can change meanwhile.
#[derive(Debug)]
pub struct Rows {
    slots: HashMap<Bytes, Slot>,
    now: Timestamp,
    value_max: usize,
}

/// One key.
#[derive(Debug)]
pub struct Slot {
    /// Its row, if it has one; perhaps one that has expired.
    pub row: Option<Row>,
    /// The instant at its shard at which the transaction decides.
    pub now: Timestamp,
    /// Whether the row differs from what was found.
    pub changed: bool,
    /// Whether its value is another one. Where it is not, the value need not be known.
    pub has_new_value: bool,
}

impl Rows {
    /// No rows yet: a key that is not put in has none. `value_max` is the length of the longest value,
    /// in bytes.
    pub fn at(now: Timestamp, value_max: usize) -> Self {
        Self {
            slots: HashMap::new(),
            now,
            value_max,
        }
    }

    /// Puts in what was found for a key at an instant of its shard.
    pub fn insert(&mut self, key: Bytes, row: Option<Row>, now: Timestamp) {
        let slot = Slot {
            row,
            now,
            changed: false,
            has_new_value: false,
        };
        self.slots.insert(key, slot);
    }

    /// What a key is now; `None` if no operation and no [`insert`](Rows::insert) named it.
    pub fn get(&self, key: &Bytes) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// All keys that were named.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Slot)> {
        self.slots.iter()
    }

    /// The row of a key, if it is live.
    pub(super) fn live(&self, key: &Bytes) -> Option<&Row> {
        let slot = self.slots.get(key)?;
        slot.row.as_ref().filter(|row| row.is_live(slot.now))
    }

    /// The instant that counts for a key.
    pub(super) fn now(&self, key: &Bytes) -> Timestamp {
        self.slots.get(key).map_or(self.now, |slot| slot.now)
    }

    fn slot(&mut self, key: &Bytes) -> &mut Slot {
        let now = self.now;
        self.slots.entry(key.clone()).or_insert_with(|| Slot {
            row: None,
            now,
            changed: false,
            has_new_value: false,
        })
    }

    /// Gives a key a row with a value of its own.
    pub(super) fn put(&mut self, key: &Bytes, row: Row) {
        let slot = self.slot(key);
        slot.row = Some(row);
        slot.changed = true;
        slot.has_new_value = true;
    }

    /// Takes the row of a key away.
    pub(super) fn remove(&mut self, key: &Bytes) {
        let slot = self.slot(key);
        slot.row = None;
        slot.changed = true;
    }

    /// Applies a mutation to one key.
    pub(super) fn apply(&mut self, key: &Bytes, mutation: &Mutation) -> Outcome {
        let value_max = self.value_max;
        let slot = self.slot(key);
        let context = Context {
            now: slot.now,
            stamp: Stamp::draw(),
            value_max,
        };
        if let Mutation::Edit(edit) = mutation
            && let Some(row) = slot.row.as_mut().filter(|row| row.is_live(context.now))
        {
            // Where it is, unless somebody holds it: what a step before this answered.
            let mut value = std::mem::take(&mut row.value)
                .try_into_mut()
                .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            let (outcome, is_changed) = edit.apply(&mut value, true, value_max);
            row.value = value.freeze();
            if is_changed {
                row.updated_at = context.now;
                row.stamp = context.stamp;
                slot.changed = true;
                slot.has_new_value = true;
            }
            return outcome;
        }
        let (effect, outcome) = apply(mutation, slot.row.as_ref(), &context);
        match effect {
            Effect::Keep => {}
            Effect::Put(row) => {
                slot.row = Some(row);
                slot.changed = true;
                slot.has_new_value |= mutation.sets_value();
            }
            Effect::Remove => {
                slot.row = None;
                slot.changed = true;
            }
        }
        outcome
    }
}
