//! Changes within a value: APPEND, SETRANGE, SETBIT, BITFIELD.
//!
//! They are done where the value is. A transaction may have thousands of them on one value of many
//! megabytes, and a copy for each would stop everybody else for seconds.

use bytes::{Bytes, BytesMut};

use super::Outcome;
use super::bits::field::change_fields;
use super::bits::{self, FieldOperation};

/// The answer to what would make a value longer than a value may be.
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// The answer to a bit beyond the end of the longest value.
pub(super) const OFFSET: &str = "ERR bit offset is not an integer or out of range";

/// A change within a value; an absent key has an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// APPEND
    Append(Bytes),
    /// SETRANGE; a gap is filled with NULs. <https://redis.io/docs/latest/commands/setrange/>
    Overwrite {
        /// Where the bytes begin.
        offset: usize,
        /// What stands there afterwards.
        bytes: Bytes,
    },
    /// SETBIT
    SetBit {
        /// Which bit.
        offset: u64,
        /// What it becomes.
        bit: bool,
    },
    /// BITFIELD with writes. Its fields begin within the longest value, and may end a word beyond.
    Fields(Vec<FieldOperation>),
}

impl Edit {
    /// Bytes of values that it holds.
    pub fn weight(&self) -> usize {
        match self {
            Edit::Append(bytes) | Edit::Overwrite { bytes, .. } => bytes.len(),
            Edit::SetBit { .. } | Edit::Fields(_) => 0,
        }
    }

    /// Does it, on a value that is there or is to be. Also tells whether the key counts as written: what
    /// stays the same does not, for WATCH.
    pub(super) fn apply(
        &self,
        value: &mut BytesMut,
        is_there: bool,
        value_max: usize,
    ) -> (Outcome, bool) {
        let too_long = || (Outcome::Failed(TOO_LONG.into()), false);
        match self {
            Edit::Append(suffix) if value.len() + suffix.len() > value_max => too_long(),
            Edit::Append(suffix) => {
                value.extend_from_slice(suffix);
                (Outcome::Integer(value.len() as i64), true)
            }
            Edit::Overwrite { bytes, .. } if bytes.is_empty() => {
                (Outcome::Integer(value.len() as i64), false)
            }
            Edit::Overwrite { offset, bytes } => {
                let end = offset.saturating_add(bytes.len());
                if end > value_max {
                    return too_long();
                }
                if end > value.len() {
                    value.resize(end, 0);
                }
                value[*offset..end].copy_from_slice(bytes);
                (Outcome::Integer(value.len() as i64), true)
            }
            Edit::SetBit { offset, .. } if bits::length_with(*offset) > value_max as u64 => {
                (Outcome::Failed(OFFSET.into()), false)
            }
            Edit::SetBit { offset, bit } => {
                let length = value.len();
                let before = bits::set(value, *offset, *bit);
                let is_same = is_there && value.len() == length && before == *bit;
                (Outcome::Integer(before.into()), !is_same)
            }
            Edit::Fields(operations) => (Outcome::numbers(change_fields(value, operations)), true),
        }
    }
}
