//! BITPOS: where the first bit is that is set, or is not.

use super::{Bits, Range, Unit};

/// The part of a value in which a bit is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// From this byte on; a negative one counts from the end. [`Extent::WHOLE`] is from 0.
    ///
    /// No end was named, so zeroes go on for ever after the value.
    From(i64),
    /// The bits of a range, and none after it.
    Range(Range),
}

impl Extent {
    /// All of the value.
    pub const WHOLE: Extent = Extent::From(0);
}

/// The index of the first such bit of the value, -1 if there is none. (BITPOS)
pub fn position(value: Option<&[u8]>, bit: bool, extent: Extent) -> i64 {
    // An absent key is zeroes for ever, whatever part of it is asked for; an empty value is not.
    let Some(value) = value else {
        return if bit { -1 } else { 0 };
    };
    let (range, goes_on) = match extent {
        Extent::Range(range) => (range, false),
        Extent::From(start) => (
            Range {
                start,
                end: i64::MAX,
                unit: Unit::Byte,
            },
            true,
        ),
    };
    let found = range.bits(value.len()).and_then(|bits| {
        let after = (goes_on && !bit).then_some(bits.last + 1);
        first(value, bit, bits).or(after)
    });
    found
        .and_then(|index| i64::try_from(index).ok())
        .unwrap_or(-1)
}

fn first(value: &[u8], bit: bool, Bits { first, last }: Bits) -> Option<usize> {
    let bytes = value.get(first / 8..=last / 8)?;
    // A byte in which the bits that are looked for are the ones that are set.
    let sought = |byte: u8| if bit { byte } else { !byte };
    let dull = sought(0);
    let head = sought(*bytes.first()?) & (0xff >> (first % 8));
    let (byte, bits) = if head != 0 {
        (first / 8, head)
    } else {
        let rest = bytes.get(1..)?;
        let at = skip(rest, dull);
        (first / 8 + 1 + at, sought(*rest.get(at)?))
    };
    let index = byte * 8 + bits.leading_zeros() as usize;
    (index <= last).then_some(index)
}

/// How many bytes at the start are `dull`.
fn skip(bytes: &[u8], dull: u8) -> usize {
    let (words, _) = bytes.as_chunks::<16>();
    let of_words = words
        .iter()
        .take_while(|word| **word == [dull; 16])
        .count()
        .saturating_mul(16);
    let rest = bytes.get(of_words..).unwrap_or_default();
    of_words + rest.iter().take_while(|byte| **byte == dull).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64, unit: Unit) -> Extent {
        Extent::Range(Range { start, end, unit })
    }

    /// Redis 7.0.15: SET k <value>, BITPOS k <bit> [start [end [unit]]].
    #[test]
    fn positions_are_those_of_redis() {
        use Unit::{Bit, Byte};
        let cases: &[(&[u8], bool, Extent, i64)] = &[
            (b"\xff\xf0\x00", false, Extent::WHOLE, 12),
            (b"\x00\xff\xf0", true, Extent::WHOLE, 8),
            (b"\x00\xff\xf0", true, Extent::From(2), 16),
            (b"\x00\xff\xf0", true, Extent::From(-1), 16),
            (b"\x00\x00\x00", true, Extent::WHOLE, -1),
            // Without an end, zeroes follow the value; with one, they do not.
            (b"\xff\xff\xff", false, Extent::WHOLE, 24),
            (b"\xff\xff\xff", false, Extent::From(1), 24),
            (b"\xff\xff\xff", false, Extent::From(3), -1),
            (b"\xff\xff\xff", false, range(0, -1, Byte), -1),
            (b"\xff\xff\xff", false, range(0, 100, Byte), -1),
            (b"\xff\xff\xff", false, range(0, -1, Bit), -1),
            (b"\xff\xff\xff", false, range(1, 9, Bit), -1),
            (b"\xff\xfe\xff", false, range(1, 15, Bit), 15),
            (b"\xff\xfe\xff", false, range(1, 14, Bit), -1),
            (b"\x00\x10\x00", true, range(11, 11, Bit), 11),
            (b"\x00\x10\x00", true, range(12, 20, Bit), -1),
            (b"\x00\x10\x00", true, range(0, 10, Bit), -1),
            (b"\x10", true, range(-1, -100, Byte), 3),
            (b"", false, Extent::WHOLE, -1),
            (b"", true, Extent::WHOLE, -1),
            (b"", false, range(0, 0, Bit), -1),
        ];
        for (value, bit, extent, expected) in cases {
            assert_eq!(
                position(Some(value), *bit, *extent),
                *expected,
                "{value:x?} {bit} {extent:?}"
            );
        }
    }

    #[test]
    fn an_absent_key_is_zeroes_whatever_is_asked() {
        for extent in [Extent::WHOLE, Extent::From(9), range(5, 4, Unit::Bit)] {
            assert_eq!(position(None, true, extent), -1);
            assert_eq!(position(None, false, extent), 0);
        }
    }

    #[test]
    fn long_runs_are_skipped_exactly() {
        for length in 0..70 {
            let mut value = vec![0; length];
            value.push(1);
            let expected = length as i64 * 8 + 7;
            assert_eq!(position(Some(&value), true, Extent::WHOLE), expected);
            let inverted: Vec<u8> = value.iter().map(|byte| !byte).collect();
            assert_eq!(position(Some(&inverted), false, Extent::WHOLE), expected);
        }
    }
}
