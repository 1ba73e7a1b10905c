//! Writing: a batch of SETs is one statement, anything that depends on the row a transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;

use super::failure::classify;
use super::held::{Held, Keys, Prepared, prepare};
use super::pool::Object;
use super::stored::{PgTimestamp, long_key, stored_key};
use super::{PostgresShard, no_answer, statements};
use crate::command::{Deadline, Mutation, Operation, Outcome, Rows, Set, SetExpiry, Stamp};
use crate::shard::orphan::{Orphan, Unfinished};
use crate::shard::{Failure, GRACE};

/// A time to live beyond this is cut: 146,000 years. `timestamptz` ends in the year 294276.
const TTL_MAX_MICROS: i64 = i64::MAX / 2;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

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
    let prepared = Prepared::on(connection).await?;
    let mut keys = Keys::default();
    for operation in operations {
        operation.keys(&mut |key, access| keys.add(key, access));
    }
    let mut held = Held::take(connection, &prepared, BEGIN, keys).await?;
    let mut rows = Rows::at(held.now, value_max);
    held.put_into(&mut rows);
    let outcomes = operations
        .iter()
        .map(|operation| operation.run(&mut rows))
        .collect();
    let changes = held.changes(&rows);
    commit.is_near();
    let committing = connection.batch_execute("COMMIT");
    changes.send(connection, &prepared, committing).await?;
    Ok(outcomes)
}
