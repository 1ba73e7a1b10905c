//! Going through the keys of a shard in SQLite: in the order of their rowids, which an upsert keeps.
//!
//! VACUUM may number the rows anew; who does that while the proxy is down ends the scans that were
//! under way.

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{SqliteShard, now, run};
use crate::shard::Failure;
use crate::shard::scan::{Position, Stretch};

/// The plus keeps the index on the expiry out of it: the order is that of the table.
const SCAN: &str = "
SELECT rowid, key FROM respgres_kv
WHERE rowid >= ?1 AND (+expires_at IS NULL OR +expires_at > ?2) ORDER BY rowid LIMIT ?3";

const LAST: &str = "SELECT max(rowid) FROM respgres_kv";

impl SqliteShard {
    pub(in crate::shard) async fn scan(
        &self,
        from: Position,
        limit: u32,
    ) -> Result<Stretch, Failure> {
        run(&self.reader, move |connection| {
            Ok(Stretch::of(scan(connection, from, limit)?, limit))
        })
        .await
    }

    /// The first key from a random rowid on, or else the very first one.
    pub(in crate::shard) async fn random_key(&self) -> Result<Option<Bytes>, Failure> {
        run(&self.reader, |connection| {
            let last = connection.query_row(LAST, [], |row| row.get::<_, Option<i64>>(0))?;
            let last = last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0);
            let anywhere = Position::from_bits(fastrand::u64(0..=last));
            for from in [anywhere.unwrap_or(Position::START), Position::START] {
                if let Some((_, key)) = scan(connection, from, 1)?.into_iter().next() {
                    return Ok(Some(key));
                }
            }
            Ok(None)
        })
        .await
    }
}

fn scan(
    connection: &Connection,
    from: Position,
    limit: u32,
) -> rusqlite::Result<Vec<(Position, Bytes)>> {
    let mut statement = connection.prepare_cached(SCAN)?;
    let rows = statement.query_map(
        // The numbers of rows are given out in order, from 1: they have far fewer bits.
        params![from.bits() as i64, now().micros(), limit],
        |row| {
            let place = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            let place = Position::from_bits(place)
                .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, place as i64))?;
            Ok((place, Bytes::from(row.get::<_, Vec<u8>>(1)?)))
        },
    )?;
    rows.collect()
}
