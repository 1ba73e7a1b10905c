//! BITFIELD and BITFIELD_RO.
#![allow(dead_code)] // Until the table of commands names them.

use bytes::Bytes;

use super::bits::{checked_offset, offset};
use super::{integer, integer_or_reject, is, reject, syntax_error};
use crate::command::bits::{FieldOperation, FieldType, Overflow};
use crate::command::{Rejection, wrong_arity};

/// BITFIELD key [operation …], BITFIELD_RO
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitField {
    /// The key.
    pub key: Bytes,
    /// What is done, in this order.
    pub operations: Vec<FieldOperation>,
}

pub(in crate::command) fn bitfield(operands: &[Bytes]) -> Result<BitField, Rejection> {
    let [key, words @ ..] = operands else {
        return Err(wrong_arity("bitfield"));
    };
    Ok(BitField {
        key: key.clone(),
        operations: field_operations(words)?,
    })
}

pub(in crate::command) fn bitfield_ro(operands: &[Bytes]) -> Result<BitField, Rejection> {
    let [key, words @ ..] = operands else {
        return Err(wrong_arity("bitfield_ro"));
    };
    let operations = field_operations(words)?;
    if operations.iter().any(FieldOperation::writes) {
        return reject("ERR BITFIELD_RO only supports the GET subcommand");
    }
    Ok(BitField {
        key: key.clone(),
        operations,
    })
}

fn field_operations(mut words: &[Bytes]) -> Result<Vec<FieldOperation>, Rejection> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    loop {
        words = match words {
            [] => return Ok(operations),
            [name, kind, at, rest @ ..] if is(name, "get") => {
                let (kind, offset) = place(kind, at)?;
                operations.push(FieldOperation::Get { kind, offset });
                rest
            }
            [name, kind, at, value, rest @ ..] if is(name, "set") => {
                let (kind, offset) = place(kind, at)?;
                operations.push(FieldOperation::Set {
                    kind,
                    offset,
                    value: integer_or_reject(value)?,
                    overflow,
                });
                rest
            }
            [name, kind, at, by, rest @ ..] if is(name, "incrby") => {
                let (kind, offset) = place(kind, at)?;
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
fn place(kind: &Bytes, at: &Bytes) -> Result<(FieldType, u64), Rejection> {
    let kind = field_type(kind)?;
    let offset = match at.strip_prefix(b"#") {
        // Redis multiplies without a look at overflow, so that some far-off fields are the first.
        Some(nth) => {
            checked_offset(integer(nth).map(|nth| nth.wrapping_mul(i64::from(kind.bits()))))?
        }
        None => offset(at)?,
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
            Rejection(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is."
                    .into(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Bytes> {
        line.split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
    const NOT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
    const NOT_TYPE: &str = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
    const SYNTAX: &str = "ERR syntax error";

    /// Redis 7.0.15.
    #[test]
    fn mistakes_are_those_of_redis() {
        for (line, expected) in [
            ("bitfield k", None),
            ("bitfield k get", Some(SYNTAX)),
            ("bitfield k get u8", Some(SYNTAX)),
            ("bitfield k get u64 x", Some(NOT_TYPE)),
            ("bitfield k get U8 0", Some(NOT_TYPE)),
            ("bitfield k get i0 0", Some(NOT_TYPE)),
            ("bitfield k get i264 0", Some(NOT_TYPE)),
            ("bitfield k get i64 x", Some(NOT_OFFSET)),
            ("bitfield k get i64 #-1", Some(NOT_OFFSET)),
            ("bitfield k get u8 #536870911", None),
            ("bitfield k get u8 #536870912", Some(NOT_OFFSET)),
            ("bitfield k set u8 x y", Some(NOT_OFFSET)),
            ("bitfield k set u8 0 y", Some(NOT_INTEGER)),
            ("bitfield k set u8 0", Some(SYNTAX)),
            (
                "bitfield k overflow x foo",
                Some("ERR Invalid OVERFLOW type specified"),
            ),
            ("bitfield k overflow sat foo", Some(SYNTAX)),
            ("bitfield_ro k overflow sat get u8 0", None),
            ("bitfield_ro k set u8 0 x", Some(NOT_INTEGER)),
            ("bitfield_ro k set u8 0 1 get u8", Some(SYNTAX)),
            (
                "bitfield_ro k set u8 0 1",
                Some("ERR BITFIELD_RO only supports the GET subcommand"),
            ),
        ] {
            let parsed = match line.split_once(' ') {
                Some(("bitfield", operands)) => bitfield(&words(operands)),
                Some(("bitfield_ro", operands)) => bitfield_ro(&words(operands)),
                other => panic!("{other:?}"),
            };
            let mistake = parsed.err().map(|rejection| rejection.0);
            assert_eq!(mistake.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn an_overflow_counts_for_what_follows() {
        let line = "k set u8 #2 1 overflow fail incrby i4 5 -2 get u8 3 overflow sat set u3 0 1";
        let u8_type = FieldType::new(false, 8).unwrap();
        let expected = [
            FieldOperation::Set {
                kind: u8_type,
                offset: 16,
                value: 1,
                overflow: Overflow::Wrap,
            },
            FieldOperation::Increment {
                kind: FieldType::new(true, 4).unwrap(),
                offset: 5,
                by: -2,
                overflow: Overflow::Fail,
            },
            FieldOperation::Get {
                kind: u8_type,
                offset: 3,
            },
            FieldOperation::Set {
                kind: FieldType::new(false, 3).unwrap(),
                offset: 0,
                value: 1,
                overflow: Overflow::Sat,
            },
        ];
        assert_eq!(bitfield(&words(line)).unwrap().operations, expected);
    }

    /// Redis 7.0.15, as 2^61 times 8 is 0 in 64 bits: BITFIELD k GET u8 #2305843009213693952.
    #[test]
    fn the_offset_of_a_far_field_wraps() {
        let parsed = bitfield(&words("k get u8 #2305843009213693952")).unwrap();
        let first = FieldOperation::Get {
            kind: FieldType::new(false, 8).unwrap(),
            offset: 0,
        };
        assert_eq!(parsed.operations, [first]);
    }
}
