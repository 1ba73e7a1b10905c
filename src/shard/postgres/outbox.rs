//! The outbox of a shard in PostgreSQL, which the triggers of `schema.rs` fill.

use bytes::Bytes;

use super::{Failure, PostgresShard, misread};
use crate::shard::outbox::Note;

const NOTES: &str = "SELECT id, key FROM respgres_outbox ORDER BY id LIMIT $1";

const DONE: &str = "DELETE FROM respgres_outbox WHERE id = ANY($1::bigint[])";

impl PostgresShard {
    pub(in crate::shard) async fn outbox(&self, limit: u32) -> Result<Vec<Note>, Failure> {
        let rows = self
            .on_connection(async |connection| {
                let notes = connection.prepare_cached(NOTES).await?;
                connection.query(&notes, &[&i64::from(limit)]).await
            })
            .await?;
        rows.iter()
            .map(|row| {
                let key: Option<&[u8]> = row.try_get(1)?;
                Ok(Note {
                    id: row.try_get(0)?,
                    key: key.map(Bytes::copy_from_slice),
                })
            })
            .collect::<Result<_, _>>()
            .map_err(misread)
    }

    pub(in crate::shard) async fn outbox_done(&self, ids: &[i64]) -> Result<(), Failure> {
        // In one order, so that two proxies that have the same notes can't deadlock.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        self.on_connection(async |connection| {
            let done = connection.prepare_cached(DONE).await?;
            connection.execute(&done, &[&ids]).await
        })
        .await
        .map(drop)
    }
}
