//! Writing: a batch of SETs is one statement, anything that depends on the row a transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;

use super::failure::classify;
use super::pool::Object;
use super::stored::{PgTimestamp, long_key, stored_key};
use super::{PostgresShard, decode, no_answer, statements, timestamp};
use crate::command::{Deadline, Mutation, Outcome, Row, Set, SetExpiry, Stamp};
use crate::shard::fold::{Final, fold};
use crate::shard::{Failure, GRACE, Operation};

/// A time to live beyond this is cut: 146,000 years. `timestamptz` ends in the year 294276.
const TTL_MAX_MICROS: i64 = i64::MAX / 2;

impl PostgresShard {
    pub(in crate::shard) async fn write(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Outcome>, Failure> {
        let connection = self.connection().await?;
        let blind = operations.iter().all(|(_, mutation)| mutation.is_blind());
        let work = async {
            if blind {
                upsert(&connection, operations).await
            } else {
                transact(&connection, operations).await
            }
        };
        let result = match tokio::time::timeout(self.query_timeout + GRACE, work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(no_answer(self.query_timeout + GRACE)),
        };
        if result.is_err() {
            // It may be within a transaction, or busy still: not for the next user.
            drop(Object::take(connection));
        }
        result
    }
}

/// Group commit. Of several SETs of one key the last one counts; the others were never visible.
async fn upsert(
    connection: &ClientWrapper,
    operations: &[Operation],
) -> Result<Vec<Outcome>, Failure> {
    let mut last: BTreeMap<std::borrow::Cow<'_, [u8]>, (&Bytes, &Set)> = BTreeMap::new();
    for (key, mutation) in operations {
        if let Mutation::Set(set) = mutation {
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
    connection
        .execute(
            &statement,
            &[&keys, &long_keys, &values, &ttls, &deadlines, &stamps],
        )
        .await
        .map_err(|error| classify(&error))?;
    Ok(vec![Outcome::Stored; operations.len()])
}

/// Locks the rows, lets the pure semantics decide, writes, commits: two round trips.
async fn transact(
    connection: &ClientWrapper,
    operations: &[Operation],
) -> Result<Vec<Outcome>, Failure> {
    let lock = prepare(connection, statements::LOCK_OR_RESERVE).await?;
    let read = prepare(connection, statements::READ_FOR_UPDATE).await?;
    let now = prepare(connection, statements::NOW).await?;
    let store = prepare(connection, statements::STORE).await?;
    let touch = prepare(connection, statements::TOUCH).await?;
    let remove = prepare(connection, statements::REMOVE).await?;

    // Sorted by what is stored: the order in which locks are taken.
    let keys: BTreeMap<_, _> = operations
        .iter()
        .map(|(key, _)| (stored_key(key), key))
        .collect();
    let stored: Vec<&[u8]> = keys.keys().map(AsRef::as_ref).collect();
    // Where nothing can come into being, the absence of a row needs no lock.
    let reserve = operations.iter().any(|(_, mutation)| mutation.may_create());
    let to_lock: &[&[u8]] = if reserve { &stored } else { &[] };
    let with_value: Vec<_> = operations
        .iter()
        .filter(|(_, mutation)| mutation.needs_value())
        .map(|(key, _)| stored_key(key))
        .collect();
    let with_value: Vec<&[u8]> = with_value.iter().map(AsRef::as_ref).collect();
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
    before_commit(begun)?;
    before_commit(locked)?;
    let found = before_commit(found)?;
    let now = timestamp(&before_commit(at)?, 0)?;

    let mut current = HashMap::with_capacity(found.len());
    let mut locked = HashSet::with_capacity(found.len());
    for pg_row in &found {
        let (stored, row) = decode(pg_row)?;
        if let Some((stored, key)) = keys.get_key_value(&stored[..]) {
            locked.insert(&stored[..]);
            current.insert((*key).clone(), row);
        }
    }
    let folded = fold(operations, current, now);

    let mut puts = Columns::default();
    let mut touched = Columns::default();
    let mut gone: Vec<&[u8]> = Vec::new();
    for (stored, key) in &keys {
        match folded.rows.get(*key) {
            Some(Final {
                row: Some(row),
                has_new_value: true,
                ..
            }) => puts.push(stored, key, row),
            Some(Final {
                row: Some(row),
                changed: true,
                ..
            }) => touched.push(stored, key, row),
            Some(Final { row: Some(row), .. }) if row.is_live(now) => {}
            // Removed, or expired, or only reserved. A key without a row was not locked, and is
            // not ours to delete: another proxy may have written it by now.
            _ if locked.contains(&stored[..]) => gone.push(stored),
            _ => {}
        }
    }
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
    Ok(folded.outcomes)
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
    before_commit(connection.prepare_cached(sql).await)
}

/// An error from before any commit was sent: whatever happened to the connection, nothing was
/// changed, since the server rolls back what was not committed.
fn before_commit<T>(result: Result<T, tokio_postgres::Error>) -> Result<T, Failure> {
    result.map_err(|error| match classify(&error) {
        Failure::Closed(reason) => Failure::Interrupted(reason),
        other => other,
    })
}
