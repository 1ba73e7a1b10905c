//! How keys and times are stored in PostgreSQL.

use std::borrow::Cow;
use std::error::Error;

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::command::Timestamp;

/// Longest key that is its own primary key. A B-tree entry has at most 2,704 bytes.
const KEY_IN_INDEX_MAX: usize = 1024;

/// What stands in the column `key` for `key`: the key itself, or for a long one its beginning and
/// its SHA-256. The latter is longer than any of the former, so that the two can't meet.
pub(super) fn stored_key(key: &[u8]) -> Cow<'_, [u8]> {
    if key.len() <= KEY_IN_INDEX_MAX {
        return Cow::Borrowed(key);
    }
    let mut stored = key[..KEY_IN_INDEX_MAX].to_vec();
    stored.extend_from_slice(&Sha256::digest(key));
    Cow::Owned(stored)
}

/// What stands in the column `long_key`: the whole key, if `key` does not hold it.
pub(super) fn long_key(key: &[u8]) -> Option<&[u8]> {
    (key.len() > KEY_IN_INDEX_MAX).then_some(key)
}

/// A `timestamptz`: microseconds from 2000-01-01 on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct PgTimestamp(pub(super) Timestamp);

/// 2000-01-01 in microseconds since the Unix epoch.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl<'a> FromSql<'a> for PgTimestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        // Saturates for 'infinity', which is the largest number.
        Ok(Self(Timestamp::from_micros(
            micros.saturating_add(POSTGRES_EPOCH_MICROS),
        )))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for PgTimestamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // The earliest timestamp of PostgreSQL is in 4713 BC; before that is '-infinity'.
        out.put_i64(self.0.micros().saturating_sub(POSTGRES_EPOCH_MICROS));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_stored_as_it_is() {
        for length in [0, 1, 512, 1024] {
            let key = vec![7; length];
            assert_eq!(stored_key(&key), key);
            assert_eq!(long_key(&key), None);
        }
    }

    #[test]
    fn long_keys_stay_apart_and_fit_the_index() {
        let (one, mut other) = (vec![7; 65_536], vec![7; 65_536]);
        other[65_535] = 8;
        assert_ne!(stored_key(&one), stored_key(&other));
        assert_eq!(stored_key(&one).len(), 1056);
        assert_eq!(long_key(&one), Some(&one[..]));
    }
}
