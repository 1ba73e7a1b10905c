//! The membership of a shard in an SQLite file. The file is locked for one process, so any other
//! member in it is dead.

use rusqlite::{Connection, OptionalExtension, Params, Transaction, params};
use tokio::sync::mpsc;

use super::{Job, SqliteShard, now, run};
use crate::command::Timestamp;
use crate::shard::member::{Member, MemberId, Seen, epoch_number, instance_of, view_of};
use crate::view::{Epoch, Instance, View};

/// As in PostgreSQL, an epoch is a counter, and in the lower 32 bits a random number.
const FOUND: &str = "
INSERT INTO respgres_view (singleton, epoch, cache, changed_at)
VALUES (1, 1 << 32 | (random() & 4294967295), ?1, ?2)
ON CONFLICT DO NOTHING RETURNING epoch, cache";

const CHANGE: &str = "
UPDATE respgres_view
SET epoch = (((epoch >> 32) + 1) & 2147483647) << 32 | (random() & 4294967295),
    cache = ?2, changed_at = ?3
WHERE epoch = ?1 RETURNING epoch, cache";

const RETIRE: &str = "
UPDATE respgres_view
SET epoch = (((epoch >> 32) + 1) & 2147483647) << 32 | (random() & 4294967295),
    changed_at = ?1
WHERE cache IS NOT NULL RETURNING epoch, cache";

const REPORT: &str = "
INSERT INTO respgres_members (member, cache, joined_at, reported_at) VALUES (?1, ?2, ?3, ?3)
ON CONFLICT (member) DO UPDATE SET cache = excluded.cache, reported_at = excluded.reported_at
WHERE cache IS NOT excluded.cache";

pub(in crate::shard) struct Membership {
    member: MemberId,
    writer: mpsc::Sender<Job>,
}

impl SqliteShard {
    pub(in crate::shard) async fn join(
        &self,
        cache: Option<Instance>,
    ) -> Result<Membership, String> {
        let membership = Membership {
            member: self.member,
            writer: self.writer.clone(),
        };
        membership.report(cache).await?;
        Ok(membership)
    }
}

impl Membership {
    pub(in crate::shard) async fn look(&self) -> Result<Seen, String> {
        let member = self.member.to_string();
        let (view, changed_at, now, is_registered) = self
            .run(move |connection| {
                let view: Option<(i64, Option<String>, i64)> = connection
                    .prepare_cached("SELECT epoch, cache, changed_at FROM respgres_view")?
                    .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                let is_registered = connection
                    .prepare_cached("SELECT 1 FROM respgres_members WHERE member = ?1")?
                    .exists([member])?;
                let now = now();
                let changed_at = view
                    .as_ref()
                    .map_or(now, |(.., at)| Timestamp::from_micros(*at));
                Ok((view, changed_at, now, is_registered))
            })
            .await?;
        Ok(Seen {
            view: view
                .map(|(epoch, cache, _)| view_of(epoch, cache.as_deref()))
                .transpose()?,
            age: now.since(changed_at),
            now,
            is_registered,
        })
    }

    pub(in crate::shard) async fn others(&self) -> Result<Vec<Member>, String> {
        let member = self.member.to_string();
        let rows: Vec<(String, Option<String>, i64)> = self
            .run(move |connection| {
                connection
                    .prepare(
                        "SELECT member, cache, reported_at FROM respgres_members
                            WHERE member <> ?1",
                    )?
                    .query_map([member], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .await?;
        let now = now();
        rows.iter()
            .filter_map(|(member, cache, at)| Some((MemberId::parse(member)?, cache, at)))
            .map(|(id, cache, reported_at)| {
                Ok(Member {
                    id,
                    cache: instance_of(cache.as_deref())?,
                    reported_for: now.since(Timestamp::from_micros(*reported_at)),
                    is_alive: false,
                    is_active: false,
                })
            })
            .collect()
    }

    pub(in crate::shard) async fn found(
        &self,
        cache: Option<Instance>,
    ) -> Result<Option<View>, String> {
        self.change_view(move |transaction| {
            in_view(transaction, FOUND, params![text(cache), now().micros()])
        })
        .await
    }

    pub(in crate::shard) async fn change(
        &self,
        from: Epoch,
        cache: Option<Instance>,
    ) -> Result<Option<View>, String> {
        self.change_view(move |transaction| {
            let parameters = params![epoch_number(from), text(cache), now().micros()];
            in_view(transaction, CHANGE, parameters)
        })
        .await
    }

    pub(in crate::shard) async fn report(&self, cache: Option<Instance>) -> Result<(), String> {
        let member = self.member.to_string();
        self.run(move |connection| {
            connection
                .execute(REPORT, params![member, text(cache), now().micros()])
                .map(drop)
        })
        .await
    }

    pub(in crate::shard) async fn retire(&self, member: MemberId) -> Result<Option<View>, String> {
        if member == self.member {
            return Ok(None);
        }
        self.change_view(move |transaction| {
            let gone = transaction.execute(
                "DELETE FROM respgres_members WHERE member = ?1",
                [member.to_string()],
            )?;
            if gone == 0 {
                return Ok(None);
            }
            in_view(transaction, RETIRE, params![now().micros()])
        })
        .await
    }

    pub(in crate::shard) async fn leave(self) -> Result<(), String> {
        let member = self.member.to_string();
        self.run(move |connection| {
            connection
                .execute("DELETE FROM respgres_members WHERE member = ?1", [member])
                .map(drop)
        })
        .await
    }

    /// Nobody writes past the process that has the file.
    pub(in crate::shard) async fn noted(&self) {
        std::future::pending().await
    }

    /// Runs `work` in a transaction: a statement that returns rows commits when it is put aside,
    /// and does not tell whether it could.
    async fn change_view(
        &self,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<Option<ViewRow>> + Send + 'static,
    ) -> Result<Option<View>, String> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let changed = work(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        })
        .await?
        .map(|(epoch, cache)| view_of(epoch, cache.as_deref()))
        .transpose()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        run(&self.writer, work)
            .await
            .map_err(|failure| failure.to_string())
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// The columns `epoch` and `cache`.
type ViewRow = (i64, Option<String>);

/// The view that `sql` makes, if it does.
fn in_view(
    transaction: &Transaction,
    sql: &str,
    parameters: impl Params,
) -> rusqlite::Result<Option<ViewRow>> {
    transaction
        .query_row(sql, parameters, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn text(cache: Option<Instance>) -> Option<String> {
    cache.map(|instance| instance.to_string())
}
