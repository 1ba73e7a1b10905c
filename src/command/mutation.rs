//! What a write does to a row: one pure function from (mutation, row or none, now) to (effect on
//! the row, outcome for the client). PostgreSQL and SQLite, RESP and HTTP all go through it.

use bytes::Bytes;

use super::row::{Row, Stamp, Timestamp};

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
    /// GET: the outcome carries the previous value.
    pub get: bool,
}

impl Set {
    /// A SET without options.
    pub fn plain(value: Bytes) -> Self {
        Self {
            value,
            condition: None,
            expiry: SetExpiry::Discard,
            get: false,
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

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// SET was done.
    Stored,
    /// NX or XX did not hold; nothing changed.
    Refused,
    /// SET … GET: the value before, whether or not the SET was done.
    Previous(Option<Bytes>),
    /// DEL, EXPIRE, PERSIST: whether the key was there and was changed.
    Changed(bool),
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
                get: false,
                ..
            })
        )
    }

    /// Whether it may bring an absent key into being, so that absence has to be locked too.
    pub fn may_create(&self) -> bool {
        matches!(
            self,
            Mutation::Set(Set {
                condition: None | Some(Existence::Absent),
                ..
            })
        )
    }

    /// Whether it looks at the value that is there; all others look only at the times.
    pub fn needs_value(&self) -> bool {
        matches!(self, Mutation::Set(Set { get: true, .. }))
    }

    /// Whether what it puts has a value of its own; all others leave the value as it is.
    pub fn sets_value(&self) -> bool {
        matches!(self, Mutation::Set(_))
    }

    /// Bytes that this mutation holds, for bounds on batches.
    pub fn weight(&self) -> usize {
        match self {
            Mutation::Set(set) => set.value.len(),
            Mutation::Delete | Mutation::Expire { .. } | Mutation::Persist => 0,
        }
    }
}

/// Applies `mutation` to `row` at `now`. `stamp` marks the new state, if there is one.
///
/// A row that has expired by `now` is as absent as one that never was.
pub fn apply(
    mutation: &Mutation,
    row: Option<&Row>,
    now: Timestamp,
    stamp: Stamp,
) -> (Effect, Outcome) {
    let row = row.filter(|row| row.is_live(now));
    match mutation {
        Mutation::Set(set) => apply_set(set, row, now, stamp),
        Mutation::Delete => match row {
            Some(_) => (Effect::Remove, Outcome::Changed(true)),
            None => (Effect::Keep, Outcome::Changed(false)),
        },
        Mutation::Expire {
            deadline,
            condition,
        } => apply_expire(deadline.resolve(now), *condition, row, now, stamp),
        Mutation::Persist => match row {
            Some(row) if row.expires_at.is_some() => (
                Effect::Put(rescheduled(row, None, now, stamp)),
                Outcome::Changed(true),
            ),
            Some(_) | None => (Effect::Keep, Outcome::Changed(false)),
        },
    }
}

fn apply_set(set: &Set, row: Option<&Row>, now: Timestamp, stamp: Stamp) -> (Effect, Outcome) {
    let allowed = match set.condition {
        None => true,
        Some(Existence::Absent) => row.is_none(),
        Some(Existence::Present) => row.is_some(),
    };
    let outcome = match (set.get, allowed) {
        (true, _) => Outcome::Previous(row.map(|row| row.value.clone())),
        (false, true) => Outcome::Stored,
        (false, false) => Outcome::Refused,
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
        value: set.value.clone(),
        created_at: row.map_or(now, |row| row.created_at),
        updated_at: now,
        expires_at,
        stamp,
    };
    (Effect::Put(put), outcome)
}

/// The rules of `expireGenericCommand` in Redis 7, in its order: conditions first, then the check
/// whether the deadline has passed.
fn apply_expire(
    at: Timestamp,
    condition: Option<ExpireCondition>,
    row: Option<&Row>,
    now: Timestamp,
    stamp: Stamp,
) -> (Effect, Outcome) {
    let Some(row) = row else {
        return (Effect::Keep, Outcome::Changed(false));
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
        return (Effect::Keep, Outcome::Changed(false));
    }
    if at <= now {
        return (Effect::Remove, Outcome::Changed(true));
    }
    (
        Effect::Put(rescheduled(row, Some(at), now, stamp)),
        Outcome::Changed(true),
    )
}

fn rescheduled(row: &Row, expires_at: Option<Timestamp>, now: Timestamp, stamp: Stamp) -> Row {
    Row {
        expires_at,
        updated_at: now,
        stamp,
        ..row.clone()
    }
}
