//! Finding out which keys others have locked.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::stored::stored_key;
use super::{Failure, PostgresShard, statements};

/// A row that somebody inserts can't be seen before it is committed: only waiting for it tells that
/// it is there. So long, which is much for a server that has nothing to wait for.
const BEGIN: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = 10";

/// How long it is looked for single keys among those without a row. The rest is taken for free.
const SINGLE_KEYS_MAX: Duration = Duration::from_secs(1);

impl PostgresShard {
    /// Those of `keys` that others have locked at this moment. Waits for who has locked the table.
    pub(in crate::shard) async fn locked(&self, keys: &[Bytes]) -> Result<Vec<Bytes>, Failure> {
        let by_stored: BTreeMap<Vec<u8>, &Bytes> = keys
            .iter()
            .map(|key| (stored_key(key).into_owned(), key))
            .collect();
        let stored: Vec<&[u8]> = by_stored.keys().map(AsRef::as_ref).collect();
        let locked = patiently!(
            self,
            self.on_connection(async |connection| {
                let (free, present) = look(connection, &stored).await?;
                let is_absent = |key: &&[u8]| !present.contains(*key) && !free.contains(*key);
                let absent: Vec<&[u8]> = stored.iter().copied().filter(is_absent).collect();
                let mut locked: Vec<Vec<u8>> = present.difference(&free).cloned().collect();
                if let [key] = absent[..] {
                    if is_inserted(connection, &[key]).await? {
                        locked.push(key.to_vec());
                    }
                } else if !absent.is_empty() && is_inserted(connection, &absent).await? {
                    let begun = Instant::now();
                    for key in absent {
                        if begun.elapsed() < SINGLE_KEYS_MAX
                            && is_inserted(connection, &[key]).await?
                        {
                            locked.push(key.to_vec());
                        }
                    }
                }
                Ok(locked)
            })
            .await
        )?;
        Ok(locked
            .iter()
            .filter_map(|stored| by_stored.get(stored).map(|key| Bytes::clone(key)))
            .collect())
    }
}

/// Which of the keys have a row that is not locked, and which have one at all.
async fn look(
    connection: &ClientWrapper,
    keys: &[&[u8]],
) -> Result<(HashSet<Vec<u8>>, HashSet<Vec<u8>>), Error> {
    let free = connection.prepare_cached(statements::FREE).await?;
    let present = connection.prepare_cached(statements::PRESENT).await?;
    let parameters: [&(dyn ToSql + Sync); 1] = [&keys];
    let (begun, free, present, ended) = tokio::join!(
        biased;
        connection.batch_execute(statements::BEGIN_TO_WRITE),
        connection.query(&free, &parameters),
        connection.query(&present, &parameters),
        connection.batch_execute("ROLLBACK"),
    );
    begun?;
    let (free, present) = (free?, present?);
    ended?;
    Ok((keys_in(&free)?, keys_in(&present)?))
}

fn keys_in(rows: &[Row]) -> Result<HashSet<Vec<u8>>, Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Whether somebody inserts one of the keys.
async fn is_inserted(connection: &ClientWrapper, keys: &[&[u8]]) -> Result<bool, Error> {
    let reserve = connection
        .prepare_cached(statements::LOCK_OR_RESERVE)
        .await?;
    let parameters: [&(dyn ToSql + Sync); 1] = [&keys];
    let (begun, reserved, ended) = tokio::join!(
        biased;
        connection.batch_execute(BEGIN),
        connection.execute(&reserve, &parameters),
        connection.batch_execute("ROLLBACK"),
    );
    begun?;
    ended?;
    match reserved {
        Ok(_) => Ok(false),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(true),
        Err(error) => Err(error),
    }
}
