//! BITFIELD and BITFIELD_RO: integers of any width at any bit of a value.

use bytes::BytesMut;

/// The type of an integer: i1 to i64, u1 to u63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    bits: u8,
}

impl FieldType {
    /// None if there is no such type. u64 is none: a reply could not tell it.
    pub fn new(signed: bool, bits: u8) -> Option<FieldType> {
        let most = if signed { 64 } else { 63 };
        (1..=most)
            .contains(&bits)
            .then_some(FieldType { signed, bits })
    }

    /// Whether it has negative numbers.
    pub fn signed(self) -> bool {
        self.signed
    }

    /// Its width in bits.
    pub fn bits(self) -> u8 {
        self.bits
    }

    fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.bits - 1))
        } else {
            0
        }
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u8::from(self.signed))) - 1
    }

    /// The lowest bits of a number, read as this type.
    fn wrapped(self, number: i128) -> i64 {
        let unused = 128 - u32::from(self.bits);
        let high = number << unused;
        // It has at most 64 bits, and an unsigned one at most 63.
        if self.signed {
            (high >> unused) as i64
        } else {
            (high.cast_unsigned() >> unused) as i64
        }
    }

    /// A number to be set, as Redis compares it with the limits of the type.
    fn as_redis_reads(self, number: i64) -> i128 {
        if !self.signed {
            // The bits of a negative number are those of a large one.
            return i128::from(number.cast_unsigned());
        }
        let number = i128::from(number);
        // Redis subtracts it from the largest of the type, in 64 bits. If that overflows, the number
        // passes for too large, and SAT makes the largest of it.
        let overflows = self.bits < 64 && self.max() - number > i128::from(i64::MAX);
        if overflows {
            number + (1 << 64)
        } else {
            number
        }
    }

    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        if (self.min()..=self.max()).contains(&number) {
            return Some(self.wrapped(number));
        }
        match overflow {
            Overflow::Wrap => Some(self.wrapped(number)),
            Overflow::Sat => Some(self.wrapped(number.clamp(self.min(), self.max()))),
            Overflow::Fail => None,
        }
    }
}

/// What becomes of a number that its type cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// WRAP, the default: its lowest bits are kept.
    Wrap,
    /// SAT: the nearest that the type has.
    Sat,
    /// FAIL: nothing is written, and the reply is null.
    Fail,
}

/// One operation of a BITFIELD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOperation {
    /// GET: answers the field.
    Get {
        /// Its type.
        kind: FieldType,
        /// Its first bit.
        offset: u64,
    },
    /// SET: answers the field before.
    Set {
        /// Its type.
        kind: FieldType,
        /// Its first bit.
        offset: u64,
        /// Its new value.
        value: i64,
        /// What if that does not fit.
        overflow: Overflow,
    },
    /// INCRBY: answers the field after.
    Increment {
        /// Its type.
        kind: FieldType,
        /// Its first bit.
        offset: u64,
        /// What is added.
        by: i64,
        /// What if the sum does not fit.
        overflow: Overflow,
    },
}

impl FieldOperation {
    /// Whether it may change the value.
    pub fn writes(&self) -> bool {
        !matches!(self, FieldOperation::Get { .. })
    }

    fn field(&self) -> (FieldType, u64) {
        match *self {
            FieldOperation::Get { kind, offset }
            | FieldOperation::Set { kind, offset, .. }
            | FieldOperation::Increment { kind, offset, .. } => (kind, offset),
        }
    }
}

/// How long a value is at least after the operations, in bytes: what to hold against a limit before
/// [`change_fields`]. None if they only read.
pub fn length_with(operations: &[FieldOperation]) -> Option<u64> {
    operations
        .iter()
        .filter(|operation| operation.writes())
        .map(|operation| {
            let (kind, offset) = operation.field();
            super::length_with(offset.saturating_add(u64::from(kind.bits) - 1))
        })
        .max()
}

/// What operations that only read answer.
pub fn read_fields(value: &[u8], operations: &[FieldOperation]) -> Vec<Option<i64>> {
    let replies = operations.iter().map(|operation| {
        let (kind, offset) = operation.field();
        Some(read(value, kind, offset))
    });
    replies.collect()
}

/// Does the operations on a value, and tells what each answers; None is null.
///
/// The value reaches to the last bit of every field that was to be written, also when all of those
/// failed for an overflow: Redis makes room before it computes.
pub fn change_fields(value: &mut BytesMut, operations: &[FieldOperation]) -> Vec<Option<i64>> {
    super::grow(value, length_with(operations).unwrap_or(0));
    operations
        .iter()
        .map(|operation| apply(value, *operation))
        .collect()
}

fn apply(value: &mut [u8], operation: FieldOperation) -> Option<i64> {
    match operation {
        FieldOperation::Get { kind, offset } => Some(read(value, kind, offset)),
        FieldOperation::Set {
            kind,
            offset,
            value: number,
            overflow,
        } => {
            let number = kind.as_redis_reads(number);
            let old = read(value, kind, offset);
            write(value, kind, offset, kind.fit(number, overflow)?);
            Some(old)
        }
        FieldOperation::Increment {
            kind,
            offset,
            by,
            overflow,
        } => {
            let sum = i128::from(read(value, kind, offset)) + i128::from(by);
            let new = kind.fit(sum, overflow)?;
            write(value, kind, offset, new);
            Some(new)
        }
    }
}

/// Bytes that a field of 64 bits can touch.
const WINDOW: usize = 9;

/// How far the lowest bit of a field is from the lowest bit of its window.
fn shift(kind: FieldType, offset: u64) -> u32 {
    // At most 72 - 7 - 1 and at least 72 - 7 - 64.
    WINDOW as u32 * 8 - (offset % 8) as u32 - u32::from(kind.bits)
}

fn tail(value: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset / 8)
        .ok()
        .and_then(|start| value.get(start..))
        .unwrap_or_default()
}

fn window(bytes: &[u8]) -> u128 {
    let bytes = bytes.iter().copied().chain(std::iter::repeat(0));
    bytes
        .take(WINDOW)
        .fold(0, |window, byte| window << 8 | u128::from(byte))
}

fn read(value: &[u8], kind: FieldType, offset: u64) -> i64 {
    let window = window(tail(value, offset)) >> shift(kind, offset);
    kind.wrapped(window.cast_signed())
}

fn write(value: &mut [u8], kind: FieldType, offset: u64, number: i64) {
    let shift = shift(kind, offset);
    let mask = ((1u128 << kind.bits) - 1) << shift;
    let bits = (i128::from(number).cast_unsigned() << shift) & mask;
    let new = window(tail(value, offset)) & !mask | bits;
    let Some(bytes) = usize::try_from(offset / 8)
        .ok()
        .and_then(|start| value.get_mut(start..))
    else {
        return;
    };
    let new = (new << (128 - WINDOW * 8)).to_be_bytes();
    for (byte, new) in bytes.iter_mut().zip(new.into_iter().take(WINDOW)) {
        *byte = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> FieldType {
        FieldType::new(name.starts_with('i'), name[1..].parse().unwrap()).unwrap()
    }

    fn get(name: &str, offset: u64) -> FieldOperation {
        FieldOperation::Get {
            kind: kind(name),
            offset,
        }
    }

    /// The value after operations that may write, and their answers.
    fn field(value: &[u8], operations: &[FieldOperation]) -> (Option<Vec<u8>>, Vec<Option<i64>>) {
        if !operations.iter().any(FieldOperation::writes) {
            return (None, read_fields(value, operations));
        }
        let mut value = BytesMut::from(value);
        let answers = change_fields(&mut value, operations);
        (Some(value.to_vec()), answers)
    }

    fn set(name: &str, offset: u64, value: i64, overflow: Overflow) -> FieldOperation {
        FieldOperation::Set {
            kind: kind(name),
            offset,
            value,
            overflow,
        }
    }

    fn increment(name: &str, offset: u64, by: i64, overflow: Overflow) -> FieldOperation {
        FieldOperation::Increment {
            kind: kind(name),
            offset,
            by,
            overflow,
        }
    }

    #[test]
    fn there_is_no_u64() {
        assert!(FieldType::new(false, 64).is_none());
        assert!(FieldType::new(true, 65).is_none());
        assert!(FieldType::new(true, 0).is_none());
        assert!(FieldType::new(false, 0).is_none());
    }

    /// Redis 7.0.15: SET k <value> (or not), BITFIELD k <operations>, GET k.
    #[test]
    fn fields_are_those_of_redis() {
        use Overflow::{Fail, Sat, Wrap};
        type Case<'a> = (
            &'a [u8],
            &'a [FieldOperation],
            Option<&'a [u8]>,
            &'a [Option<i64>],
        );
        let cases: &[Case] = &[
            (b"", &[], None, &[]),
            (b"", &[get("u8", 100)], None, &[Some(0)]),
            (b"\xff", &[get("i4", 6)], None, &[Some(-4)]),
            (b"\xff", &[get("u4", 6)], None, &[Some(12)]),
            (
                b"",
                &[set("u5", 7, 23, Wrap)],
                Some(b"\x01\x70"),
                &[Some(0)],
            ),
            (
                b"\xff",
                &[set("i8", 0, 127, Wrap), get("u8", 0)],
                Some(b"\x7f"),
                &[Some(-1), Some(127)],
            ),
            // Room is made although nothing is written.
            (
                b"",
                &[set("u8", 100, 256, Fail)],
                Some(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                &[None],
            ),
            (b"", &[set("u8", 0, -1, Sat)], Some(b"\xff"), &[Some(0)]),
            (b"", &[set("i8", 0, -129, Sat)], Some(b"\x80"), &[Some(0)]),
            // Numbers so low pass for too large.
            (
                b"",
                &[
                    set("i8", 0, i64::MIN, Sat),
                    set("i8", 0, i64::MIN + 127, Sat),
                    set("i8", 0, i64::MIN + 128, Sat),
                    set("i8", 0, i64::MIN + 1, Wrap),
                ],
                Some(b"\x01"),
                &[Some(0), Some(127), Some(127), Some(-128)],
            ),
            (
                b"",
                &[set("i8", 0, 128, Wrap), get("i8", 0)],
                Some(b"\x80"),
                &[Some(0), Some(-128)],
            ),
            (
                b"\xff",
                &[
                    increment("u8", 0, 1, Fail),
                    increment("u8", 0, 1, Sat),
                    increment("u8", 0, 2, Wrap),
                    increment("u8", 0, -3, Fail),
                    increment("u8", 0, -3, Sat),
                    increment("u8", 0, -3, Wrap),
                ],
                Some(b"\xfd"),
                &[None, Some(255), Some(1), None, Some(0), Some(253)],
            ),
            (
                b"\x7f\xff\xff\xff\xff\xff\xff\xff",
                &[
                    increment("i64", 0, 1, Fail),
                    increment("i64", 0, 1, Sat),
                    increment("i64", 0, i64::MAX, Wrap),
                ],
                Some(b"\xff\xff\xff\xff\xff\xff\xff\xfe"),
                &[None, Some(i64::MAX), Some(-2)],
            ),
            (
                b"",
                &[increment("i1", 3, 1, Wrap), increment("u63", 5, -1, Wrap)],
                Some(b"\x17\xff\xff\xff\xff\xff\xff\xff\xf0"),
                &[Some(-1), Some(i64::MAX)],
            ),
        ];
        for (value, operations, expected, replies) in cases {
            let (new, answered) = field(value, operations);
            assert_eq!(new.as_deref(), *expected, "{operations:?}");
            assert_eq!(answered, *replies, "{operations:?}");
        }
    }

    #[test]
    fn fields_of_all_widths_are_read_as_written() {
        for bits in 1..=64 {
            for signed in [false, true] {
                let Some(kind) = FieldType::new(signed, bits) else {
                    continue;
                };
                for offset in 0..9 {
                    for value in [kind.min(), kind.max()] {
                        let value = kind.wrapped(value);
                        let operation = FieldOperation::Set {
                            kind,
                            offset,
                            value,
                            overflow: Overflow::Fail,
                        };
                        let (new, _) = field(&[0xa5; 10], &[operation]);
                        let new = new.unwrap();
                        assert_eq!(read(&new, kind, offset), value);
                        let after = offset + u64::from(bits);
                        let around = (0..80).filter(|bit| *bit < offset || *bit >= after);
                        for bit in around {
                            let before = super::super::get(&[0xa5; 10], bit);
                            assert_eq!(super::super::get(&new, bit), before);
                        }
                    }
                }
            }
        }
    }
}
