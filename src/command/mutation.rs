//! What a write does to a row: one pure function from (mutation, row or none, now) to (effect on
//! the row, outcome for the client). PostgreSQL and SQLite, RESP and HTTP all go through it.

use bytes::{Bytes, BytesMut};

use super::edit::Edit;
use super::integers::integer;
use super::long_double::{self, LongDouble};
use super::row::{Row, Stamp, Timestamp};
use super::{Outcome, Rejection};

pub(super) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// SET and its relatives.
    Set(Set),
    /// DEL, UNLINK.
    Delete,
    /// EXPIRE and its relatives. A deadline that has passed deletes the key.
    Expire {
        /// When the key shall cease to exist.
        deadline: Deadline,
        /// NX, XX, GT or LT.
        condition: Option<ExpireCondition>,
    },
    /// PERSIST.
    Persist,
    /// GETDEL: the answer is the value.
    TakeAway,
    /// GETEX with an option: the answer is the value. Without a deadline, the key is made to stay. What
    /// is wrong with the deadline is answered only if the key exists.
    GetAndExpire(Result<Option<Deadline>, Rejection>),
    /// APPEND, SETRANGE, SETBIT, BITFIELD: part of the value becomes another.
    Edit(Edit),
    /// INCR, DECR, INCRBY, DECRBY
    Increment(i64),
    /// INCRBYFLOAT, by a number as it was given
    IncrementFloat(Bytes),
}

/// The parts of a SET. <https://redis.io/docs/latest/commands/set/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The new value.
    pub value: Bytes,
    /// NX or XX.
    pub condition: Option<Existence>,
    /// What becomes of the time to live.
    pub expiry: SetExpiry,
    /// What the outcome tells.
    pub answer: SetAnswer,
}

/// What a SET answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAnswer {
    /// OK, or nil if the condition did not hold.
    Status,
    /// GET, GETSET: the value before, whether or not it was done.
    Previous,
    /// SETNX: 1 or 0.
    Flag,
}

impl Set {
    /// A SET without options.
    pub fn plain(value: Bytes) -> Self {
        Self {
            value,
            condition: None,
            expiry: SetExpiry::Discard,
            answer: SetAnswer::Status,
        }
    }
}

/// On which keys a SET acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// NX: only if the key does not exist.
    Absent,
    /// XX: only if the key exists.
    Present,
}

/// What a SET does to the time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetExpiry {
    /// The default: a time to live that the key had is gone.
    Discard,
    /// KEEPTTL.
    Keep,
    /// EX, PX, EXAT, PXAT.
    Until(Deadline),
}

/// When a key ceases to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// So many milliseconds from the shard's now.
    InMillis(i64),
    /// At this instant of the shard's clock.
    At(Timestamp),
}

impl Deadline {
    /// The instant, if it is `now`.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Deadline::InMillis(millis) => now.plus_millis(millis),
            Deadline::At(at) => at,
        }
    }
}

/// The options of EXPIRE. A key without a time to live counts as one with an infinite one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireCondition {
    /// NX: only if there is no time to live.
    NoExpiry,
    /// XX: only if there is one.
    HasExpiry,
    /// GT: only if the new deadline is later.
    Later,
    /// LT: only if the new deadline is earlier.
    Earlier,
    /// XX and LT: only if there is a time to live, and the new deadline is earlier.
    HasExpiryAndEarlier,
}

/// What becomes of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It stays as it is.
    Keep,
    /// It becomes this.
    Put(Row),
    /// It ceases to exist.
    Remove,
}

impl Mutation {
    /// Whether the result does not depend on the row, so that no read has to come before it.
    pub fn is_blind(&self) -> bool {
        matches!(
            self,
            Mutation::Set(Set {
                condition: None,
                expiry: SetExpiry::Discard | SetExpiry::Until(_),
                answer: SetAnswer::Status,
                ..
            })
        )
    }

    /// Whether it may bring an absent key into being, so that absence has to be locked too.
    pub fn may_create(&self) -> bool {
        match self {
            Mutation::Set(set) => set.condition != Some(Existence::Present),
            Mutation::Edit(_) | Mutation::Increment(_) | Mutation::IncrementFloat(_) => true,
            Mutation::Delete
            | Mutation::Expire { .. }
            | Mutation::Persist
            | Mutation::TakeAway
            | Mutation::GetAndExpire(_) => false,
        }
    }

    /// Whether it looks at the value that is there; all others look only at the times.
    pub fn needs_value(&self) -> bool {
        match self {
            Mutation::Set(set) => set.answer == SetAnswer::Previous,
            Mutation::Delete | Mutation::Expire { .. } | Mutation::Persist => false,
            Mutation::TakeAway
            | Mutation::GetAndExpire(_)
            | Mutation::Edit(_)
            | Mutation::Increment(_)
            | Mutation::IncrementFloat(_) => true,
        }
    }

    /// Whether what it puts has a value of its own; all others leave the value as it is.
    pub fn sets_value(&self) -> bool {
        !matches!(
            self,
            Mutation::Expire { .. } | Mutation::Persist | Mutation::GetAndExpire(_)
        )
    }

    /// Bytes that this mutation holds, for bounds on batches.
    pub fn weight(&self) -> usize {
        match self {
            Mutation::Set(set) => set.value.len(),
            Mutation::Edit(edit) => edit.weight(),
            Mutation::Delete
            | Mutation::Expire { .. }
            | Mutation::Persist
            | Mutation::TakeAway
            | Mutation::GetAndExpire(_)
            | Mutation::Increment(_)
            | Mutation::IncrementFloat(_) => 0,
        }
    }
}

/// Under what a mutation is applied.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The instant at the shard.
    pub now: Timestamp,
    /// Marks the new state, if there is one.
    pub stamp: Stamp,
    /// Length of the longest value, in bytes.
    pub value_max: usize,
}

/// Applies `mutation` to `row`.
///
/// A row that has expired by now is as absent as one that never was.
pub fn apply(mutation: &Mutation, row: Option<&Row>, context: &Context) -> (Effect, Outcome) {
    let row = row.filter(|row| row.is_live(context.now));
    match mutation {
        Mutation::Set(set) => apply_set(set, row, context),
        Mutation::Delete => match row {
            Some(_) => (Effect::Remove, Outcome::Integer(1)),
            None => (Effect::Keep, Outcome::Integer(0)),
        },
        Mutation::Expire {
            deadline,
            condition,
        } => apply_expire(deadline.resolve(context.now), *condition, row, context),
        Mutation::Persist => match row {
            Some(row) if row.expires_at.is_some() => (
                Effect::Put(rescheduled(row, None, context)),
                Outcome::Integer(1),
            ),
            Some(_) | None => (Effect::Keep, Outcome::Integer(0)),
        },
        Mutation::TakeAway => match row {
            Some(row) => (Effect::Remove, Outcome::Value(row.value.clone())),
            None => (Effect::Keep, Outcome::Nil),
        },
        Mutation::GetAndExpire(deadline) => match row {
            Some(row) => match deadline {
                Ok(deadline) => get_and_expire(row, *deadline, context),
                Err(rejection) => (Effect::Keep, Outcome::Failed(rejection.text.clone().into())),
            },
            None => (Effect::Keep, Outcome::Nil),
        },
        Mutation::Increment(by) => increment(*by, row, context),
        Mutation::IncrementFloat(by) => increment_float(by, row, context),
        Mutation::Edit(edit) => {
            let mut value = BytesMut::from(row.map_or(&[][..], |row| &row.value[..]));
            let (outcome, is_changed) = edit.apply(&mut value, row.is_some(), context.value_max);
            let effect = match is_changed {
                true => Effect::Put(with_value(value.freeze(), row, context)),
                false => Effect::Keep,
            };
            (effect, outcome)
        }
    }
}

fn apply_set(set: &Set, row: Option<&Row>, context: &Context) -> (Effect, Outcome) {
    let now = context.now;
    let allowed = match set.condition {
        None => true,
        Some(Existence::Absent) => row.is_none(),
        Some(Existence::Present) => row.is_some(),
    };
    let outcome = match (set.answer, allowed) {
        (SetAnswer::Previous, _) => Outcome::value_or_nil(row.map(|row| row.value.clone())),
        (SetAnswer::Status, true) => Outcome::Done,
        (SetAnswer::Status, false) => Outcome::Nil,
        (SetAnswer::Flag, allowed) => Outcome::Integer(allowed.into()),
    };
    if !allowed {
        return (Effect::Keep, outcome);
    }
    let expires_at = match set.expiry {
        SetExpiry::Discard => None,
        SetExpiry::Keep => row.and_then(|row| row.expires_at),
        SetExpiry::Until(deadline) => Some(deadline.resolve(now)),
    };
    if expires_at.is_some_and(|at| at <= now) {
        // SET with a deadline in the past succeeds, and the key is gone.
        let effect = if row.is_some() {
            Effect::Remove
        } else {
            Effect::Keep
        };
        return (effect, outcome);
    }
    let put = Row {
        expires_at,
        ..with_value(set.value.clone(), row, context)
    };
    (Effect::Put(put), outcome)
}

/// The row with another value; what else it has stays.
fn with_value(value: Bytes, row: Option<&Row>, context: &Context) -> Row {
    Row {
        value,
        created_at: row.map_or(context.now, |row| row.created_at),
        updated_at: context.now,
        expires_at: row.and_then(|row| row.expires_at),
        stamp: context.stamp,
    }
}

fn get_and_expire(row: &Row, deadline: Option<Deadline>, context: &Context) -> (Effect, Outcome) {
    let effect = match deadline.map(|deadline| deadline.resolve(context.now)) {
        Some(at) if at <= context.now => Effect::Remove,
        None if row.expires_at.is_none() => Effect::Keep,
        at => Effect::Put(rescheduled(row, at, context)),
    };
    (effect, Outcome::Value(row.value.clone()))
}

fn increment(by: i64, row: Option<&Row>, context: &Context) -> (Effect, Outcome) {
    let Some(old) = row.map_or(Some(0), |row| integer(&row.value)) else {
        return (Effect::Keep, Outcome::Failed(NOT_AN_INTEGER.into()));
    };
    let Some(new) = old.checked_add(by) else {
        let text = "ERR increment or decrement would overflow";
        return (Effect::Keep, Outcome::Failed(text.into()));
    };
    let value = Bytes::copy_from_slice(itoa::Buffer::new().format(new).as_bytes());
    (
        Effect::Put(with_value(value, row, context)),
        Outcome::Integer(new),
    )
}

/// <https://redis.io/docs/latest/commands/incrbyfloat/>
fn increment_float(by: &Bytes, row: Option<&Row>, context: &Context) -> (Effect, Outcome) {
    let stored = row.map(|row| &row.value[..]);
    let sum = LongDouble::parse(by)
        .ok_or(Rejection::late(NOT_A_FLOAT))
        .and_then(|by| long_double::increment(stored, by));
    match sum {
        Ok(text) => {
            let value = Bytes::from(text);
            let put = with_value(value.clone(), row, context);
            (Effect::Put(put), Outcome::Value(value))
        }
        Err(rejection) => (Effect::Keep, Outcome::Failed(rejection.text.into())),
    }
}

/// The rules of `expireGenericCommand` in Redis 7, in its order: conditions first, then the check
/// whether the deadline has passed.
fn apply_expire(
    at: Timestamp,
    condition: Option<ExpireCondition>,
    row: Option<&Row>,
    context: &Context,
) -> (Effect, Outcome) {
    let Some(row) = row else {
        return (Effect::Keep, Outcome::Integer(0));
    };
    let allowed = match (condition, row.expires_at) {
        (None, _) => true,
        (Some(ExpireCondition::NoExpiry), current) => current.is_none(),
        (Some(ExpireCondition::HasExpiry), current) => current.is_some(),
        (Some(ExpireCondition::Later), current) => current.is_some_and(|current| at > current),
        (Some(ExpireCondition::Earlier), current) => current.is_none_or(|current| at < current),
        (Some(ExpireCondition::HasExpiryAndEarlier), current) => {
            current.is_some_and(|current| at < current)
        }
    };
    if !allowed {
        return (Effect::Keep, Outcome::Integer(0));
    }
    if at <= context.now {
        return (Effect::Remove, Outcome::Integer(1));
    }
    (
        Effect::Put(rescheduled(row, Some(at), context)),
        Outcome::Integer(1),
    )
}

fn rescheduled(row: &Row, expires_at: Option<Timestamp>, context: &Context) -> Row {
    Row {
        expires_at,
        updated_at: context.now,
        stamp: context.stamp,
        ..row.clone()
    }
}
