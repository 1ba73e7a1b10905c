//! A proxy's place among the members of a shard: the session that shows it alive, over which the
//! view is read and changed.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row as PgRow, Statement};

use super::failure::described;
use super::session::application_name;
use super::{Failure, PostgresShard, timestamp};
use crate::routing::ShardId;
use crate::shard::member::{Member, MemberId, Seen, epoch_number, instance_of, view_of};
use crate::view::{Epoch, Instance, View};

/// Longest wait for the answer to one statement. Longer than a lease, so that who waits for it
/// has long stopped relying on the view.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The server gives up a little earlier, and says why.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long the sessions of a dead member are waited for, and how often they are looked at.
/// Who asks for it is told soon that they have not ended, and may ask again.
const END_MAX: Duration = Duration::from_millis(400);
const END_POLL: Duration = Duration::from_millis(25);

/// Longest wait for a goodbye to be read.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What the session does before it has the lock. A view that was seen must never be lost: where
/// commits do not wait for the disk, those of this session do.
const PREPARE: &str = "
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off';
LISTEN respgres_outbox;";

const PROCESS: &str = "SELECT pg_backend_pid()";

/// The member's lock is 1919251313 (`respgres` has 1919251312 for the start-up lock) and its number.
const LOCK: &str = "SELECT pg_try_advisory_lock(1919251313, $1)";

/// Which row of `pg_locks` is the member's lock, held by a session.
macro_rules! is_lock {
    ($number:literal) => {
        concat!(
            "locktype = 'advisory' AND granted",
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            " AND classid = 1919251313 AND objsubid = 2 AND objid = ",
            $number
        )
    };
}

/// Whether a session holds the member's lock. Looked up, not tried: one that tries has it for a
/// moment, and is taken for the member by who else looks.
macro_rules! is_held {
    ($number:literal) => {
        concat!(
            "EXISTS (SELECT FROM pg_locks WHERE ",
            is_lock!($number),
            ")"
        )
    };
}

/// An earlier session of this member, lost and not yet noticed by the server, still has its lock.
const END_HOLDER: &str = concat!(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE ",
    is_lock!("$1::integer::oid"),
    " AND pid <> pg_backend_pid()"
);

const REPORT: &str = "
INSERT INTO respgres_members AS old (member, lock_number, cache) VALUES ($1, $2, $3)
ON CONFLICT (member) DO UPDATE SET cache = excluded.cache, reported_at = clock_timestamp()
WHERE old.cache IS DISTINCT FROM excluded.cache";

const LOOK: &str = "
SELECT v.epoch, v.cache, coalesce(v.changed_at, clock.now), clock.now,
       EXISTS (SELECT FROM respgres_members WHERE member = $1), pg_backend_pid()
FROM (SELECT clock_timestamp() AS now) AS clock LEFT JOIN respgres_view AS v ON true";

/// A member looks at the view all the time: one whose session has asked nothing for 2 s stands
/// still. Where the server does not track activity, all are taken for active.
const OTHERS: &str = concat!(
    "SELECT m.member, m.cache, session.pid IS NOT NULL,
       coalesce(session.state_change > clock_timestamp() - interval '2 s', session.pid IS NOT NULL),
       m.reported_at, clock_timestamp()
FROM respgres_members AS m LEFT JOIN LATERAL (
    SELECT pid, state_change FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE ",
    is_lock!("m.lock_number::oid"),
    " LIMIT 1) AS session ON true
WHERE m.member <> $1"
);

/// The epoch after that of the row. A shard that lost its last commits counts again from where it
/// was, so the counter alone would come back, and with it entries of the cache: the lower 32 bits
/// are random. The counter has 31 bits, as the column has a sign.
macro_rules! next_epoch {
    () => {
        "(((epoch >> 32) + 1) & 2147483647) << 32 | (random() * 4294967295)::bigint"
    };
}

const FOUND: &str = "
INSERT INTO respgres_view (epoch, cache, changed_at)
VALUES (1::bigint << 32 | (random() * 4294967295)::bigint, $1, clock_timestamp())
ON CONFLICT DO NOTHING RETURNING epoch, cache";

const CHANGE: &str = concat!(
    "UPDATE respgres_view SET cache = $2, changed_at = clock_timestamp(), epoch = ",
    next_epoch!(),
    " WHERE epoch = $1 RETURNING epoch, cache"
);

/// Whether the member lives after all, and if not, how many of its sessions there are, each of
/// which is told to end.
const END_SESSIONS: &str = concat!(
    "SELECT member.lives, (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE NOT member.lives AND datname = current_database() AND application_name = $2)
     FROM (SELECT ",
    is_held!("$1::integer::oid"),
    " AS lives) AS member"
);

/// One of several proxies that retire a member gets its row, and that one changes the view. One that
/// is off is left so. If it is on by a commit that this does not see, that is later than all that
/// the member committed.
const RETIRE: &str = concat!(
    "WITH gone AS (DELETE FROM respgres_members WHERE member = $1 AND NOT ",
    is_held!("lock_number::oid"),
    " RETURNING member)
     UPDATE respgres_view SET changed_at = clock_timestamp(), epoch = ",
    next_epoch!(),
    " WHERE cache IS NOT NULL AND (SELECT count(*) FROM gone) > 0 RETURNING epoch, cache"
);

const LEAVE: &str = "DELETE FROM respgres_members WHERE member = $1";

/// The session. Each method is one statement that commits by itself, so they may be called at once.
pub(in crate::shard) struct Membership {
    shard: ShardId,
    member: MemberId,
    client: Client,
    process: i32,
    look: Statement,
    /// Dead members whose sessions can't be ended, as far as that was logged.
    stuck: Mutex<HashSet<MemberId>>,
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
        let (client, mut connection) = match self.dialer.dial().await {
            Err(error) if error.is_server_full() => {
                let done = if self.make_room() {
                    "a connection of the pool is closed to make room for it"
                } else {
                    "the pool has no connection to spare; raise max_connections of the server, or give each proxy a smaller DB_POOL_MAX_SIZE"
                };
                return Err(format!(
                    "{error}; this proxy needs one besides its pool: {done}"
                ));
            }
            other => other.map_err(connected)?,
        };
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
        let greeting = self.dialer.prepare(&client, STATEMENT_TIMEOUT, None).await;
        let process = greeting.map_err(connected)?.process.pid;
        let sent = |error: tokio_postgres::Error| described(&error);
        client.batch_execute(PREPARE).await.map_err(sent)?;
        let now_in = client.query_one(PROCESS, &[]).await.map_err(sent)?;
        expect_process(process, column(&now_in, 0)?)?;
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
            process,
            look,
            stuck: Mutex::default(),
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
        expect_process(self.process, column(&row, 5)?)?;
        let changed_at = timestamp(&row, 2).map_err(|failure| failure.to_string())?;
        let now = timestamp(&row, 3).map_err(|failure| failure.to_string())?;
        let epoch: Option<i64> = column(&row, 0)?;
        let cache: Option<&str> = column(&row, 1)?;
        Ok(Seen {
            view: epoch.map(|epoch| view_of(epoch, cache)).transpose()?,
            age: now.since(changed_at),
            now,
            is_registered: column(&row, 4)?,
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
            let reported_at = timestamp(row, 4).map_err(|failure| failure.to_string())?;
            let now = timestamp(row, 5).map_err(|failure| failure.to_string())?;
            others.push(Member {
                id,
                cache: instance_of(column(row, 1)?)?,
                reported_for: now.since(reported_at),
                is_alive: column(row, 2)?,
                is_active: column(row, 3)?,
            });
        }
        Ok(others)
    }

    pub(in crate::shard) async fn found(
        &self,
        cache: Option<Instance>,
    ) -> Result<Option<View>, String> {
        self.change_view(FOUND, &[&text(cache)]).await
    }

    pub(in crate::shard) async fn change(
        &self,
        from: Epoch,
        cache: Option<Instance>,
    ) -> Result<Option<View>, String> {
        self.change_view(CHANGE, &[&epoch_number(from), &text(cache)])
            .await
    }

    pub(in crate::shard) async fn report(&self, cache: Option<Instance>) -> Result<(), String> {
        let member = self.member.to_string();
        let number = self.member.lock_number();
        self.execute(REPORT, &[&member, &number, &text(cache)])
            .await
            .map(drop)
    }

    pub(in crate::shard) async fn retire(&self, member: MemberId) -> Result<Option<View>, String> {
        if member == self.member {
            return Ok(None);
        }
        let number = member.lock_number();
        let name = application_name(member, self.shard);
        let deadline = Instant::now() + END_MAX;
        loop {
            let asked = in_time(self.client.query_one(END_SESSIONS, &[&number, &name])).await?;
            let sessions = match asked {
                Ok(sessions) => sessions,
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    self.log_stuck(member, &described(&error));
                    return Ok(None);
                }
                Err(error) => return Err(described(&error)),
            };
            if column::<bool>(&sessions, 0)? {
                return Ok(None);
            }
            // None is left: nothing that they began can commit any more (see `await_end`).
            if column::<i64>(&sessions, 1)? == 0 {
                break;
            }
            if Instant::now() > deadline {
                self.log_stuck(member, "they were told to, and are still there");
                return Ok(None);
            }
            tokio::time::sleep(END_POLL).await;
        }
        self.lock_stuck().remove(&member);
        self.change_view(RETIRE, &[&member.to_string()]).await
    }

    fn lock_stuck(&self) -> MutexGuard<'_, HashSet<MemberId>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once for each member: it is tried again all the time.
    fn log_stuck(&self, member: MemberId, reason: &str) {
        if self.lock_stuck().insert(member) {
            tracing::warn!(shard = %self.shard, %member, reason, "the sessions of a proxy that ended without signing off can't be ended; what it committed last may be hidden by the cache until they are");
        }
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

    /// The view that `sql` makes, if it does.
    async fn change_view(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<View>, String> {
        bounded(self.client.query_opt(sql, parameters))
            .await?
            .map(|row| view_of(column(&row, 0)?, column(&row, 1)?))
            .transpose()
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

/// The lock, the settings and LISTEN are those of a server process. A pooler that hands out
/// another one for the next transaction takes them away without a word.
fn expect_process(joined: i32, now_in: i32) -> Result<(), String> {
    if joined == now_in {
        return Ok(());
    }
    Err("its statements reach different sessions of the server, as behind a pooler in transaction mode: each connection of a proxy needs a session of its own (let it connect to the server itself, or set the pooler to session mode)".into())
}

async fn bounded<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    in_time(work).await?.map_err(|error| described(&error))
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(ANSWER_MAX, work)
        .await
        .map_err(|_elapsed| no_answer(ANSWER_MAX))
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
