//! A shard in an SQLite file: the embedded default.
//!
//! One thread writes, as SQLite has one writer anyway; another reads, so that reads do not wait for
//! a commit. `synchronous=FULL` in WAL mode: a commit that was acknowledged survives a power cut.
//!
//! The clock is this process's. The file is locked for it, so no other clock has a say.

mod membership;
mod scan;
mod schema;
mod survey;
mod two_phase;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use super::identity::Identity;
use super::member::MemberId;
use super::orphan::Unfinished;
use super::{Expiring, Failure, Pool, Reading};
use crate::command::{Operation, Outcome, Row, Rows, Stamp, Timestamp};

pub(super) use membership::Membership;
pub(super) use survey::survey;
pub(super) use two_phase::Branch;

/// Jobs that may wait for a thread. Lanes send one batch at a time, so few ever do.
const JOBS_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct SqliteShard {
    member: MemberId,
    value_max: usize,
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
    /// Held for the life of the process: the in-process cache would not see another's writes.
    _lock: File,
}

impl SqliteShard {
    /// Opens or makes the file.
    ///
    /// # Errors
    ///
    /// The text says what is wrong with the path.
    pub(super) fn open(path: &Path, member: MemberId, value_max: usize) -> Result<Self, String> {
        let shown = path.display();
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory).map_err(|error| {
                format!("can't make the directory {}: {error}", directory.display())
            })?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| format!("can't make the lock file for {shown}: {error}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "{shown} is in use by another respgres; one process owns a SQLite shard (stop it, or give this one another DATA_DIR)"
                ));
            }
            Err(TryLockError::Error(error)) => return Err(format!("can't lock {shown}: {error}")),
        }
        let describe = |error: rusqlite::Error| format!("can't open {shown}: {error}");
        let writer = connect(path).map_err(describe)?;
        let reader = connect(path).map_err(describe)?;
        Ok(Self {
            member,
            value_max,
            writer: worker("sqlite-write", writer)?,
            reader: worker("sqlite-read", reader)?,
            _lock: lock,
        })
    }

    pub(super) async fn read(&self, keys: &[Bytes]) -> Result<Reading, Failure> {
        let (reading, has_expired) = Self::read_on(&self.reader, keys).await?;
        if !has_expired {
            return Ok(reading);
        }
        // A transaction that decided before the deadline may still commit, and the key would come
        // back. On the writer's thread there is none under way.
        let (reading, _) = Self::read_on(&self.writer, keys).await?;
        Ok(reading)
    }

    /// Also tells whether rows were found that have expired.
    async fn read_on(
        worker: &mpsc::Sender<Job>,
        keys: &[Bytes],
    ) -> Result<(Reading, bool), Failure> {
        let keys = keys.to_vec();
        run(worker, move |connection| {
            let now = now();
            let mut has_expired = false;
            let mut rows = Vec::with_capacity(keys.len());
            for key in &keys {
                let found = row(connection, key)?;
                has_expired |= found.as_ref().is_some_and(|row| !row.is_live(now));
                rows.push(found.filter(|row| row.is_live(now)));
            }
            let now = Some(now);
            let locked = Vec::new();
            Ok((Reading { rows, now, locked }, has_expired))
        })
        .await
    }

    pub(super) async fn write(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Unfinished> {
        let operations = operations.to_vec();
        let value_max = self.value_max;
        run(&self.writer, move |connection| {
            two_phase::refuse_unfinished(connection)?;
            let transaction = connection.transaction()?;
            let now = now();
            let mut rows = Rows::at(now, value_max);
            let mut keys = HashSet::new();
            for operation in &operations {
                operation.keys(&mut |key, _| {
                    keys.insert(key.clone());
                });
            }
            for key in keys {
                let found = row(&transaction, &key)?;
                rows.insert(key, found, now);
            }
            let outcomes = operations
                .iter()
                .map(|operation| operation.run(&mut rows))
                .collect();
            for (key, slot) in rows.iter().filter(|(_, slot)| slot.changed) {
                match &slot.row {
                    Some(row) => put(&transaction, key, row)?,
                    None => remove(&transaction, key)?,
                }
            }
            transaction.commit()?;
            Ok(outcomes)
        })
        .await
        .map_err(Unfinished::from)
    }

    pub(super) async fn clear(&self) -> Result<(), Unfinished> {
        run(&self.writer, |connection| {
            two_phase::refuse_unfinished(connection)?;
            connection.execute("DELETE FROM respgres_kv", []).map(drop)
        })
        .await
        .map_err(Unfinished::from)
    }

    /// Exact: a count of a local file's index takes microseconds for thousands of rows, and an
    /// embedded database is not a large one.
    pub(super) async fn count(&self) -> Result<u64, Failure> {
        run(&self.reader, |connection| {
            connection.query_row(
                "SELECT (SELECT count(*) FROM respgres_kv)
                      - (SELECT count(*) FROM respgres_kv WHERE expires_at <= ?1)",
                [now().micros()],
                |row| row.get::<_, i64>(0),
            )
        })
        .await
        .map(|count| count.max(0) as u64)
    }

    pub(super) async fn expiring(&self) -> Result<Expiring, Failure> {
        run(&self.reader, |connection| {
            let now = now().micros();
            connection.query_row(
                "SELECT count(*), coalesce(avg(expires_at - ?1), 0) FROM respgres_kv
                    WHERE expires_at > ?1",
                [now],
                |row| {
                    let micros: f64 = row.get(1)?;
                    Ok(Expiring {
                        rows: row.get::<_, i64>(0)?.max(0) as u64,
                        millis_left: (micros / 1000.0) as u64,
                    })
                },
            )
        })
        .await
    }

    pub(super) async fn sweep(&self, limit: u32) -> Result<u64, Failure> {
        run(&self.writer, move |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM respgres_kv WHERE key IN
                        (SELECT key FROM respgres_kv WHERE expires_at <= ?1 LIMIT ?2)",
                )?
                .execute(params![now().micros(), limit])
        })
        .await
        .map(|count| count as u64)
    }

    /// One connection writes, one reads.
    pub(super) fn pool(&self) -> Pool {
        let jobs = |queue: &mpsc::Sender<Job>| queue.max_capacity() - queue.capacity();
        Pool {
            size: 2,
            idle: 2,
            max: 2,
            waiting: jobs(&self.writer) + jobs(&self.reader),
        }
    }

    pub(super) async fn keep_warm(&self) {}

    pub(super) async fn identity(&self) -> Result<Option<Identity>, Failure> {
        run(&self.writer, |connection| read_identity(connection)).await
    }

    /// Makes or upgrades the tables and writes who this is.
    pub(super) async fn establish(
        &self,
        identity: &Identity,
        found: Option<&Identity>,
    ) -> Result<(), Failure> {
        if found == Some(identity) {
            return Ok(());
        }
        let identity = identity.clone();
        let from_version = found.map_or(identity.schema_version, |found| found.schema_version);
        run(&self.writer, move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(schema::before(from_version))?;
            transaction.execute_batch(schema::TABLES)?;
            transaction.execute_batch(schema::after(from_version))?;
            transaction.execute(
                "INSERT INTO respgres_identity VALUES (1, ?1, ?2, ?3, ?4, ?5)
                    ON CONFLICT (singleton) DO UPDATE SET schema_version = excluded.schema_version",
                params![
                    identity.deployment,
                    identity.shard_id,
                    identity.num_shards,
                    identity.routing,
                    identity.schema_version
                ],
            )?;
            transaction.commit()
        })
        .await
    }

    pub(super) async fn verify(&self, expected: &Identity) -> Result<Timestamp, Failure> {
        match self.identity().await? {
            Some(found) if found == *expected => Ok(now()),
            _ => Err(Failure::Foreign(
                "the file is no longer the one it was".into(),
            )),
        }
    }
}

fn read_identity(connection: &Connection) -> rusqlite::Result<Option<Identity>> {
    let exists = connection
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE name = 'respgres_identity'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    if exists.is_none() {
        return Ok(None);
    }
    connection
        .query_row(
            "SELECT deployment_id, shard_id, num_shards, routing, schema_version FROM respgres_identity",
            [],
            |row| {
                Ok(Identity {
                    deployment: row.get(0)?,
                    shard_id: row.get(1)?,
                    num_shards: row.get(2)?,
                    routing: row.get(3)?,
                    schema_version: row.get(4)?,
                })
            },
        )
        .optional()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn worker(name: &str, mut connection: Connection) -> Result<mpsc::Sender<Job>, String> {
    let (sender, mut jobs) = mpsc::channel::<Job>(JOBS_MAX);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&mut connection);
            }
        })
        .map_err(|error| format!("can't start a thread: {error}"))?;
    Ok(sender)
}

async fn run<T: Send + 'static>(
    worker: &mpsc::Sender<Job>,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let (done, result) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        // A caller that is gone no longer wants to know.
        let _ = done.send(work(connection));
    });
    let stopped = || Failure::Unreachable("the SQLite thread has ended".into());
    worker.send(job).await.map_err(|_| stopped())?;
    // A failed commit of SQLite is rolled back, so the answer is definite.
    result
        .await
        .map_err(|_| stopped())?
        .map_err(|error| Failure::Refused(error.to_string()))
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

fn row(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(
            "SELECT value, created_at, updated_at, expires_at, stamp FROM respgres_kv WHERE key = ?1",
        )?
        .query_row([key], |row| {
            Ok(Row {
                value: Bytes::from(row.get::<_, Vec<u8>>(0)?),
                created_at: Timestamp::from_micros(row.get(1)?),
                updated_at: Timestamp::from_micros(row.get(2)?),
                expires_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
                stamp: Stamp::from_bits(row.get::<_, i64>(4)? as u64),
            })
        })
        .optional()
}

fn put(connection: &Connection, key: &[u8], row: &Row) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO respgres_kv (key, value, created_at, updated_at, expires_at, stamp)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (key) DO UPDATE SET
                    value = excluded.value, created_at = excluded.created_at,
                    updated_at = excluded.updated_at, expires_at = excluded.expires_at,
                    stamp = excluded.stamp",
        )?
        .execute(params![
            key,
            &row.value[..],
            row.created_at.micros(),
            row.updated_at.micros(),
            row.expires_at.map(Timestamp::micros),
            row.stamp.bits() as i64,
        ])
        .map(drop)
}

fn remove(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM respgres_kv WHERE key = ?1")?
        .execute([key])
        .map(drop)
}
