//! Going through the keys of a shard in PostgreSQL: in the order of the first 48 bits of their SHA-256,
//! for which there is an index. A position by the key itself would not fit into a cursor.

use std::time::Instant;

use bytes::Bytes;
use tokio_postgres::Row as PgRow;
use tokio_postgres::types::Type;

use super::{Failure, PostgresShard, misread};
use crate::shard::scan::{Position, Stretch};

/// Sent unprepared, and so planned with its numbers each time: a plan that was made for any numbers
/// on an empty table, and kept, may read and sort the whole of a large one.
///
/// With ties: what shares a place can't be told apart by a position.
const SCAN: &str = "
SELECT substr(sha256(key), 1, 6), coalesce(long_key, key) FROM respgres_rows
WHERE substr(sha256(key), 1, 6) >= $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY substr(sha256(key), 1, 6) FETCH FIRST $2 ROWS WITH TIES";

/// Bytes of a position.
const PLACE_BYTES: usize = Position::BITS as usize / 8;

impl PostgresShard {
    pub(in crate::shard) async fn scan(
        &self,
        from: Position,
        limit: u32,
    ) -> Result<Stretch, Failure> {
        let place = from.bits().to_be_bytes();
        let place = &place[place.len() - PLACE_BYTES..];
        let rows = patiently!(
            self,
            self.on_connection(async |connection| {
                let limit = i64::from(limit);
                let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                    [(&place, Type::BYTEA), (&limit, Type::INT8)];
                connection.query_typed(SCAN, &parameters).await
            })
            .await
        )?;
        let found = rows.iter().map(place_and_key);
        Ok(Stretch::of(found.collect::<Result<_, _>>()?, limit))
    }

    /// The first key from a random position on, or else the very first one.
    pub(in crate::shard) async fn random_key(&self) -> Result<Option<Bytes>, Failure> {
        let anywhere = Position::from_bits(fastrand::u64(..) >> (u64::BITS - Position::BITS));
        for from in [anywhere.unwrap_or(Position::START), Position::START] {
            let found = self.scan(from, 1).await?;
            if let Some(key) = found.keys.into_iter().next() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

fn place_and_key(row: &PgRow) -> Result<(Position, Bytes), Failure> {
    let place: &[u8] = row.try_get(0).map_err(misread)?;
    let key: &[u8] = row.try_get(1).map_err(misread)?;
    let bits = place
        .iter()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    let place = Position::from_bits(bits)
        .ok_or_else(|| Failure::Refused(format!("a hash of {} bytes", place.len())))?;
    Ok((place, Bytes::copy_from_slice(key)))
}
