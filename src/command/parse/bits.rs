//! SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP, BITFIELD.
//!
//! Redis looks at the ranges of BITCOUNT and BITPOS only when the key exists: what is wrong with one
//! is kept beside the command until that is known.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Parsed, integer, integer_or_reject, is, reject, syntax_error};
use crate::command::bits::{Extent, FieldOperation, FieldType, Operator, Overflow, Range, Unit};
use crate::command::edit::{Edit, OFFSET};
use crate::command::{Command, Many, Mutation, Query, Rejection, wrong_arity};

pub(in crate::command) fn getbit(operands: &[Bytes], value_max: usize) -> Parsed {
    let [key, bit] = operands else {
        return Err(wrong_arity("getbit"));
    };
    let query = Query::Bit(offset(bit, value_max)?);
    Ok(Command::Read(smallvec![key.clone()], query))
}

pub(in crate::command) fn setbit(operands: &[Bytes], value_max: usize) -> Parsed {
    let [key, at, bit] = operands else {
        return Err(wrong_arity("setbit"));
    };
    let offset = offset(at, value_max)?;
    let bit = match integer(bit) {
        Some(0) => false,
        Some(1) => true,
        _ => return reject("ERR bit is not an integer or out of range"),
    };
    Ok(Command::Write(
        key.clone(),
        Mutation::Edit(Edit::SetBit { offset, bit }),
    ))
}

pub(in crate::command) fn bitcount(operands: &[Bytes]) -> Parsed {
    let [key, range @ ..] = operands else {
        return Err(wrong_arity("bitcount"));
    };
    let query = Query::BitCount(count_range(range));
    Ok(Command::Read(smallvec![key.clone()], query))
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

pub(in crate::command) fn bitpos(operands: &[Bytes]) -> Parsed {
    let [key, bit, extent @ ..] = operands else {
        return Err(wrong_arity("bitpos"));
    };
    let bit = match integer_or_reject(bit)? {
        0 => false,
        1 => true,
        _ => return reject("ERR The bit argument must be 1 or 0."),
    };
    let extent = position_extent(extent);
    let query = Query::BitPosition { bit, extent };
    Ok(Command::Read(smallvec![key.clone()], query))
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

pub(in crate::command) fn bitop(operands: &[Bytes]) -> Parsed {
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
    Ok(Command::Together(Many::Combine {
        operator,
        to: destination.clone(),
        from: sources.to_vec(),
    }))
}

pub(in crate::command) fn bitfield(operands: &[Bytes], value_max: usize) -> Parsed {
    let [key, words @ ..] = operands else {
        return Err(wrong_arity("bitfield"));
    };
    let operations = field_operations(words, value_max)?;
    if operations.iter().any(FieldOperation::writes) {
        return Ok(Command::Write(
            key.clone(),
            Mutation::Edit(Edit::Fields(operations)),
        ));
    }
    let query = Query::Fields(operations);
    Ok(Command::Read(smallvec![key.clone()], query))
}

pub(in crate::command) fn bitfield_ro(operands: &[Bytes], value_max: usize) -> Parsed {
    let [key, words @ ..] = operands else {
        return Err(wrong_arity("bitfield_ro"));
    };
    let operations = field_operations(words, value_max)?;
    if operations.iter().any(FieldOperation::writes) {
        return reject("ERR BITFIELD_RO only supports the GET subcommand");
    }
    let query = Query::Fields(operations);
    Ok(Command::Read(smallvec![key.clone()], query))
}

fn field_operations(
    mut words: &[Bytes],
    value_max: usize,
) -> Result<Vec<FieldOperation>, Rejection> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    loop {
        words = match words {
            [] => return Ok(operations),
            [name, kind, at, rest @ ..] if is(name, "get") => {
                let (kind, offset) = place(kind, at, value_max)?;
                operations.push(FieldOperation::Get { kind, offset });
                rest
            }
            [name, kind, at, value, rest @ ..] if is(name, "set") => {
                let (kind, offset) = place(kind, at, value_max)?;
                operations.push(FieldOperation::Set {
                    kind,
                    offset,
                    value: integer_or_reject(value)?,
                    overflow,
                });
                rest
            }
            [name, kind, at, by, rest @ ..] if is(name, "incrby") => {
                let (kind, offset) = place(kind, at, value_max)?;
                operations.push(FieldOperation::Increment {
                    kind,
                    offset,
                    by: integer_or_reject(by)?,
                    overflow,
                });
                rest
            }
            [name, named, rest @ ..] if is(name, "overflow") => {
                overflow = overflow_named(named)?;
                rest
            }
            _ => return syntax_error(),
        };
    }
}

fn overflow_named(word: &Bytes) -> Result<Overflow, Rejection> {
    match word {
        word if is(word, "wrap") => Ok(Overflow::Wrap),
        word if is(word, "sat") => Ok(Overflow::Sat),
        word if is(word, "fail") => Ok(Overflow::Fail),
        _ => reject("ERR Invalid OVERFLOW type specified"),
    }
}

/// The type and the offset of a field; an offset `#n` is the n-th field of that type.
fn place(kind: &Bytes, at: &Bytes, value_max: usize) -> Result<(FieldType, u64), Rejection> {
    let kind = field_type(kind)?;
    let offset = match at.strip_prefix(b"#") {
        // Redis multiplies without a look at overflow, so that some far-off fields are the first.
        Some(nth) => {
            let first = integer(nth).map(|nth| nth.wrapping_mul(i64::from(kind.bits())));
            checked_offset(first, value_max)?
        }
        None => offset(at, value_max)?,
    };
    Ok((kind, offset))
}

fn field_type(word: &Bytes) -> Result<FieldType, Rejection> {
    let (signed, bits) = match word.split_first() {
        Some((b'i', bits)) => (true, integer(bits)),
        Some((b'u', bits)) => (false, integer(bits)),
        _ => (true, None),
    };
    bits.and_then(|bits| FieldType::new(signed, u8::try_from(bits).ok()?))
        .ok_or_else(|| {
            Rejection::late(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is.",
            )
        })
}

fn offset(word: &[u8], value_max: usize) -> Result<u64, Rejection> {
    checked_offset(integer(word), value_max)
}

fn checked_offset(offset: Option<i64>, value_max: usize) -> Result<u64, Rejection> {
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < value_max as u64)
        .ok_or_else(|| Rejection::late(OFFSET))
}
