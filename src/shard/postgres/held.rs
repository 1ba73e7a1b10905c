//! Keys under their locks within a transaction: locked and read in one round trip, written in another.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::failure::classify;
use super::stored::{PgTimestamp, long_key, stored_key};
use super::{decode, statements, timestamp};
use crate::command::operation::Access;
use crate::command::rows::Slot;
use crate::command::{Row, Rows, Timestamp};
use crate::shard::Failure;

/// The keys that a transaction names, with what it has to know of them. Sorted by what is stored: the
/// order in which locks are taken.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<Vec<u8>, (Bytes, Access)>);

impl Keys {
    /// Adds a key, or what has to be known of it.
    pub(super) fn add(&mut self, key: &Bytes, access: Access) {
        let stored = stored_key(key).into_owned();
        let known = self
            .0
            .entry(stored)
            .or_insert_with(|| (key.clone(), access));
        known.1 |= access;
    }
}

/// The statements of it, prepared.
pub(super) struct Prepared {
    lock: Statement,
    read: Statement,
    now: Statement,
    store: Statement,
    touch: Statement,
    remove: Statement,
}

impl Prepared {
    pub(super) async fn on(connection: &ClientWrapper) -> Result<Self, Failure> {
        Ok(Self {
            lock: prepare(connection, statements::LOCK_OR_RESERVE).await?,
            read: prepare(connection, statements::READ_FOR_UPDATE).await?,
            now: prepare(connection, statements::NOW).await?,
            store: prepare(connection, statements::STORE).await?,
            touch: prepare(connection, statements::TOUCH).await?,
            remove: prepare(connection, statements::REMOVE).await?,
        })
    }
}

/// Keys that are held.
pub(super) struct Held {
    keys: Keys,
    /// What is stored for those that have a row, perhaps one that is only reserved.
    locked: HashSet<Vec<u8>>,
    rows: Vec<(Bytes, Row)>,
    /// The instant at which the transaction decides.
    pub(super) now: Timestamp,
}

impl Held {
    /// Begins a transaction with `begin`, locks the keys, and reads their rows.
    pub(super) async fn take(
        connection: &ClientWrapper,
        prepared: &Prepared,
        begin: &str,
        keys: Keys,
    ) -> Result<Self, Failure> {
        let stored: Vec<&[u8]> = keys.0.keys().map(AsRef::as_ref).collect();
        // Where nothing can come into being, the absence of a row needs no lock.
        let reserve = keys.0.values().any(|(_, access)| access.absence);
        let to_lock: &[&[u8]] = if reserve { &stored } else { &[] };
        let with_value: Vec<&[u8]> = keys
            .0
            .iter()
            .filter(|(_, (_, access))| access.value)
            .map(|(stored, _)| stored.as_ref())
            .collect();
        let lock_parameters = [&to_lock as &(dyn ToSql + Sync)];
        let read_parameters = [&stored as &(dyn ToSql + Sync), &with_value];

        // Pipelined: they are sent in this order, in one go.
        let (begun, locked, found, at) = tokio::join!(
            biased;
            connection.batch_execute(begin),
            connection.execute(&prepared.lock, &lock_parameters),
            connection.query(&prepared.read, &read_parameters),
            connection.query_one(&prepared.now, &[]),
        );
        begun.map_err(|error| classify(&error))?;
        locked.map_err(|error| classify(&error))?;
        let found = found.map_err(|error| classify(&error))?;
        let now = timestamp(&at.map_err(|error| classify(&error))?, 0)?;

        let mut rows = Vec::with_capacity(found.len());
        let mut locked = HashSet::with_capacity(found.len());
        for pg_row in &found {
            let (stored, row) = decode(pg_row)?;
            if let Some((key, _)) = keys.0.get(&stored) {
                rows.push((key.clone(), row));
                locked.insert(stored);
            }
        }
        Ok(Self {
            keys,
            locked,
            rows,
            now,
        })
    }

    /// Puts the keys, and the rows that they had, into `rows`; once.
    pub(super) fn put_into(&mut self, rows: &mut Rows) {
        for (key, row) in self.rows.drain(..) {
            rows.insert(key, Some(row), self.now);
        }
        for (stored, (key, _)) in &self.keys.0 {
            if !self.locked.contains(stored) {
                rows.insert(key.clone(), None, self.now);
            }
        }
    }

    /// What has to be written so that the shard has `rows`.
    pub(super) fn changes<'a>(&'a self, rows: &'a Rows) -> Changes<'a> {
        let mut changes = Changes::default();
        for (stored, (key, _)) in &self.keys.0 {
            let slot = rows.get(key);
            if slot.is_some_and(|slot| slot.changed) {
                changes.changed.push(key);
            }
            match slot {
                Some(Slot {
                    row: Some(row),
                    has_new_value: true,
                    ..
                }) => changes.puts.push(stored, key, row),
                Some(Slot {
                    row: Some(row),
                    changed: true,
                    ..
                }) => changes.touched.push(stored, key, row),
                Some(Slot { row: Some(row), .. }) if row.is_live(self.now) => {}
                // Removed, or expired, or only reserved. A key without a row was not locked, and is
                // not ours to delete: another proxy may have written it by now.
                _ if self.locked.contains(stored) => changes.gone.push(stored),
                _ => {}
            }
        }
        changes
    }
}

/// What a transaction writes.
#[derive(Default)]
pub(super) struct Changes<'a> {
    /// The keys whose rows are others than they were.
    pub(super) changed: Vec<&'a [u8]>,
    puts: Columns<'a>,
    touched: Columns<'a>,
    gone: Vec<&'a [u8]>,
}

impl Changes<'_> {
    /// Sends them, and `last` after them in the same go.
    pub(super) async fn send<T>(
        &self,
        connection: &ClientWrapper,
        prepared: &Prepared,
        last: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let Self {
            puts,
            touched,
            gone,
            ..
        } = self;
        let (stored, touched, removed, last) = tokio::join!(
            biased;
            async {
                if puts.keys.is_empty() { return Ok(0) }
                let Columns { keys, long_keys, values, created, updated, expires, stamps } = puts;
                let parameters: [&(dyn ToSql + Sync); 7] =
                    [keys, long_keys, values, created, updated, expires, stamps];
                connection.execute(&prepared.store, &parameters).await
            },
            async {
                if touched.keys.is_empty() { return Ok(0) }
                let Columns { keys, updated, expires, stamps, .. } = touched;
                connection.execute(&prepared.touch, &[keys, updated, expires, stamps]).await
            },
            async {
                if gone.is_empty() { return Ok(0) }
                connection.execute(&prepared.remove, &[gone]).await
            },
            last,
        );
        // After a statement that failed, COMMIT rolls back and reports success: look at them first.
        for result in [stored, touched, removed] {
            if let Err(error) = result {
                return Err(classify(&error));
            }
        }
        last.map_err(|error| classify(&error))
    }
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

pub(super) async fn prepare(
    connection: &ClientWrapper,
    sql: &'static str,
) -> Result<Statement, Failure> {
    connection
        .prepare_cached(sql)
        .await
        .map_err(|error| classify(&error))
}
