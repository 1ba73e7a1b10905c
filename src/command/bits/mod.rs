//! Strings as arrays of bits, the first bit of a byte the most significant: what GETBIT, SETBIT and
//! BITCOUNT compute; BITPOS is in `position.rs`, BITOP in `operator.rs`, BITFIELD in `field.rs`.
//!
//! A bit past the end of a value is zero, and an absent key is an empty value where nothing else is
//! said.

use bytes::BytesMut;

pub mod field;
pub mod operator;
pub mod position;

pub use field::{FieldOperation, FieldType, Overflow};
pub use operator::Operator;
pub use position::Extent;

/// What an index counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// BYTE, the default.
    Byte,
    /// BIT
    Bit,
}

/// From `start` to `end`, both included; a negative index counts from the end of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first of the range.
    pub start: i64,
    /// The last of the range.
    pub end: i64,
    /// What both count.
    pub unit: Unit,
}

/// Bits of a value, from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bits {
    first: usize,
    last: usize,
}

impl Range {
    /// The bits of a value of `length` bytes that the range has; none if it is empty.
    ///
    /// An index before the start is the start, for the last of the range too, as in Redis: 0 to -100
    /// has the first byte of a value of three.
    fn bits(self, length: usize) -> Option<Bits> {
        let per_unit = match self.unit {
            Unit::Byte => 8,
            Unit::Bit => 1,
        };
        let total = i64::try_from(length.checked_mul(8)?).ok()? / per_unit;
        let clamped = |index: i64| {
            let from_start = if index < 0 {
                index.saturating_add(total)
            } else {
                index
            };
            from_start.max(0)
        };
        let (start, end) = (clamped(self.start), clamped(self.end).min(total - 1));
        if start > end {
            return None;
        }
        Some(Bits {
            first: usize::try_from(start * per_unit).ok()?,
            last: usize::try_from(end * per_unit + per_unit - 1).ok()?,
        })
    }
}

/// The bit at `offset`. (GETBIT)
pub fn get(value: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8)
        .ok()
        .and_then(|byte| value.get(byte))
        .is_some_and(|byte| byte & mask(offset) != 0)
}

/// How long a value is at least once the bit at `offset` was set, in bytes: what to hold against a
/// limit before [`set`].
pub fn length_with(offset: u64) -> u64 {
    offset / 8 + 1
}

/// Sets the bit at `offset` to `bit` in a value, which becomes longer if need be; the bit that was there.
/// (SETBIT)
pub fn set(value: &mut BytesMut, offset: u64, bit: bool) -> bool {
    let old = get(value, offset);
    grow(value, length_with(offset));
    if let Some(byte) = usize::try_from(offset / 8)
        .ok()
        .and_then(|byte| value.get_mut(byte))
    {
        if bit {
            *byte |= mask(offset);
        } else {
            *byte &= !mask(offset);
        }
    }
    old
}

/// How many bits are set, in a range or in all of the value. (BITCOUNT)
pub fn count(value: &[u8], range: Option<Range>) -> i64 {
    let Some(range) = range else {
        return ones(value);
    };
    // Redis looks at this before it looks where the indexes lie.
    if range.is_backwards() {
        return 0;
    }
    let Some(Bits { first, last }) = range.bits(value.len()) else {
        return 0;
    };
    let Some(bytes) = value.get(first / 8..=last / 8) else {
        return 0;
    };
    let (head, tail) = edges(bytes, first, last);
    ones(bytes) - ones(&[head, tail])
}

impl Range {
    /// Whether both ends count from the end of the value, the last before the first.
    pub(in crate::command) fn is_backwards(self) -> bool {
        self.start < 0 && self.end < 0 && self.start > self.end
    }
}

/// The bits of the first byte before the range, and of the last byte after it.
fn edges(bytes: &[u8], first: usize, last: usize) -> (u8, u8) {
    let head = bytes.first().copied().unwrap_or(0) & !(0xff >> (first % 8));
    let tail = bytes.last().copied().unwrap_or(0) & (0x7f >> (last % 8));
    (head, tail)
}

fn ones(bytes: &[u8]) -> i64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: i64 = words
        .iter()
        .map(|word| i64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    let in_rest: i64 = rest.iter().map(|byte| i64::from(byte.count_ones())).sum();
    in_words + in_rest
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// Makes a value at least `length` bytes long, with zeroes at its end.
fn grow(value: &mut BytesMut, length: u64) {
    // A length that memory cannot have is one that the allocation refuses; see `length_with`.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > value.len() {
        value.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64, unit: Unit) -> Option<Range> {
        Some(Range { start, end, unit })
    }

    #[test]
    fn bits_are_counted_from_the_most_significant() {
        assert!(get(&[0x80], 0));
        assert!(!get(&[0x80], 1));
        assert!(get(&[0, 1], 15));
        assert!(!get(&[0xff], 8));
        assert!(!get(&[], u64::MAX));
    }

    #[test]
    fn a_set_bit_lengthens_the_value() {
        let set = |value: &[u8], offset, bit| {
            let mut value = BytesMut::from(value);
            let old = set(&mut value, offset, bit);
            (value.to_vec(), old)
        };
        assert_eq!(set(&[], 7, true), (vec![1], false));
        assert_eq!(set(&[0xff], 0, false), (vec![0x7f], true));
        assert_eq!(set(b"a", 23, true), (vec![b'a', 0, 1], false));
        assert_eq!(set(b"a", 23, false), (vec![b'a', 0, 0], false));
    }

    /// Redis 7.0.15, after SET k foobar: BITCOUNT k, then with each range.
    #[test]
    fn counts_are_those_of_redis() {
        let value = b"foobar";
        assert_eq!(count(value, None), 26);
        for (start, end, unit, expected) in [
            (0, 0, Unit::Byte, 4),
            (1, 1, Unit::Byte, 6),
            (0, -100, Unit::Byte, 4),
            (-100, -100, Unit::Byte, 4),
            (-1, -2, Unit::Byte, 0),
            (-99, -100, Unit::Byte, 0),
            (5, 100, Unit::Byte, 4),
            (6, 100, Unit::Byte, 0),
            (i64::MIN, i64::MAX, Unit::Byte, 26),
            (i64::MAX, i64::MIN, Unit::Byte, 0),
            (5, 30, Unit::Bit, 17),
            (1, 1, Unit::Bit, 1),
            (0, 0, Unit::Bit, 0),
            (-1, -1, Unit::Bit, 0),
            (-2, -1, Unit::Bit, 1),
            (9, 14, Unit::Bit, 5),
            (i64::MIN, i64::MAX, Unit::Bit, 26),
        ] {
            let counted = count(value, range(start, end, unit));
            assert_eq!(counted, expected, "{start} {end} {unit:?}");
        }
        assert_eq!(count(b"", range(0, -1, Unit::Byte)), 0);
        assert_eq!(count(b"", range(0, 0, Unit::Bit)), 0);
        assert_eq!(count(b"", None), 0);
    }
}
