//! The part of one file in a transaction over several.
//!
//! While it lasts, the file's writer thread waits for it: that is the lock on its rows. What is prepared is written
//! down with its new rows, in a table of its own, since a transaction of SQLite does not survive its
//! process; to finish it is to put them in their places. All files of a deployment are in one process, which finishes
//! what it finds in them before it serves anybody (`open.rs`).

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{Job, SqliteShard, now, put, remove, row, run};
use crate::command::operation::Access;
use crate::command::{Row, Rows, Stamp, Timestamp};
use crate::shard::Failure;
use crate::shard::branch::{Decision, Gid, Verdict};

const NOTE: &str = "
INSERT INTO respgres_prepared (gid, key, value, created_at, updated_at, expires_at, stamp)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const NOTED: &str = "
SELECT key, value, created_at, updated_at, expires_at, stamp FROM respgres_prepared
WHERE gid = ?1 AND key IS NOT NULL";

const DECIDE: &str = "
INSERT INTO respgres_decisions (gid, verdict, branches, decided_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO NOTHING";

/// Branches need not be looked for after this time, in microseconds: they are on the same machine.
const OLD: i64 = 60_000_000;

/// A row as it is to be; `None` if it is to go.
type Change = (Bytes, Option<Row>);

/// The part of this file in a transaction. Dropping it before it is prepared rolls it back.
pub(in crate::shard) struct Branch {
    orders: mpsc::Sender<Order>,
    keys: Vec<Bytes>,
    found: Vec<Option<Row>>,
    now: Timestamp,
    changes: Vec<Change>,
    decision: Option<Decision>,
}

/// What the writer thread is told, and how it says that it is done.
struct Order {
    what: What,
    done: oneshot::Sender<rusqlite::Result<()>>,
}

enum What {
    Prepare(Gid, Vec<Change>),
    Commit(Vec<Change>, Option<Decision>),
    Finish(Gid, Verdict),
    RollBack,
}

impl SqliteShard {
    /// Begins a branch: waits for the writer thread, and reads the keys.
    pub(in crate::shard) async fn begin(
        &self,
        keys: &[(Bytes, Access)],
    ) -> Result<Branch, Failure> {
        let keys: Vec<Bytes> = keys.iter().map(|(key, _)| key.clone()).collect();
        let (orders, to_do) = mpsc::channel(1);
        let (tell, found) = oneshot::channel();
        let named = keys.clone();
        let job: Job = Box::new(move |connection| {
            let found: rusqlite::Result<Vec<_>> = refuse_unfinished(connection)
                .and_then(|()| named.iter().map(|key| row(connection, key)).collect());
            // Who asked may have stopped waiting; then there are no orders.
            let _ = tell.send(found.map(|found| (found, now())));
            obey(connection, to_do);
        });
        let stopped = || Failure::Unreachable("the SQLite thread has ended".into());
        self.writer.send(job).await.map_err(|_| stopped())?;
        let (found, now) = found.await.map_err(|_| stopped())?.map_err(refused)?;
        Ok(Branch {
            orders,
            keys,
            found,
            now,
            changes: Vec::new(),
            decision: None,
        })
    }

    pub(in crate::shard) async fn finish(
        &self,
        gid: &Gid,
        verdict: Verdict,
    ) -> Result<(), Failure> {
        let gid = gid.clone();
        run(&self.writer, move |connection| {
            finish(connection, &gid, verdict)
        })
        .await
    }

    pub(in crate::shard) async fn verdict(&self, gid: &Gid) -> Result<Verdict, Failure> {
        let gid = gid.clone();
        let verdict: String = run(&self.writer, move |connection| {
            connection.execute(DECIDE, params![gid.as_str(), "abort", "", now().micros()])?;
            let verdict = "SELECT verdict FROM respgres_decisions WHERE gid = ?1";
            connection.query_row(verdict, [gid.as_str()], |row| row.get(0))
        })
        .await?;
        match &verdict[..] {
            "commit" => Ok(Verdict::Commit),
            "abort" => Ok(Verdict::Abort),
            other => Err(Failure::Refused(format!("an unknown verdict '{other}'"))),
        }
    }

    pub(in crate::shard) async fn in_doubt(&self, age: Duration) -> Result<Vec<Gid>, Failure> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        run(&self.reader, move |connection| {
            let before = now().micros().saturating_sub(age);
            let mut statement = connection.prepare_cached(
                "SELECT gid FROM respgres_prepared WHERE key IS NULL AND created_at <= ?1",
            )?;
            let gids = statement.query_map([before], |row| row.get::<_, String>(0))?;
            gids.map(|gid| gid.map(|gid| Gid::from_text(&gid)))
                .collect()
        })
        .await
    }

    pub(in crate::shard) async fn old_decisions(&self) -> Result<Vec<Decision>, Failure> {
        run(&self.reader, |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT gid, branches FROM respgres_decisions WHERE decided_at < ?1 LIMIT 1000",
            )?;
            let old = statement.query_map([now().micros() - OLD], |row| {
                let branches: String = row.get(1)?;
                Ok(Decision {
                    gid: Gid::from_text(&row.get::<_, String>(0)?),
                    branches: branches
                        .split(',')
                        .filter_map(|at| at.parse().ok())
                        .collect(),
                })
            })?;
            old.collect()
        })
        .await
    }

    pub(in crate::shard) async fn forget(&self, decided: &[Gid]) -> Result<(), Failure> {
        let decided = decided.to_vec();
        run(&self.writer, move |connection| {
            let transaction = connection.transaction()?;
            for gid in &decided {
                let forget = "DELETE FROM respgres_decisions WHERE gid = ?1";
                transaction
                    .prepare_cached(forget)?
                    .execute([gid.as_str()])?;
            }
            transaction.commit()
        })
        .await
    }
}

impl Branch {
    pub(in crate::shard) fn put_into(&mut self, rows: &mut Rows) {
        for (key, row) in self.keys.iter().zip(self.found.drain(..)) {
            rows.insert(key.clone(), row, self.now);
        }
    }

    pub(in crate::shard) fn now(&self) -> Timestamp {
        self.now
    }

    /// Notes what `rows` changes here; it is written when the branch is prepared or committed.
    pub(in crate::shard) fn write(&mut self, rows: &Rows, decision: Option<&Decision>) {
        let changed = self.keys.iter().filter_map(|key| {
            let slot = rows.get(key).filter(|slot| slot.changed)?;
            Some((key.clone(), slot.row.clone()))
        });
        self.changes = changed.collect();
        self.decision = decision.cloned();
    }

    pub(in crate::shard) async fn prepare(&mut self, gid: &Gid) -> Result<(), Failure> {
        let changes = std::mem::take(&mut self.changes);
        self.order(What::Prepare(gid.clone(), changes)).await
    }

    pub(in crate::shard) async fn commit(mut self) -> Result<(), Failure> {
        let changes = std::mem::take(&mut self.changes);
        let decision = self.decision.take();
        self.order(What::Commit(changes, decision)).await
    }

    pub(in crate::shard) async fn roll_back(self) -> Result<(), Failure> {
        self.order(What::RollBack).await
    }

    pub(in crate::shard) async fn finish(self, gid: &Gid, verdict: Verdict) -> Result<(), Failure> {
        self.order(What::Finish(gid.clone(), verdict)).await
    }

    async fn order(&self, what: What) -> Result<(), Failure> {
        let (done, answer) = oneshot::channel();
        let stopped = || Failure::Unreachable("the SQLite thread has ended".into());
        let order = Order { what, done };
        self.orders.send(order).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?.map_err(refused)
    }
}

/// On the writer thread, until the transaction is over here, or nobody gives orders any more.
fn obey(connection: &mut Connection, mut orders: mpsc::Receiver<Order>) {
    while let Some(Order { what, done }) = orders.blocking_recv() {
        let is_last = !matches!(what, What::Prepare(..));
        let result = match what {
            What::Prepare(gid, changes) => prepare(connection, &gid, &changes),
            What::Commit(changes, decision) => commit(connection, &changes, decision.as_ref()),
            What::Finish(gid, verdict) => finish(connection, &gid, verdict),
            What::RollBack => Ok(()),
        };
        // Nobody may be waiting any more; it is done all the same.
        let _ = done.send(result);
        if is_last {
            return;
        }
    }
}

/// The first line has no key: it says that the branch is open, and since when.
fn prepare(connection: &mut Connection, gid: &Gid, changes: &[Change]) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    let none = None::<i64>;
    let since = now().micros();
    transaction.execute(
        NOTE,
        params![gid.as_str(), none, none, since, none, none, none],
    )?;
    for (key, row) in changes {
        let row = row.as_ref();
        transaction.prepare_cached(NOTE)?.execute(params![
            gid.as_str(),
            &key[..],
            row.map(|row| &row.value[..]),
            row.map(|row| row.created_at.micros()),
            row.map(|row| row.updated_at.micros()),
            row.and_then(|row| row.expires_at).map(Timestamp::micros),
            row.map(|row| row.stamp.bits() as i64),
        ])?;
    }
    transaction.commit()
}

fn commit(
    connection: &mut Connection,
    changes: &[Change],
    decision: Option<&Decision>,
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    apply(&transaction, changes)?;
    if let Some(Decision { gid, branches }) = decision {
        let branches: Vec<String> = branches.iter().map(i32::to_string).collect();
        let at = now().micros();
        transaction.execute(
            DECIDE,
            params![gid.as_str(), "commit", branches.join(","), at],
        )?;
    }
    transaction.commit()
}

fn finish(connection: &mut Connection, gid: &Gid, verdict: Verdict) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    if verdict == Verdict::Commit {
        let changes = noted(&transaction, gid)?;
        apply(&transaction, &changes)?;
    }
    transaction.execute(
        "DELETE FROM respgres_prepared WHERE gid = ?1",
        [gid.as_str()],
    )?;
    transaction.commit()
}

fn noted(transaction: &Transaction<'_>, gid: &Gid) -> rusqlite::Result<Vec<Change>> {
    let mut statement = transaction.prepare_cached(NOTED)?;
    let changes = statement.query_map([gid.as_str()], |line| {
        let key = Bytes::from(line.get::<_, Vec<u8>>(0)?);
        let Some(value) = line.get::<_, Option<Vec<u8>>>(1)? else {
            return Ok((key, None));
        };
        let row = Row {
            value: Bytes::from(value),
            created_at: Timestamp::from_micros(line.get(2)?),
            updated_at: Timestamp::from_micros(line.get(3)?),
            expires_at: line.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
            stamp: Stamp::from_bits(line.get::<_, i64>(5)? as u64),
        };
        Ok((key, Some(row)))
    })?;
    changes.collect()
}

/// Nothing is written while there is a branch that is prepared and has no hold of the writer thread any more,
/// since it could not be finished at once, by a full disk. What it will write would come too late then.
pub(super) fn refuse_unfinished(connection: &Connection) -> rusqlite::Result<()> {
    let is_there = "SELECT EXISTS (SELECT 1 FROM respgres_prepared)";
    let is_there: bool = connection
        .prepare_cached(is_there)?
        .query_row([], |row| row.get(0))?;
    if !is_there {
        return Ok(());
    }
    Err(rusqlite::Error::ToSqlConversionFailure(
        "a transaction over several shards has still to be finished here; see the log".into(),
    ))
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn apply(transaction: &Transaction<'_>, changes: &[Change]) -> rusqlite::Result<()> {
    for (key, row) in changes {
        match row {
            Some(row) => put(transaction, key, row)?,
            None => remove(transaction, key)?,
        }
    }
    Ok(())
}

// A failed commit of SQLite is rolled back, so the answer is definite.
fn refused(error: rusqlite::Error) -> Failure {
    Failure::Refused(error.to_string())
}
