//! Start-up: one session of a shard database, holding the locks under which proxies agree on who
//! the database is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Client, Row as PgRow};

use super::failure::classify;
use super::pool::Object;
use super::{schema, statements};
use crate::shard::Failure;
use crate::shard::identity::Identity;

/// A session that is being looked at. Its locks end with it.
pub(in crate::shard) struct Claim {
    connection: Option<Object>,
    query_timeout: Duration,
    /// Something failed: the session may be within a transaction, and is not given back.
    is_broken: AtomicBool,
}

impl Claim {
    pub(super) fn new(connection: Object, query_timeout: Duration) -> Self {
        Self {
            connection: Some(connection),
            query_timeout,
            is_broken: AtomicBool::new(false),
        }
    }

    fn session(&self) -> Result<&ClientWrapper, Failure> {
        self.connection
            .as_deref()
            .map(|connection| &**connection)
            .ok_or_else(|| Failure::Unreachable("the session has ended".into()))
    }

    /// Marks the database as this process's `mark`. False if another session of this process has
    /// done so: then both are in one database.
    pub(in crate::shard) async fn mark(&self, mark: i64) -> Result<bool, Failure> {
        self.query(statements::MARK, &[&mark])
            .await?
            .try_get(0)
            .map_err(|error| classify(&error))
    }

    /// Waits for the start-up lock. Also warns if the server promises less than durability.
    pub(in crate::shard) async fn lock(&self, shard: &str) -> Result<(), Failure> {
        let server = self.query(statements::SERVER, &[]).await?;
        refuse_standby(&server)?;
        for (column, setting) in [
            (2, "fsync"),
            (3, "full_page_writes"),
            (4, "synchronous_commit"),
        ] {
            let value: &str = server.try_get(column).map_err(|error| classify(&error))?;
            if value == "off" {
                tracing::warn!(
                    shard,
                    setting,
                    "the server has this setting off: an acknowledged write may be lost when it crashes"
                );
            }
        }
        let session = self.session()?;
        self.bounded(session.batch_execute(statements::LOCK_START))
            .await
    }

    /// Who the database says it is; `None` if it is blank.
    pub(in crate::shard) async fn identity(&self) -> Result<Option<Identity>, Failure> {
        let session = self.session()?;
        self.bounded(read_identity(session)).await
    }

    /// Makes or upgrades the tables and writes who this is, in one transaction. Does nothing where
    /// that has been done: the locks that it takes would be in the way of the other proxies.
    pub(in crate::shard) async fn establish(
        &self,
        identity: &Identity,
        found: Option<&Identity>,
    ) -> Result<(), Failure> {
        if found == Some(identity) {
            return Ok(());
        }
        let upgrade = found.map_or("", |found| schema::upgrade(found.schema_version));
        let session = self.session()?;
        if let Some(found) = found
            && found.schema_version < identity.schema_version
        {
            tracing::info!(
                from_version = found.schema_version,
                to_version = identity.schema_version,
                "upgrading the tables; on large ones an index takes a while (some seconds for a million rows)"
            );
        }
        // However long it takes, once: the index of a table of any size.
        self.watched(async {
            session
                .batch_execute("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
                .await?;
            session.batch_execute(upgrade).await?;
            session.batch_execute(schema::TABLES).await?;
            session.batch_execute(schema::TRIGGERS).await?;
            session
                .execute(
                    statements::WRITE_IDENTITY,
                    &[
                        &identity.deployment,
                        &identity.shard_id,
                        &identity.num_shards,
                        &identity.routing,
                        &identity.schema_version,
                    ],
                )
                .await?;
            session.batch_execute("COMMIT").await
        })
        .await
    }

    async fn watched<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        work.await.map_err(|error| {
            self.is_broken.store(true, Ordering::Relaxed);
            classify(&error)
        })
    }

    /// Gives the locks and the session back.
    pub(in crate::shard) async fn release(mut self) {
        let unlocked = self.query(statements::UNLOCK_ALL, &[]).await.is_ok();
        if unlocked && !self.is_broken.load(Ordering::Relaxed) {
            drop(self.connection.take());
        }
    }

    async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<PgRow, Failure> {
        let session = self.session()?;
        self.bounded(session.query_one(sql, parameters)).await
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let work = self.watched(work);
        match tokio::time::timeout(self.query_timeout + crate::shard::GRACE, work).await {
            Ok(result) => result,
            Err(_elapsed) => {
                self.is_broken.store(true, Ordering::Relaxed);
                Err(super::no_answer(self.query_timeout))
            }
        }
    }
}

/// A claim that was not released is within a transaction, or holds locks: its session must end.
impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

pub(super) async fn read_identity(
    session: &Client,
) -> Result<Option<Identity>, tokio_postgres::Error> {
    if !session
        .query_one(statements::HAS_IDENTITY, &[])
        .await?
        .try_get::<_, bool>(0)?
    {
        return Ok(None);
    }
    let Some(row) = session.query_opt(statements::IDENTITY, &[]).await? else {
        return Ok(None);
    };
    Ok(Some(Identity {
        deployment: row.try_get(0)?,
        shard_id: row.try_get(1)?,
        num_shards: row.try_get(2)?,
        routing: row.try_get(3)?,
        schema_version: row.try_get(4)?,
    }))
}

/// Reads have to be on the primary: a standby lags, and takes no writes.
pub(super) fn refuse_standby(server: &PgRow) -> Result<(), Failure> {
    match server.try_get::<_, bool>(0) {
        Ok(false) => Ok(()),
        Ok(true) => Err(is_standby()),
        Err(error) => Err(classify(&error)),
    }
}

pub(super) fn is_standby() -> Failure {
    Failure::Unreachable("the server is a standby in recovery, not a primary".into())
}

pub(super) fn is_foreign(found: &Identity) -> Failure {
    Failure::Foreign(format!(
        "the database is now that of shard_{} of {} in deployment {}, with tables of version {}; it is not the one that was here before",
        found.shard_id, found.num_shards, found.deployment, found.schema_version
    ))
}

pub(super) fn is_blank() -> Failure {
    Failure::Foreign("the database is now empty; it is not the one that was here before".into())
}
