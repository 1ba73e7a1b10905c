//! Writes past the proxies, which the shard notes in its outbox so that the cache can be told.

use bytes::Bytes;

use super::{Asked, Backend, Shard};
use crate::error::Error;

/// One write past the proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its number in the outbox. Not in the order of the commits: one that comes later may have a
    /// lower number.
    pub id: i64,
    /// The key that was written; `None` is every key.
    pub key: Option<Bytes>,
}

impl Shard {
    /// Notes that have been committed, at most `limit`, those with the lowest numbers first. They
    /// stay until they are [done](Shard::outbox_done), so several proxies may see the same ones.
    ///
    /// There are none in SQLite: nobody writes past the process that has the file.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn outbox(&self, limit: u32) -> Result<Vec<Note>, Error> {
        self.breaker.check(self.id)?;
        let result = match &self.backend {
            Backend::Postgres(backend) => backend.outbox(limit).await,
            Backend::Sqlite(_) => Ok(Vec::new()),
        };
        self.judge(result, Asked::ToRead)
    }

    /// Deletes notes that the cache has been told of. By number, each of them: all up to a number
    /// would take with it those that commit later.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; the notes may be there still, or not.
    pub async fn outbox_done(&self, ids: &[i64]) -> Result<(), Error> {
        self.breaker.check(self.id)?;
        let result = match &self.backend {
            Backend::Postgres(backend) => backend.outbox_done(ids).await,
            Backend::Sqlite(_) => Ok(()),
        };
        // Whether they were deleted or not is the same to everybody: the cache may be told twice.
        self.judge(result, Asked::ToRead)
    }
}
