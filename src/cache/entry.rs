//! What an entry holds, and how it is written in Redis.
//!
//! ```text
//! value   'V' stamp:8                                                            known to be absent
//!         'V' stamp:8 1 created_at:8 updated_at:8 expires_at:8 bytes…            a row
//! lease   'L' token:16                                                           nothing noted
//!         'L' token:16 stamp:8                                                   another reader's stamp noted
//! ```
//!
//! Integers are little-endian, times are microseconds, and an `expires_at` of `i64::MIN` is never.
//! The token and the stamp stand where the script of [`super::redis`] looks for them.

use bytes::{Buf, BufMut, Bytes};

use crate::cache::Token;
use crate::command::{Row, Stamp, Timestamp};

const VALUE: u8 = b'V';
const LEASE: u8 = b'L';
/// Follows the stamp of a row; nothing follows that of an absent one.
const PRESENT: u8 = 1;
const NEVER: i64 = i64::MIN;

/// Bytes of a row's entry in front of its value.
pub(super) const ROW_HEAD_BYTES: usize = 1 + 8 + 1 + 3 * 8;
/// Bytes of a lease without a noted stamp.
pub(super) const LEASE_BYTES: usize = 1 + 16;

/// What the cache knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    /// The row.
    Row(Row),
    /// There is none.
    Absent,
}

impl Cached {
    /// The stamp of what is known; an absent row has one too.
    pub fn stamp(&self) -> Stamp {
        match self {
            Cached::Row(row) => row.stamp,
            Cached::Absent => Stamp::ABSENT,
        }
    }
}

/// An entry that is not absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A value.
    Value(Cached),
    /// A lease; whose, and what it has noted, only the script asks.
    Lease,
}

/// The entry of a value.
pub(super) fn encode_value(row: Option<&Row>) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROW_HEAD_BYTES + row.map_or(0, |row| row.value.len()));
    out.put_u8(VALUE);
    match row {
        None => out.put_u64_le(Stamp::ABSENT.bits()),
        Some(row) => {
            out.put_u64_le(row.stamp.bits());
            out.put_u8(PRESENT);
            out.put_i64_le(row.created_at.micros());
            out.put_i64_le(row.updated_at.micros());
            out.put_i64_le(row.expires_at.map_or(NEVER, Timestamp::micros));
            out.put_slice(&row.value);
        }
    }
    out
}

/// The entry of a new lease.
pub(super) fn encode_lease(token: Token) -> [u8; LEASE_BYTES] {
    let mut out = [LEASE; LEASE_BYTES];
    out[1..].copy_from_slice(&encode_token(token));
    out
}

/// A token as it stands in a lease.
fn encode_token(token: Token) -> [u8; 16] {
    token.0.to_le_bytes()
}

/// A stamp as it stands in a value and in a lease.
pub(super) fn encode_stamp(stamp: Stamp) -> [u8; 8] {
    stamp.bits().to_le_bytes()
}

/// Reads an entry; `None` for what no step writes. The value is a part of `bytes`.
pub(super) fn decode(bytes: Bytes) -> Option<Entry> {
    let (&kind, rest) = bytes.split_first()?;
    match kind {
        LEASE if matches!(rest.len(), 16 | 24) => Some(Entry::Lease),
        VALUE => decode_value(bytes).map(Entry::Value),
        _ => None,
    }
}

fn decode_value(mut bytes: Bytes) -> Option<Cached> {
    let (stamp, rest) = bytes.get(1..)?.split_first_chunk::<8>()?;
    let stamp = Stamp::from_bits(u64::from_le_bytes(*stamp));
    // A row with the stamp of absence could not be told from it by a SEEN, nor the reverse.
    let Some((&presence, rest)) = rest.split_first() else {
        return (stamp == Stamp::ABSENT).then_some(Cached::Absent);
    };
    if presence != PRESENT || stamp == Stamp::ABSENT {
        return None;
    }
    let (created_at, rest) = split_i64(rest)?;
    let (updated_at, rest) = split_i64(rest)?;
    let (expires_at, _value) = split_i64(rest)?;
    bytes.advance(ROW_HEAD_BYTES);
    Some(Cached::Row(Row {
        value: bytes,
        created_at: Timestamp::from_micros(created_at),
        updated_at: Timestamp::from_micros(updated_at),
        expires_at: (expires_at != NEVER).then(|| Timestamp::from_micros(expires_at)),
        stamp,
    }))
}

fn split_i64(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((i64::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &'static [u8], expires_at: Option<i64>) -> Row {
        Row {
            value: Bytes::from_static(value),
            created_at: Timestamp::from_micros(-1),
            updated_at: Timestamp::from_micros(1_700_000_000_000_000),
            expires_at: expires_at.map(Timestamp::from_micros),
            stamp: Stamp::from_bits(0x0102_0304_0506_0708),
        }
    }

    fn decoded(bytes: &[u8]) -> Option<Entry> {
        decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn values_come_back_as_they_were() {
        for row in [
            row(b"", None),
            row(b"value", None),
            row(b"\0\r\n\xff", Some(0)),
            row(b"V", Some(-5)),
            row(&[7; 1000], Some(i64::MAX)),
        ] {
            let bytes = encode_value(Some(&row));
            assert_eq!(bytes.len(), ROW_HEAD_BYTES + row.value.len());
            assert_eq!(
                decoded(&bytes),
                Some(Entry::Value(Cached::Row(row.clone())))
            );
        }
        assert_eq!(
            decoded(&encode_value(None)),
            Some(Entry::Value(Cached::Absent))
        );
    }

    #[test]
    fn the_script_finds_token_and_stamp_where_it_looks() {
        let value = encode_value(Some(&row(b"x", None)));
        assert_eq!(value[0], b'V');
        assert_eq!(value[1..9], [8, 7, 6, 5, 4, 3, 2, 1]);

        let token = Token(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
        let mut lease = encode_lease(token).to_vec();
        assert_eq!(lease[0], b'L');
        assert_eq!(lease[1..], (0..16).collect::<Vec<u8>>());
        assert_eq!(decoded(&lease), Some(Entry::Lease));
        lease.extend(encode_stamp(Stamp::from_bits(3)));
        assert_eq!(decoded(&lease), Some(Entry::Lease));
    }

    #[test]
    fn what_no_step_writes_is_no_entry() {
        let value = encode_value(Some(&row(b"", None)));
        for len in (0..value.len()).filter(|len| *len != 9) {
            assert_eq!(decoded(&value[..len]), None, "{len} bytes of a value");
        }
        assert_eq!(decoded(&value[..9]), None, "absent, with a row's stamp");
        for presence in [0, 2, 255] {
            let mut bytes = value.clone();
            bytes[9] = presence;
            assert_eq!(decoded(&bytes), None, "presence {presence}");
        }
        let mut bytes = value;
        bytes[1..9].fill(0);
        assert_eq!(decoded(&bytes), None, "a row with the stamp of absence");

        let mut lease = encode_lease(Token(1)).to_vec();
        lease.extend([0; 9]);
        for len in (1..lease.len() + 1).filter(|len| ![17, 25].contains(len)) {
            assert_eq!(decoded(&lease[..len]), None, "{len} bytes of a lease");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let mut bytes: Vec<u8> = (0..random.usize(..48)).map(|_| random.u8(..)).collect();
            if let Some(kind) = bytes.first_mut() {
                *kind = *random.choice([b'V', b'L', 0].iter()).unwrap();
            }
            if let Some(presence) = bytes.get_mut(9) {
                *presence &= 1;
            }
            decoded(&bytes);
        }
    }
}
