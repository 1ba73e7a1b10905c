//! SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP; BITFIELD is in `bitfield.rs`.
//!
//! Redis looks at the ranges of BITCOUNT and BITPOS only when the key exists: what is wrong with one
//! is kept beside the command until that is known.
#![allow(dead_code)] // Until the table of commands names them.

use bytes::Bytes;

use super::{integer, integer_or_reject, is, reject, syntax_error};
use crate::command::bits::{Extent, Operator, Range, Unit};
use crate::command::{Rejection, wrong_arity};

/// The bits of a value of 512 MB (proto-max-bulk-len of Redis by default).
const OFFSET_END: i64 = 512 * 1024 * 1024 * 8;

/// GETBIT key offset
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetBit {
    /// The key.
    pub key: Bytes,
    /// Which bit.
    pub offset: u64,
}

/// SETBIT key offset bit
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetBit {
    /// The key.
    pub key: Bytes,
    /// Which bit.
    pub offset: u64,
    /// What it becomes.
    pub bit: bool,
}

/// BITCOUNT key [start end [BYTE|BIT]]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitCount {
    /// The key.
    pub key: Bytes,
    /// The range, or what is wrong with it, which is answered only if the key exists.
    pub range: Result<Option<Range>, Rejection>,
}

/// BITPOS key bit [start [end [BYTE|BIT]]]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitPos {
    /// The key.
    pub key: Bytes,
    /// What is looked for.
    pub bit: bool,
    /// Where, or what is wrong with that, which is answered only if the key exists.
    pub extent: Result<Extent, Rejection>,
}

/// BITOP operator destination key [key …]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitOp {
    /// AND, OR, XOR or NOT.
    pub operator: Operator,
    /// What becomes the result, without a time to live.
    pub destination: Bytes,
    /// What is combined.
    pub sources: Vec<Bytes>,
}

pub(in crate::command) fn getbit(operands: &[Bytes]) -> Result<GetBit, Rejection> {
    let [key, bit] = operands else {
        return Err(wrong_arity("getbit"));
    };
    Ok(GetBit {
        key: key.clone(),
        offset: offset(bit)?,
    })
}

pub(in crate::command) fn setbit(operands: &[Bytes]) -> Result<SetBit, Rejection> {
    let [key, at, bit] = operands else {
        return Err(wrong_arity("setbit"));
    };
    let offset = offset(at)?;
    let bit = match integer(bit) {
        Some(0) => false,
        Some(1) => true,
        _ => return reject("ERR bit is not an integer or out of range"),
    };
    Ok(SetBit {
        key: key.clone(),
        offset,
        bit,
    })
}

pub(in crate::command) fn bitcount(operands: &[Bytes]) -> Result<BitCount, Rejection> {
    let [key, range @ ..] = operands else {
        return Err(wrong_arity("bitcount"));
    };
    Ok(BitCount {
        key: key.clone(),
        range: count_range(range),
    })
}

fn count_range(words: &[Bytes]) -> Result<Option<Range>, Rejection> {
    let (start, end, unit) = match words {
        [] => return Ok(None),
        [start, end] => (start, end, None),
        [start, end, unit] => (start, end, Some(unit)),
        _ => return syntax_error(),
    };
    let mut range = Range {
        start: integer_or_reject(start)?,
        end: integer_or_reject(end)?,
        unit: Unit::Byte,
    };
    // Redis answers 0 to such a range before it looks at the unit.
    if !range.is_backwards() {
        range.unit = unit.map_or(Ok(Unit::Byte), unit_named)?;
    }
    Ok(Some(range))
}

pub(in crate::command) fn bitpos(operands: &[Bytes]) -> Result<BitPos, Rejection> {
    let [key, bit, extent @ ..] = operands else {
        return Err(wrong_arity("bitpos"));
    };
    let bit = match integer_or_reject(bit)? {
        0 => false,
        1 => true,
        _ => return reject("ERR The bit argument must be 1 or 0."),
    };
    Ok(BitPos {
        key: key.clone(),
        bit,
        extent: position_extent(extent),
    })
}

fn position_extent(words: &[Bytes]) -> Result<Extent, Rejection> {
    let (start, end, unit) = match words {
        [] => return Ok(Extent::WHOLE),
        [start] => return Ok(Extent::From(integer_or_reject(start)?)),
        [start, end] => (start, end, None),
        [start, end, unit] => (start, end, Some(unit)),
        _ => return syntax_error(),
    };
    // The unit before the end: the order in which Redis notices mistakes.
    let start = integer_or_reject(start)?;
    let unit = unit.map_or(Ok(Unit::Byte), unit_named)?;
    let end = integer_or_reject(end)?;
    Ok(Extent::Range(Range { start, end, unit }))
}

fn unit_named(word: &Bytes) -> Result<Unit, Rejection> {
    match word {
        word if is(word, "bit") => Ok(Unit::Bit),
        word if is(word, "byte") => Ok(Unit::Byte),
        _ => syntax_error(),
    }
}

pub(in crate::command) fn bitop(operands: &[Bytes]) -> Result<BitOp, Rejection> {
    let [operator, destination, sources @ ..] = operands else {
        return Err(wrong_arity("bitop"));
    };
    let operator = match operator {
        word if is(word, "and") => Operator::And,
        word if is(word, "or") => Operator::Or,
        word if is(word, "xor") => Operator::Xor,
        word if is(word, "not") => Operator::Not,
        _ => return syntax_error(),
    };
    if operator == Operator::Not && sources.len() != 1 {
        return reject("ERR BITOP NOT must be called with a single source key.");
    }
    Ok(BitOp {
        operator,
        destination: destination.clone(),
        sources: sources.to_vec(),
    })
}

pub(super) fn offset(word: &[u8]) -> Result<u64, Rejection> {
    checked_offset(integer(word))
}

pub(super) fn checked_offset(offset: Option<i64>) -> Result<u64, Rejection> {
    offset
        .filter(|offset| (0..OFFSET_END).contains(offset))
        .and_then(|offset| u64::try_from(offset).ok())
        .ok_or_else(|| Rejection("ERR bit offset is not an integer or out of range".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Bytes> {
        line.split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    /// The mistake in a line, or in the part of it that Redis reads only if the key exists.
    fn mistake(line: &str) -> Option<String> {
        let words = words(line);
        let (name, operands) = words.split_first().unwrap();
        let parsed = match &name[..] {
            b"getbit" => getbit(operands).map(drop),
            b"setbit" => setbit(operands).map(drop),
            b"bitcount" => bitcount(operands).and_then(|parsed| parsed.range.map(drop)),
            b"bitpos" => bitpos(operands).and_then(|parsed| parsed.extent.map(drop)),
            b"bitop" => bitop(operands).map(drop),
            other => panic!("{other:?}"),
        };
        parsed.err().map(|rejection| rejection.0)
    }

    const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
    const NOT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
    const NOT_BIT: &str = "ERR bit is not an integer or out of range";
    const SYNTAX: &str = "ERR syntax error";

    /// Redis 7.0.15, after SET k abc.
    #[test]
    fn mistakes_are_those_of_redis() {
        for (line, expected) in [
            ("getbit k 4294967295", None),
            ("getbit k 4294967296", Some(NOT_OFFSET)),
            ("getbit k -1", Some(NOT_OFFSET)),
            ("getbit k #1", Some(NOT_OFFSET)),
            ("setbit k x x", Some(NOT_OFFSET)),
            ("setbit k 1 x", Some(NOT_BIT)),
            ("setbit k 1 2", Some(NOT_BIT)),
            ("setbit k 1 -1", Some(NOT_BIT)),
            ("setbit k 1 1", None),
            ("bitcount k", None),
            ("bitcount k 1", Some(SYNTAX)),
            ("bitcount k x y foo", Some(NOT_INTEGER)),
            ("bitcount k 0 y foo", Some(NOT_INTEGER)),
            ("bitcount k 0 -1 foo", Some(SYNTAX)),
            ("bitcount k -1 -2 foo", None),
            ("bitcount k 0 -1 bit x", Some(SYNTAX)),
            ("bitpos k x", Some(NOT_INTEGER)),
            ("bitpos k 2", Some("ERR The bit argument must be 1 or 0.")),
            ("bitpos k 2 x", Some("ERR The bit argument must be 1 or 0.")),
            ("bitpos k 1 x", Some(NOT_INTEGER)),
            ("bitpos k 1 0 x foo", Some(SYNTAX)),
            ("bitpos k 1 0 x bit", Some(NOT_INTEGER)),
            ("bitpos k 1 0 1 bit x", Some(SYNTAX)),
            ("bitpos k 1 0 1 BIT", None),
            ("bitop nor d a", Some(SYNTAX)),
            (
                "bitop not d a b",
                Some("ERR BITOP NOT must be called with a single source key."),
            ),
            ("bitop AND d a b", None),
        ] {
            assert_eq!(mistake(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn units_and_ends_of_ranges_are_optional() {
        let range = |start, end, unit| Range { start, end, unit };
        let extent = |line| bitpos(&words(line)).unwrap().extent.unwrap();
        assert_eq!(extent("k 1"), Extent::WHOLE);
        assert_eq!(extent("k 1 -2"), Extent::From(-2));
        let bytes = range(1, -1, Unit::Byte);
        assert_eq!(extent("k 1 1 -1"), Extent::Range(bytes));
        let bits = range(1, -1, Unit::Bit);
        assert_eq!(extent("k 1 1 -1 Bit"), Extent::Range(bits));
        let counted = |line| bitcount(&words(line)).unwrap().range.unwrap();
        assert_eq!(counted("k"), None);
        assert_eq!(counted("k 1 -1 byte"), Some(bytes));
        assert_eq!(counted("k 1 -1 BIT"), Some(bits));
    }
}
