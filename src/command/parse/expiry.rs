//! The options that say when a key ceases to exist.

use super::{is, reject};
use crate::command::mutation::Deadline;
use crate::command::{Rejection, Timestamp};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryUnit {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl ExpiryUnit {
    pub(super) fn named(option: &[u8]) -> Option<Self> {
        [
            ("ex", Self::Ex),
            ("px", Self::Px),
            ("exat", Self::ExAt),
            ("pxat", Self::PxAt),
        ]
        .into_iter()
        .find_map(|(name, unit)| is(option, name).then_some(unit))
    }

    /// The deadline of a SET, which has to be positive and to fit in milliseconds.
    pub(super) fn deadline(self, amount: i64, command: &str) -> Result<Deadline, Rejection> {
        if amount <= 0 {
            return invalid_expire(command);
        }
        match self {
            Self::Ex => relative(amount, 1000, command),
            Self::Px => relative(amount, 1, command),
            Self::ExAt => absolute(amount, 1000, command),
            Self::PxAt => absolute(amount, 1, command),
        }
    }
}

pub(super) fn invalid_expire<T>(command: &str) -> Result<T, Rejection> {
    reject(format!("ERR invalid expire time in '{command}' command"))
}

/// A year far beyond any clock, as Redis adds its own now to a relative time and refuses an
/// overflow: 2^50 milliseconds, some 35,000 years.
const NOW_MILLIS_BOUND: i64 = 1 << 50;

pub(super) fn relative(amount: i64, millis: i64, command: &str) -> Result<Deadline, Rejection> {
    match amount.checked_mul(millis) {
        Some(total) if total <= i64::MAX - NOW_MILLIS_BOUND => Ok(Deadline::InMillis(total)),
        _ => invalid_expire(command),
    }
}

pub(super) fn absolute(amount: i64, millis: i64, command: &str) -> Result<Deadline, Rejection> {
    match amount.checked_mul(millis) {
        Some(total) => Ok(Deadline::At(Timestamp::from_millis(total))),
        None => invalid_expire(command),
    }
}
