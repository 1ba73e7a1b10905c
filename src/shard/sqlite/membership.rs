//! The membership of a shard in an SQLite file. The file is locked for one process, so any other
//! member in it is dead.

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::mpsc;

use super::{Job, SqliteShard, now, run};
use crate::command::Timestamp;
use crate::shard::member::{Member, MemberId, Seen, epoch_number, instance_of, view_of};
use crate::view::{Epoch, Instance};

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
            has_notes: false,
        })
    }

    pub(in crate::shard) async fn others(&self) -> Result<Vec<Member>, String> {
        let member = self.member.to_string();
        let rows: Vec<(String, Option<String>)> = self
            .run(move |connection| {
                connection
                    .prepare("SELECT member, cache FROM respgres_members WHERE member <> ?1")?
                    .query_map([member], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await?;
        rows.iter()
            .filter_map(|(member, cache)| Some((MemberId::parse(member)?, cache)))
            .map(|(id, cache)| {
                Ok(Member {
                    id,
                    cache: instance_of(cache.as_deref())?,
                    is_alive: false,
                    is_active: false,
                })
            })
            .collect()
    }

    pub(in crate::shard) async fn found(&self, cache: Option<Instance>) -> Result<bool, String> {
        self.run(move |connection| {
            let made = connection.execute(
                "INSERT INTO respgres_view (singleton, epoch, cache, changed_at)
                    VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![epoch_number(Epoch::FIRST), text(cache), now().micros()],
            )?;
            Ok(made > 0)
        })
        .await
    }

    pub(in crate::shard) async fn change(
        &self,
        from: Epoch,
        cache: Option<Instance>,
    ) -> Result<bool, String> {
        self.run(move |connection| {
            let changed = connection.execute(
                "UPDATE respgres_view SET epoch = epoch + 1, cache = ?2, changed_at = ?3
                    WHERE epoch = ?1",
                params![epoch_number(from), text(cache), now().micros()],
            )?;
            Ok(changed > 0)
        })
        .await
    }

    pub(in crate::shard) async fn report(&self, cache: Option<Instance>) -> Result<(), String> {
        let member = self.member.to_string();
        self.run(move |connection| {
            connection
                .execute(
                    "INSERT INTO respgres_members (member, cache, joined_at) VALUES (?1, ?2, ?3)
                        ON CONFLICT (member) DO UPDATE SET cache = excluded.cache",
                    params![member, text(cache), now().micros()],
                )
                .map(drop)
        })
        .await
    }

    pub(in crate::shard) async fn retire(&self, member: MemberId) -> Result<bool, String> {
        if member == self.member {
            return Ok(false);
        }
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let gone = transaction.execute(
                "DELETE FROM respgres_members WHERE member = ?1",
                [member.to_string()],
            )?;
            let changed = if gone == 0 {
                0
            } else {
                transaction.execute(
                    "UPDATE respgres_view SET epoch = epoch + 1, changed_at = ?1",
                    [now().micros()],
                )?
            };
            transaction.commit()?;
            Ok(changed > 0)
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

fn text(cache: Option<Instance>) -> Option<String> {
    cache.map(|instance| instance.to_string())
}
