//! Writing: a batch of SETs is one statement, anything that depends on the row a transaction.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;

use super::failure::classify;
use super::pool::Object;
use super::stored::{PgTimestamp, long_key, stored_key};
use super::{PostgresShard, decode, no_answer, statements, timestamp};
use crate::command::operation::Access;
use crate::command::rows::Slot;
use crate::command::{Deadline, Mutation, Operation, Outcome, Row, Rows, Set, SetExpiry, Stamp};
use crate::shard::orphan::{Orphan, Unfinished};
use crate::shard::{Failure, GRACE};

/// A time to live beyond this is cut: 146,000 years. `timestamptz` ends in the year 294276.
const TTL_MAX_MICROS: i64 = i64::MAX / 2;

impl PostgresShard {
    pub(in crate::shard) async fn write(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Outcome>, Unfinished> {
        let blind = operations.iter().all(Operation::is_blind);
        self.commit(async |connection, commit| {
            if blind {
                upsert(connection, commit, operations).await
            } else {
                transact(connection, commit, operations, self.value_max).await
            }
        })
        .await
    }

    pub(in crate::shard) async fn clear(&self) -> Result<(), Unfinished> {
        self.commit(async |connection, commit| {
            commit.is_near();
            let cleared = connection.batch_execute(statements::CLEAR).await;
            cleared.map_err(|error| classify(&error))
        })
        .await
    }

    /// Runs `work`, which ends with a commit, on a pooled connection with a bound on its time.
    async fn commit<T>(
        &self,
        work: impl AsyncFnOnce(&ClientWrapper, &Commit) -> Result<T, Failure>,
    ) -> Result<T, Unfinished> {
        let connection = self.connection().await?;
        let commit = Commit::default();
        let limit = self.query_timeout + GRACE;
        let failure = match tokio::time::timeout(limit, work(&connection, &commit)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(failure)) => failure,
            Err(_elapsed) => no_answer(limit),
        };
        let process = connection.process;
        // It may be within a transaction, or busy still: not for the next user.
        drop(Object::take(connection));
        Err(match failure {
            Failure::Closed(_) | Failure::Silent(_) if commit.was_near() => Unfinished {
                failure,
                orphan: Some(Orphan(process)),
            },
            // The server rolls back what it was not told to commit.
            Failure::Closed(reason) | Failure::Silent(reason) => {
                Failure::Interrupted(reason).into()
            }
            other => other.into(),
        })
    }
}

/// Whether anything has been sent that commits: from then on the loss of the connection leaves the
/// outcome unknown.
#[derive(Default)]
struct Commit(AtomicBool);

impl Commit {
    /// The next thing to be sent commits.
    fn is_near(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn was_near(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Group commit. Of several SETs of one key the last one counts; the others were never visible.
async fn upsert(
    connection: &ClientWrapper,
    commit: &Commit,
    operations: &[Operation],
) -> Result<Vec<Outcome>, Failure> {
    let mut last: BTreeMap<Cow<'_, [u8]>, (&Bytes, &Set)> = BTreeMap::new();
    for operation in operations {
        if let Operation::One(key, Mutation::Set(set)) = operation {
            last.insert(stored_key(key), (key, set));
        }
    }
    let count = last.len();
    let mut keys: Vec<&[u8]> = Vec::with_capacity(count);
    let mut long_keys: Vec<Option<&[u8]>> = Vec::with_capacity(count);
    let mut values: Vec<&[u8]> = Vec::with_capacity(count);
    let mut ttls: Vec<Option<i64>> = Vec::with_capacity(count);
    let mut deadlines: Vec<Option<PgTimestamp>> = Vec::with_capacity(count);
    let mut stamps: Vec<i64> = Vec::with_capacity(count);
    for (stored, (key, set)) in &last {
        keys.push(stored);
        long_keys.push(long_key(key));
        values.push(&set.value);
        let (ttl, deadline) = match set.expiry {
            SetExpiry::Until(Deadline::InMillis(millis)) => {
                (Some(millis.saturating_mul(1000).min(TTL_MAX_MICROS)), None)
            }
            SetExpiry::Until(Deadline::At(at)) => (None, Some(PgTimestamp(at))),
            SetExpiry::Discard | SetExpiry::Keep => (None, None),
        };
        ttls.push(ttl);
        deadlines.push(deadline);
        stamps.push(Stamp::draw().bits() as i64);
    }
    let statement = prepare(connection, statements::UPSERT).await?;
    commit.is_near();
    connection
        .execute(
            &statement,
            &[&keys, &long_keys, &values, &ttls, &deadlines, &stamps],
        )
        .await
        .map_err(|error| classify(&error))?;
    Ok(vec![Outcome::Done; operations.len()])
}

/// Locks the rows, lets the pure semantics decide, writes, commits: two round trips.
async fn transact(
    connection: &ClientWrapper,
    commit: &Commit,
    operations: &[Operation],
    value_max: usize,
) -> Result<Vec<Outcome>, Failure> {
    let lock = prepare(connection, statements::LOCK_OR_RESERVE).await?;
    let read = prepare(connection, statements::READ_FOR_UPDATE).await?;
    let now = prepare(connection, statements::NOW).await?;
    let store = prepare(connection, statements::STORE).await?;
    let touch = prepare(connection, statements::TOUCH).await?;
    let remove = prepare(connection, statements::REMOVE).await?;

    // Sorted by what is stored: the order in which locks are taken.
    let mut keys: BTreeMap<Cow<'_, [u8]>, (Bytes, Access)> = BTreeMap::new();
    for operation in operations {
        operation.keys(&mut |key, access| {
            let stored = Cow::Owned(stored_key(key).into_owned());
            let known = keys.entry(stored).or_insert_with(|| (key.clone(), access));
            known.1 |= access;
        });
    }
    let stored: Vec<&[u8]> = keys.keys().map(AsRef::as_ref).collect();
    // Where nothing can come into being, the absence of a row needs no lock.
    let reserve = keys.values().any(|(_, access)| access.absence);
    let to_lock: &[&[u8]] = if reserve { &stored } else { &[] };
    let with_value: Vec<&[u8]> = keys
        .iter()
        .filter(|(_, (_, access))| access.value)
        .map(|(stored, _)| stored.as_ref())
        .collect();
    let lock_parameters = [&to_lock as &(dyn ToSql + Sync)];
    let read_parameters = [&stored as &(dyn ToSql + Sync), &with_value];

    // Pipelined: they are sent in this order, in one go.
    let (begun, locked, found, at) = tokio::join!(
        biased;
        connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        connection.execute(&lock, &lock_parameters),
        connection.query(&read, &read_parameters),
        connection.query_one(&now, &[]),
    );
    begun.map_err(|error| classify(&error))?;
    locked.map_err(|error| classify(&error))?;
    let found = found.map_err(|error| classify(&error))?;
    let now = timestamp(&at.map_err(|error| classify(&error))?, 0)?;

    let mut rows = Rows::at(now, value_max);
    let mut locked = HashSet::with_capacity(found.len());
    for pg_row in &found {
        let (stored, row) = decode(pg_row)?;
        if let Some((stored, (key, _))) = keys.get_key_value(&stored[..]) {
            locked.insert(&stored[..]);
            rows.insert(key.clone(), Some(row), now);
        }
    }
    let outcomes = operations
        .iter()
        .map(|operation| operation.run(&mut rows))
        .collect();

    let mut puts = Columns::default();
    let mut touched = Columns::default();
    let mut gone: Vec<&[u8]> = Vec::new();
    for (stored, (key, _)) in &keys {
        match rows.get(key) {
            Some(Slot {
                row: Some(row),
                has_new_value: true,
                ..
            }) => puts.push(stored, key, row),
            Some(Slot {
                row: Some(row),
                changed: true,
                ..
            }) => touched.push(stored, key, row),
            Some(Slot { row: Some(row), .. }) if row.is_live(now) => {}
            // Removed, or expired, or only reserved. A key without a row was not locked, and is
            // not ours to delete: another proxy may have written it by now.
            _ if locked.contains(&stored[..]) => gone.push(stored),
            _ => {}
        }
    }
    commit.is_near();
    let (stored, touched, removed, committed) = tokio::join!(
        biased;
        async {
            if puts.keys.is_empty() { return Ok(0) }
            let Columns { keys, long_keys, values, created, updated, expires, stamps } = &puts;
            connection.execute(&store, &[keys, long_keys, values, created, updated, expires, stamps]).await
        },
        async {
            if touched.keys.is_empty() { return Ok(0) }
            let Columns { keys, updated, expires, stamps, .. } = &touched;
            connection.execute(&touch, &[keys, updated, expires, stamps]).await
        },
        async {
            if gone.is_empty() { return Ok(0) }
            connection.execute(&remove, &[&gone]).await
        },
        connection.batch_execute("COMMIT"),
    );
    // After a statement that failed, COMMIT rolls back and reports success: look at them first.
    for result in [stored, touched, removed] {
        if let Err(error) = result {
            return Err(classify(&error));
        }
    }
    committed.map_err(|error| classify(&error))?;
    Ok(outcomes)
}

#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    long_keys: Vec<Option<&'a [u8]>>,
    values: Vec<&'a [u8]>,
    created: Vec<PgTimestamp>,
    updated: Vec<PgTimestamp>,
    expires: Vec<Option<PgTimestamp>>,
    stamps: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, stored: &'a [u8], key: &'a [u8], row: &'a Row) {
        self.keys.push(stored);
        self.long_keys.push(long_key(key));
        self.values.push(&row.value);
        self.created.push(PgTimestamp(row.created_at));
        self.updated.push(PgTimestamp(row.updated_at));
        self.expires.push(row.expires_at.map(PgTimestamp));
        self.stamps.push(row.stamp.bits() as i64);
    }
}

async fn prepare(
    connection: &ClientWrapper,
    sql: &'static str,
) -> Result<tokio_postgres::Statement, Failure> {
    connection
        .prepare_cached(sql)
        .await
        .map_err(|error| classify(&error))
}
