//! What a shard is asked to change: one key, several keys at once, or a whole transaction. Each is a
//! pure function over the rows of its keys.

use bytes::Bytes;

use super::mutation::{Mutation, Set};
use super::query::Query;
use super::row::{Row, Stamp};
use super::rows::Rows;
use super::{Outcome, bits};

/// One step of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A change to one key.
    One(Bytes, Mutation),
    /// Something that looks at several keys, or changes them, at one instant.
    Many(Box<Many>),
}

/// Operations on several keys. They are done as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Many {
    /// A read within a transaction.
    Read(Vec<Bytes>, Query),
    /// DEL, UNLINK within a transaction.
    Delete(Vec<Bytes>),
    /// MSET
    Set(Vec<(Bytes, Bytes)>),
    /// MSETNX: if none of the keys exists.
    SetIfNone(Vec<(Bytes, Bytes)>),
    /// RENAME, RENAMENX
    Rename {
        /// The key that goes.
        from: Bytes,
        /// The key that comes.
        to: Bytes,
        /// RENAMENX: only if `to` does not exist.
        if_absent: bool,
    },
    /// COPY
    Copy {
        /// The key that is copied.
        from: Bytes,
        /// The key that comes.
        to: Bytes,
        /// Whether `to` may exist.
        replace: bool,
    },
    /// BITOP
    Combine {
        /// AND, OR, XOR or NOT.
        operator: bits::Operator,
        /// The key that gets the result.
        to: Bytes,
        /// The keys whose values are combined.
        from: Vec<Bytes>,
    },
    /// MULTI … EXEC
    Transaction {
        /// Keys of WATCH, and the stamp that each had then.
        watched: Vec<(Bytes, Option<Stamp>)>,
        /// The steps in their order.
        steps: Vec<Operation>,
    },
}

/// What an operation has to know of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// The value; else only whether there is a row, and its times.
    pub value: bool,
    /// That it stays absent, if it is.
    pub absence: bool,
}

impl std::ops::BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Self) {
        self.value |= other.value;
        self.absence |= other.absence;
    }
}

/// Of several keys at one instant the absence counts as much as the presence.
const LOOKED_AT: Access = Access {
    value: false,
    absence: true,
};
const READ: Access = Access {
    value: true,
    absence: true,
};

impl Operation {
    /// Tells each key, in no particular order and perhaps several times, with what has to be known of it.
    pub fn keys(&self, tell: &mut dyn FnMut(&Bytes, Access)) {
        match self {
            Operation::One(key, mutation) => {
                let access = Access {
                    value: mutation.needs_value(),
                    absence: mutation.may_create(),
                };
                tell(key, access);
            }
            Operation::Many(many) => many.keys(tell),
        }
    }

    /// Whether the result does not depend on any row, so that no read has to come before it.
    pub fn is_blind(&self) -> bool {
        matches!(self, Operation::One(_, mutation) if mutation.is_blind())
    }

    /// How many steps it has, and the bytes that it holds, for bounds on batches.
    pub fn weight(&self) -> (usize, usize) {
        match self {
            Operation::One(key, mutation) => (1, key.len() + mutation.weight()),
            Operation::Many(many) => many.weight(),
        }
    }

    /// Does it.
    pub fn run(&self, rows: &mut Rows) -> Outcome {
        match self {
            Operation::One(key, mutation) => rows.apply(key, mutation),
            Operation::Many(many) => many.run(rows),
        }
    }
}

impl From<Many> for Operation {
    fn from(many: Many) -> Self {
        Operation::Many(Box::new(many))
    }
}

impl Many {
    /// As [`Operation::keys`].
    pub fn keys(&self, tell: &mut dyn FnMut(&Bytes, Access)) {
        match self {
            Many::Read(keys, query) => {
                let value = query.needs_value();
                let access = Access {
                    value,
                    absence: true,
                };
                keys.iter().for_each(|key| tell(key, access));
            }
            Many::Delete(keys) => keys.iter().for_each(|key| tell(key, LOOKED_AT)),
            Many::Set(pairs) | Many::SetIfNone(pairs) => {
                pairs.iter().for_each(|(key, _)| tell(key, LOOKED_AT));
            }
            Many::Rename { from, to, .. } | Many::Copy { from, to, .. } => {
                tell(from, READ);
                tell(to, LOOKED_AT);
            }
            Many::Combine { to, from, .. } => {
                from.iter().for_each(|key| tell(key, READ));
                tell(to, LOOKED_AT);
            }
            Many::Transaction { watched, steps } => {
                watched.iter().for_each(|(key, _)| tell(key, LOOKED_AT));
                for step in steps {
                    step.keys(&mut |key, mut access| {
                        access.absence = true;
                        tell(key, access);
                    });
                }
            }
        }
    }

    fn weight(&self) -> (usize, usize) {
        if let Many::Transaction { watched, steps } = self {
            let mut weight = (0, 0);
            let keys = watched.iter().map(|(key, _)| (1, key.len()));
            for (count, bytes) in keys.chain(steps.iter().map(Operation::weight)) {
                weight = (weight.0 + count, weight.1 + bytes);
            }
            return (weight.0.max(1), weight.1);
        }
        let mut keys = 0;
        let mut bytes = 0;
        self.keys(&mut |key, _| {
            keys += 1;
            bytes += key.len();
        });
        let values = |pairs: &[(Bytes, Bytes)]| pairs.iter().map(|(_, value)| value.len()).sum();
        bytes += match self {
            Many::Set(pairs) | Many::SetIfNone(pairs) => values(pairs),
            _ => 0,
        };
        (keys.max(1), bytes)
    }

    fn run(&self, rows: &mut Rows) -> Outcome {
        match self {
            Many::Read(keys, query) => {
                let found: Vec<_> = keys.iter().map(|key| rows.live(key)).collect();
                let time_left = || {
                    let key = keys.first()?;
                    let row = rows.live(key)?;
                    Some(row.expires_at?.since(rows.now(key)))
                };
                query.answer(&found, &time_left)
            }
            Many::Delete(keys) => {
                let mut count = 0;
                for key in keys {
                    count += i64::from(rows.apply(key, &Mutation::Delete) == Outcome::Integer(1));
                }
                Outcome::Integer(count)
            }
            Many::Set(pairs) => set(rows, pairs),
            Many::SetIfNone(pairs) => {
                if pairs.iter().any(|(key, _)| rows.live(key).is_some()) {
                    return Outcome::Integer(0);
                }
                match set(rows, pairs) {
                    Outcome::Done => Outcome::Integer(1),
                    failed => failed,
                }
            }
            Many::Rename {
                from,
                to,
                if_absent,
            } => rename(rows, from, to, *if_absent),
            Many::Copy { from, to, replace } => copy(rows, from, to, *replace),
            Many::Combine { operator, to, from } => combine(rows, *operator, to, from),
            Many::Transaction { watched, steps } => {
                let stamp = |key| rows.live(key).map(|row| row.stamp);
                if watched.iter().any(|(key, then)| stamp(key) != *then) {
                    return Outcome::Nil;
                }
                Outcome::List(steps.iter().map(|step| step.run(rows)).collect())
            }
        }
    }
}

fn set(rows: &mut Rows, pairs: &[(Bytes, Bytes)]) -> Outcome {
    for (key, value) in pairs {
        rows.apply(key, &Mutation::Set(Set::plain(value.clone())));
    }
    Outcome::Done
}

/// <https://redis.io/docs/latest/commands/rename/>; the time to live goes along.
fn rename(rows: &mut Rows, from: &Bytes, to: &Bytes, if_absent: bool) -> Outcome {
    let Some(row) = moved(rows, from, to) else {
        return Outcome::Failed("ERR no such key".into());
    };
    let done = if if_absent {
        Outcome::Integer(1)
    } else {
        Outcome::Done
    };
    if from == to {
        return if if_absent { Outcome::Integer(0) } else { done };
    }
    if if_absent && rows.live(to).is_some() {
        return Outcome::Integer(0);
    }
    rows.remove(from);
    rows.put(to, row);
    done
}

/// <https://redis.io/docs/latest/commands/copy/>; the time to live goes along.
fn copy(rows: &mut Rows, from: &Bytes, to: &Bytes, replace: bool) -> Outcome {
    let Some(row) = moved(rows, from, to) else {
        return Outcome::Integer(0);
    };
    let previous = rows.live(to);
    if previous.is_some() && !replace {
        return Outcome::Integer(0);
    }
    let created_at = row.updated_at;
    rows.put(to, Row { created_at, ..row });
    Outcome::Integer(1)
}

/// What the row of `from` is as that of `to`, which may be on another shard with another clock: the
/// time that is left counts.
fn moved(rows: &Rows, from: &Bytes, to: &Bytes) -> Option<Row> {
    let row = rows.live(from)?;
    let (here, there) = (rows.now(from), rows.now(to));
    let expires_at = row.expires_at.map(|at| {
        if here == there {
            at
        } else {
            there.plus(at.since(here))
        }
    });
    Some(Row {
        value: row.value.clone(),
        created_at: row.created_at,
        updated_at: there,
        expires_at,
        stamp: Stamp::draw(),
    })
}

/// <https://redis.io/docs/latest/commands/bitop/>
fn combine(rows: &mut Rows, operator: bits::Operator, to: &Bytes, from: &[Bytes]) -> Outcome {
    let sources: Vec<_> = from
        .iter()
        .map(|key| rows.live(key).map(|row| &row.value[..]))
        .collect();
    let value = Bytes::from(bits::operator::combine(operator, &sources));
    let length = value.len() as i64;
    if value.is_empty() {
        rows.apply(to, &Mutation::Delete);
    } else {
        rows.apply(to, &Mutation::Set(Set::plain(value)));
    }
    Outcome::Integer(length)
}
