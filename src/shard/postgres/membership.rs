//! A proxy's place among the members of a shard: the session that shows it alive, over which the
//! view is read and changed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row as PgRow, Statement};

use super::failure::described;
use super::session::application_name;
use super::{Failure, PostgresShard, timestamp};
use crate::routing::ShardId;
use crate::shard::member::{Member, MemberId, Seen, epoch_number, instance_of, view_of};
use crate::view::{Epoch, Instance};

/// Longest wait for the answer to one statement. Longer than a lease, so that who waits for it
/// has long stopped relying on the view.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The server gives up a little earlier, and says why.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long the sessions of a dead member may take to end, and how often they are looked at.
const END_MAX: Duration = Duration::from_secs(3);
const END_POLL: Duration = Duration::from_millis(25);

/// Longest wait for a goodbye to be read.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What the session does before it has the lock. A view that was seen must never be lost: where
/// commits do not wait for the disk, those of this session do.
const PREPARE: &str = "
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off';
LISTEN respgres_outbox;";

/// The member's lock is 1919251313 (`respgres` has 1919251312 for the start-up lock) and its number.
const LOCK: &str = "SELECT pg_try_advisory_lock(1919251313, $1)";

/// Whether a session holds the member's lock. Looked up, not tried: one that tries has it for a
/// moment, and is taken for the member by who else looks.
macro_rules! is_held {
    ($number:literal) => {
        concat!(
            "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted",
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            " AND classid = 1919251313 AND objsubid = 2 AND objid = ",
            $number,
            ")"
        )
    };
}

/// An earlier session of this member, lost and not yet noticed by the server, still has its lock.
const END_HOLDER: &str = "
SELECT count(pg_terminate_backend(pid)) FROM pg_locks
WHERE locktype = 'advisory' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid = 1919251313 AND objsubid = 2 AND objid = $1::integer::oid
  AND pid <> pg_backend_pid()";

const REPORT: &str = "
INSERT INTO respgres_members AS old (member, lock_number, cache) VALUES ($1, $2, $3)
ON CONFLICT (member) DO UPDATE SET cache = excluded.cache
WHERE old.cache IS DISTINCT FROM excluded.cache";

const LOOK: &str = "
SELECT v.epoch, v.cache, coalesce(v.changed_at, clock.now), clock.now,
       EXISTS (SELECT FROM respgres_members WHERE member = $1),
       EXISTS (SELECT FROM respgres_outbox)
FROM (SELECT clock_timestamp() AS now) AS clock LEFT JOIN respgres_view AS v ON true";

/// A member looks at the view all the time: one whose session has asked nothing for 2 s stands
/// still. Where the server does not track activity, all are taken for active.
const OTHERS: &str = "
SELECT m.member, m.cache, session.pid IS NOT NULL,
       coalesce(session.state_change > clock_timestamp() - interval '2 s', session.pid IS NOT NULL)
FROM respgres_members AS m LEFT JOIN LATERAL (
    SELECT a.pid, a.state_change FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1919251313 AND l.objsubid = 2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.objid = m.lock_number::oid
    LIMIT 1) AS session ON true
WHERE m.member <> $1";

const FOUND: &str = "
INSERT INTO respgres_view (epoch, cache, changed_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT DO NOTHING";

const CHANGE: &str = "
UPDATE respgres_view SET epoch = epoch + 1, cache = $2, changed_at = clock_timestamp()
WHERE epoch = $1";

/// Whether the member lives after all, and if not, how many of its sessions there are, each of
/// which is told to end.
const END_SESSIONS: &str = concat!(
    "SELECT member.lives, (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE NOT member.lives AND datname = current_database() AND application_name = $2)
     FROM (SELECT ",
    is_held!("$1::integer::oid"),
    " AS lives) AS member"
);

/// One of several proxies that retire a member gets its row, and that one changes the view.
const RETIRE: &str = concat!(
    "WITH gone AS (DELETE FROM respgres_members WHERE member = $1 AND NOT ",
    is_held!("lock_number::oid"),
    " RETURNING member)
     UPDATE respgres_view SET epoch = epoch + 1, changed_at = clock_timestamp()
     WHERE (SELECT count(*) FROM gone) > 0"
);

const LEAVE: &str = "DELETE FROM respgres_members WHERE member = $1";

/// The session. Each method is one statement that commits by itself, so they may be called at once.
pub(in crate::shard) struct Membership {
    shard: ShardId,
    member: MemberId,
    client: Client,
    look: Statement,
    noted: Arc<Notify>,
    driver: Driver,
}

/// The task that moves the bytes of the session's connection, which ends when this is dropped.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PostgresShard {
    pub(in crate::shard) async fn join(
        &self,
        cache: Option<Instance>,
    ) -> Result<Membership, String> {
        let limit = self.connect_timeout + ANSWER_MAX;
        tokio::time::timeout(limit, self.try_join(cache))
            .await
            .unwrap_or_else(|_elapsed| Err(no_answer(limit)))
    }

    async fn try_join(&self, cache: Option<Instance>) -> Result<Membership, String> {
        let connected = |error| Failure::from(error).to_string();
        let (client, mut connection) = self.dialer.dial().await.map_err(connected)?;
        let noted = Arc::new(Notify::new());
        let notify = Arc::clone(&noted);
        let driver = Driver(tokio::spawn(async move {
            // An error ends the connection, and with it whatever waits for an answer.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if matches!(message, AsyncMessage::Notification(_)) {
                    notify.notify_one();
                }
            }
        }));
        self.dialer
            .prepare(&client, STATEMENT_TIMEOUT)
            .await
            .map_err(connected)?;
        let sent = |error: tokio_postgres::Error| described(&error);
        client.batch_execute(PREPARE).await.map_err(sent)?;
        // The lock first: a row without it is that of a dead member.
        let number = self.member.lock_number();
        while !client
            .query_one(LOCK, &[&number])
            .await
            .and_then(|row| row.try_get::<_, bool>(0))
            .map_err(sent)?
        {
            client
                .query_one(END_HOLDER, &[&number])
                .await
                .map_err(sent)?;
            tokio::time::sleep(END_POLL).await;
        }
        let look = client.prepare(LOOK).await.map_err(sent)?;
        let membership = Membership {
            shard: self.id,
            member: self.member,
            client,
            look,
            noted,
            driver,
        };
        membership.report(cache).await?;
        Ok(membership)
    }
}

impl Membership {
    pub(in crate::shard) async fn look(&self) -> Result<Seen, String> {
        let member = self.member.to_string();
        let row = bounded(self.client.query_one(&self.look, &[&member])).await?;
        let changed_at = timestamp(&row, 2).map_err(|failure| failure.to_string())?;
        let now = timestamp(&row, 3).map_err(|failure| failure.to_string())?;
        let epoch: Option<i64> = column(&row, 0)?;
        let cache: Option<&str> = column(&row, 1)?;
        Ok(Seen {
            view: epoch.map(|epoch| view_of(epoch, cache)).transpose()?,
            age: now.since(changed_at),
            now,
            is_registered: column(&row, 4)?,
            has_notes: column(&row, 5)?,
        })
    }

    pub(in crate::shard) async fn others(&self) -> Result<Vec<Member>, String> {
        let member = self.member.to_string();
        let rows = bounded(self.client.query(OTHERS, &[&member])).await?;
        let mut others = Vec::with_capacity(rows.len());
        for row in &rows {
            // A row that is not of this program's making is nobody's.
            let Some(id) = MemberId::parse(column(row, 0)?) else {
                continue;
            };
            others.push(Member {
                id,
                cache: instance_of(column(row, 1)?)?,
                is_alive: column(row, 2)?,
                is_active: column(row, 3)?,
            });
        }
        Ok(others)
    }

    pub(in crate::shard) async fn found(&self, cache: Option<Instance>) -> Result<bool, String> {
        let first = epoch_number(Epoch::FIRST);
        let made = self.execute(FOUND, &[&first, &text(cache)]).await?;
        Ok(made > 0)
    }

    pub(in crate::shard) async fn change(
        &self,
        from: Epoch,
        cache: Option<Instance>,
    ) -> Result<bool, String> {
        let changed = self
            .execute(CHANGE, &[&epoch_number(from), &text(cache)])
            .await?;
        Ok(changed > 0)
    }

    pub(in crate::shard) async fn report(&self, cache: Option<Instance>) -> Result<(), String> {
        let member = self.member.to_string();
        let number = self.member.lock_number();
        self.execute(REPORT, &[&member, &number, &text(cache)])
            .await
            .map(drop)
    }

    pub(in crate::shard) async fn retire(&self, member: MemberId) -> Result<bool, String> {
        if member == self.member {
            return Ok(false);
        }
        let number = member.lock_number();
        let name = application_name(member, self.shard);
        let deadline = Instant::now() + END_MAX;
        loop {
            let sessions = bounded(self.client.query_one(END_SESSIONS, &[&number, &name])).await?;
            if column::<bool>(&sessions, 0)? {
                return Ok(false);
            }
            // None is left: nothing that they began can commit any more (see `await_end`).
            if column::<i64>(&sessions, 1)? == 0 {
                break;
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(END_POLL).await;
        }
        let changed = self.execute(RETIRE, &[&member.to_string()]).await?;
        Ok(changed > 0)
    }

    pub(in crate::shard) async fn leave(self) -> Result<(), String> {
        self.execute(LEAVE, &[&self.member.to_string()]).await?;
        let Membership {
            client, mut driver, ..
        } = self;
        // The end of the client makes the driver say goodbye to the server, and end.
        drop(client);
        let _ = tokio::time::timeout(CLOSE_MAX, &mut driver.0).await;
        Ok(())
    }

    pub(in crate::shard) async fn noted(&self) {
        self.noted.notified().await;
    }

    async fn execute(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, String> {
        bounded(self.client.execute(sql, parameters)).await
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("shard", &self.shard)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

async fn bounded<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_MAX, work).await {
        Ok(result) => result.map_err(|error| described(&error)),
        Err(_elapsed) => Err(no_answer(ANSWER_MAX)),
    }
}

fn no_answer(after: Duration) -> String {
    super::no_answer(after).to_string()
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a PgRow,
    index: usize,
) -> Result<T, String> {
    row.try_get(index).map_err(|error| described(&error))
}

fn text(cache: Option<Instance>) -> Option<String> {
    cache.map(|instance| instance.to_string())
}
