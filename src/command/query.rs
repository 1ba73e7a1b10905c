//! What a read answers: a pure function of the rows of its keys.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::bits::field::read_fields;
use super::bits::position::position;
use super::bits::{self, Extent, FieldOperation, Range};
use super::integers::integer;
use super::row::Row;
use super::{Outcome, Rejection, lcs};

/// What is asked of one key or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// GET
    Value,
    /// MGET
    Values,
    /// EXISTS, TOUCH: how many are there; a key counts as often as it is named.
    Count,
    /// TYPE
    Type,
    /// TTL, PTTL
    TimeToLive(Unit),
    /// EXPIRETIME, PEXPIRETIME
    ExpireTime(Unit),
    /// STRLEN
    Length,
    /// GETRANGE, SUBSTR: from and to, both included; negative ones count from the end.
    Range(i64, i64),
    /// GETBIT
    Bit(u64),
    /// BITCOUNT; the range, or what is wrong with it, which is answered only if the key exists.
    BitCount(Result<Option<Range>, Rejection>),
    /// BITPOS
    BitPosition {
        /// What is looked for.
        bit: bool,
        /// Where, or what is wrong with that, which is answered only if the key exists.
        extent: Result<Extent, Rejection>,
    },
    /// BITFIELD without writes, BITFIELD_RO
    Fields(Vec<FieldOperation>),
    /// LCS
    Lcs(LcsAnswer),
    /// OBJECT ENCODING: the encoding that Redis would choose for the value.
    Encoding,
    /// OBJECT REFCOUNT
    ReferenceCount,
    /// OBJECT IDLETIME
    IdleTime,
    /// OBJECT FREQ
    Frequency,
    /// MEMORY USAGE, with the length of the key
    MemoryUsage(usize),
}

/// What an LCS answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LcsAnswer {
    /// The subsequence.
    String,
    /// LEN: its length.
    Length,
    /// IDX: where it is.
    Matches {
        /// MINMATCHLEN: runs of fewer bytes are left out.
        min: usize,
        /// WITHMATCHLEN: each with its length.
        with_length: bool,
    },
}

/// The unit in which a time is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Rounded to the nearest second as Redis does.
    Seconds,
    /// Milliseconds
    Millis,
}

impl Unit {
    fn of_millis(self, millis: i64) -> i64 {
        match self {
            Unit::Millis => millis,
            Unit::Seconds => millis.saturating_add(500) / 1000,
        }
    }
}

/// Redis has the integers below this once for all keys (`OBJ_SHARED_INTEGERS`).
const SHARED_INTEGERS: i64 = 10_000;

/// Bytes that a row and its index entry take beside key and value, in PostgreSQL.
const ROW_OVERHEAD: usize = 112;

impl Query {
    /// Whether it looks at values, and not only at whether there is a row, and its times.
    pub fn needs_value(&self) -> bool {
        match self {
            Query::Value
            | Query::Values
            | Query::Length
            | Query::Range(..)
            | Query::Bit(_)
            | Query::BitCount(_)
            | Query::BitPosition { .. }
            | Query::Fields(_)
            | Query::Lcs(_)
            | Query::Encoding
            | Query::ReferenceCount
            | Query::MemoryUsage(_) => true,
            Query::Count
            | Query::Type
            | Query::TimeToLive(_)
            | Query::ExpireTime(_)
            | Query::IdleTime
            | Query::Frequency => false,
        }
    }

    /// The answer from the live rows of the keys, in their order. `time_left` tells how long the
    /// first of them will live, if not for ever.
    pub fn answer(
        &self,
        rows: &[Option<&Row>],
        time_left: &dyn Fn() -> Option<Duration>,
    ) -> Outcome {
        let first = rows.first().copied().flatten();
        let value = |row: Option<&Row>| Outcome::value_or_nil(row.map(|row| row.value.clone()));
        match self {
            Query::Value => value(first),
            Query::Values => Outcome::List(rows.iter().map(|row| value(*row)).collect()),
            Query::Count => Outcome::Integer(rows.iter().flatten().count() as i64),
            Query::Type => Outcome::Word(first.map_or("none", |_| "string")),
            Query::TimeToLive(unit) => Outcome::Integer(match (first, time_left()) {
                (None, _) => -2,
                (Some(_), None) => -1,
                (Some(_), Some(left)) => {
                    let millis = left.as_micros().div_ceil(1000);
                    unit.of_millis(i64::try_from(millis).unwrap_or(i64::MAX))
                }
            }),
            Query::ExpireTime(unit) => Outcome::Integer(match first.map(|row| row.expires_at) {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => unit.of_millis(at.micros().div_euclid(1000)),
            }),
            Query::Length => Outcome::Integer(first.map_or(0, |row| row.value.len() as i64)),
            Query::Range(from, to) => Outcome::Value(first.map_or_else(Bytes::new, |row| {
                let (from, to) = part(row.value.len(), *from, *to);
                row.value.slice(from..to)
            })),
            Query::Bit(offset) => Outcome::Integer(
                first
                    .is_some_and(|row| bits::get(&row.value, *offset))
                    .into(),
            ),
            Query::BitCount(range) => match (first, range) {
                (None, _) => Outcome::Integer(0),
                (Some(row), Ok(range)) => Outcome::Integer(bits::count(&row.value, *range)),
                (Some(_), Err(rejection)) => Outcome::Failed(rejection.text.clone().into()),
            },
            Query::BitPosition { bit, extent } => {
                let value = first.map(|row| &row.value[..]);
                match (value, extent) {
                    (None, _) => Outcome::Integer(position(None, *bit, Extent::WHOLE)),
                    (value, Ok(extent)) => Outcome::Integer(position(value, *bit, *extent)),
                    (Some(_), Err(rejection)) => Outcome::Failed(rejection.text.clone().into()),
                }
            }
            Query::Fields(operations) => {
                let value = first.map_or(&[][..], |row| &row.value[..]);
                Outcome::numbers(read_fields(value, operations))
            }
            Query::Lcs(answer) => {
                let value = |at: usize| match rows.get(at).copied().flatten() {
                    Some(row) => &row.value[..],
                    None => &[],
                };
                common(value(0), value(1), *answer)
            }
            Query::Encoding => first.map_or(Outcome::Nil, |row| {
                Outcome::Value(Bytes::from_static(encoding(&row.value).as_bytes()))
            }),
            Query::ReferenceCount => first.map_or(Outcome::Nil, |row| {
                Outcome::Integer(match integer(&row.value) {
                    Some(0..SHARED_INTEGERS) => i32::MAX.into(),
                    _ => 1,
                })
            }),
            Query::IdleTime => first.map_or(Outcome::Nil, |_| Outcome::Integer(0)),
            Query::Frequency => {
                first.map_or(Outcome::Nil, |_| Outcome::Failed(NO_FREQUENCY.into()))
            }
            Query::MemoryUsage(key) => first.map_or(Outcome::Nil, |row| {
                Outcome::Integer((key + row.value.len() + ROW_OVERHEAD) as i64)
            }),
        }
    }
}

const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// <https://redis.io/docs/latest/commands/lcs/>
fn common(a: &[u8], b: &[u8], answer: LcsAnswer) -> Outcome {
    if let Err(rejection) = lcs::check(a.len(), b.len()) {
        return Outcome::Failed(rejection.text.into());
    }
    match answer {
        LcsAnswer::String => Outcome::Value(lcs::string(a, b).into()),
        LcsAnswer::Length => Outcome::Integer(lcs::length(a, b) as i64),
        LcsAnswer::Matches { min, with_length } => {
            let (matches, length) = lcs::matches(a, b, min);
            let number = |number: usize| Outcome::Integer(number as i64);
            let ends = |range: &RangeInclusive<usize>| {
                Outcome::List(vec![number(*range.start()), number(*range.end())])
            };
            let matches = matches.iter().map(|found| {
                let mut parts = vec![ends(&found.a), ends(&found.b)];
                if with_length {
                    parts.push(number(found.length));
                }
                Outcome::List(parts)
            });
            let matches = Outcome::List(matches.collect());
            Outcome::Map(vec![("matches", matches), ("len", number(length))])
        }
    }
}

/// The bytes that GETRANGE means, as a half-open range within `length`.
fn part(length: usize, from: i64, to: i64) -> (usize, usize) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if from < 0 && to < 0 && from > to {
        return (0, 0);
    }
    let at = |index: i64| {
        if index < 0 {
            (length + index.max(-length)).max(0)
        } else {
            index
        }
    };
    let (from, to) = (at(from), at(to).min(length - 1));
    if from > to {
        return (0, 0);
    }
    (from as usize, to as usize + 1)
}

/// The encoding that Redis gives a value of SET.
fn encoding(value: &[u8]) -> &'static str {
    if value.len() <= 20 && integer(value).is_some() {
        "int"
    } else if value.len() <= 44 {
        "embstr"
    } else {
        "raw"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_value() {
        for (from, to, expected) in [
            (0, -1, (0, 5)),
            (0, 0, (0, 1)),
            (-3, -1, (2, 5)),
            (-100, 1, (0, 2)),
            (1, 100, (1, 5)),
            (3, 1, (0, 0)),
            (-1, -3, (0, 0)),
            (5, 10, (0, 0)),
            (0, -100, (0, 1)),
            (i64::MIN, i64::MAX, (0, 5)),
            (i64::MAX, i64::MIN, (0, 0)),
        ] {
            assert_eq!(part(5, from, to), expected, "{from} {to}");
        }
        assert_eq!(part(0, 0, -1), (0, 0));
    }
}
