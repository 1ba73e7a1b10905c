//! The part of one shard in a transaction over several: a branch, which is prepared before it is
//! committed; and what is needed to finish one that was left behind. `engine/across.rs` has the
//! protocol.

use std::time::{Duration, Instant};

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::error::SqlState;

use super::failure::classify;
use super::held::{Held, Keys, Prepared, prepare};
use super::pool::Object;
use super::{PostgresShard, misread, no_answer};
use crate::command::operation::Access;
use crate::command::{Rows, Timestamp};
use crate::routing::ShardId;
use crate::shard::branch::{Decision, Gid, Verdict};
use crate::shard::orphan::{Orphan, Unfinished};
use crate::shard::{Failure, GRACE};

/// Locks are waited for so long, and a branch that was locked waits for the others longer than an
/// ordinary transaction may. A decision has to be on the disk before it is acted upon, also where
/// commits are not waited for.
const BEGIN: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = 2000;
SET LOCAL idle_in_transaction_session_timeout = 5000;
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') = 'off';";

/// Whoever commits the branch: the proxies find its keys in the outbox, and tell the cache. Without a
/// notification, which can't be prepared.
const NOTE: &str = "INSERT INTO respgres_outbox (key) SELECT * FROM unnest($1::bytea[])";

const DECIDE: &str = "
INSERT INTO respgres_decisions (gid, verdict, branches) VALUES ($1, 'commit', $2)";

/// Waits for a decision that is under way. If there is none then, this is it, and the one who would
/// have decided otherwise can't any more.
const ABORT_UNDECIDED: &str = "
INSERT INTO respgres_decisions (gid, verdict, branches) VALUES ($1, 'abort', '{}')
ON CONFLICT DO NOTHING";

const VERDICT: &str = "SELECT verdict FROM respgres_decisions WHERE gid = $1";

/// Some rounds of an undisturbed transaction, so that it is left to the one whose it is.
const IN_DOUBT: &str = "
SELECT gid FROM pg_prepared_xacts
WHERE database = current_database() AND starts_with(gid, $1)
  AND prepared < clock_timestamp() - $2::bigint * interval '1 microsecond'
ORDER BY prepared";

/// A branch may be prepared somewhat later than the decision was sent, but not by so much.
const OLD_DECISIONS: &str = "
SELECT gid, branches FROM respgres_decisions
WHERE decided_at < clock_timestamp() - interval '1 minute' ORDER BY decided_at LIMIT 1000";

const FORGET: &str = "DELETE FROM respgres_decisions WHERE gid = ANY($1::text[])";

/// The part of this shard in a transaction. Dropping it before it is prepared rolls it back.
pub(in crate::shard) struct Branch {
    /// Closed and not given back unless the transaction is over.
    connection: Connection,
    prepared: Prepared,
    held: Held,
    prepared_max: u32,
    shard: ShardId,
    limit: Duration,
}

/// The connection of a branch. It is closed, not given back, while it may be in a transaction.
struct Connection {
    object: Option<Object>,
    is_clean: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_clean
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

impl Connection {
    fn get(&self) -> Result<&ClientWrapper, Failure> {
        self.object
            .as_deref()
            .map(|connection| &**connection)
            .ok_or_else(|| Failure::Unreachable("the session has ended".into()))
    }
}

impl PostgresShard {
    /// Begins a branch: locks the keys and reads them.
    pub(in crate::shard) async fn begin(
        &self,
        keys: &[(Bytes, Access)],
    ) -> Result<Branch, Failure> {
        let mut named = Keys::default();
        for (key, access) in keys {
            named.add(key, *access);
        }
        let object = self.connection().await?;
        let prepared_max = object.prepared_max;
        let connection = Connection {
            object: Some(object),
            is_clean: false,
        };
        let limit = self.query_timeout + GRACE;
        let (prepared, held) = within(limit, async {
            let client = connection.get()?;
            let prepared = Prepared::on(client).await?;
            let held = Held::take(client, &prepared, BEGIN, named).await?;
            Ok((prepared, held))
        })
        .await?;
        Ok(Branch {
            connection,
            prepared,
            held,
            prepared_max,
            shard: self.id,
            limit,
        })
    }

    /// Finishes a prepared transaction. One that is not there was finished by somebody else.
    pub(in crate::shard) async fn finish(
        &self,
        gid: &Gid,
        verdict: Verdict,
    ) -> Result<(), Failure> {
        let name = gid.branch(self.id);
        self.on_connection(async |connection| finish(connection, &name, verdict).await)
            .await
    }

    /// What was decided here, now if not before.
    pub(in crate::shard) async fn verdict(&self, gid: &Gid) -> Result<Verdict, Failure> {
        let gid = gid.as_str();
        let row = patiently!(
            self,
            self.on_connection(async |connection| {
                let abort = connection.prepare_cached(ABORT_UNDECIDED).await?;
                let verdict = connection.prepare_cached(VERDICT).await?;
                connection.execute(&abort, &[&gid]).await?;
                connection.query_one(&verdict, &[&gid]).await
            })
            .await
        )?;
        match row.try_get(0).map_err(misread)? {
            "commit" => Ok(Verdict::Commit),
            "abort" => Ok(Verdict::Abort),
            other => Err(Failure::Refused(format!("an unknown verdict '{other}'"))),
        }
    }

    /// Prepared transactions whose names begin with `prefix`, and which are older than `age`.
    pub(in crate::shard) async fn in_doubt(
        &self,
        prefix: &str,
        age: Duration,
    ) -> Result<Vec<Gid>, Failure> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let rows = self
            .on_connection(async |connection| {
                let in_doubt = connection.prepare_cached(IN_DOUBT).await?;
                connection.query(&in_doubt, &[&prefix, &age]).await
            })
            .await?;
        rows.iter()
            .filter_map(|row| row.try_get(0).map(Gid::of_branch).transpose())
            .collect::<Result<_, _>>()
            .map_err(misread)
    }

    /// Decisions that were made a while ago.
    pub(in crate::shard) async fn old_decisions(&self) -> Result<Vec<Decision>, Failure> {
        let rows = self
            .on_connection(async |connection| {
                let old = connection.prepare_cached(OLD_DECISIONS).await?;
                connection.query(&old, &[]).await
            })
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Decision {
                    gid: Gid::from_text(row.try_get(0)?),
                    branches: row.try_get(1)?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(misread)
    }

    pub(in crate::shard) async fn forget(&self, decided: &[Gid]) -> Result<(), Failure> {
        // In one order, so that two proxies that forget the same can't deadlock.
        let mut gids: Vec<&str> = decided.iter().map(Gid::as_str).collect();
        gids.sort_unstable();
        self.on_connection(async |connection| {
            let forget = connection.prepare_cached(FORGET).await?;
            connection.execute(&forget, &[&gids]).await
        })
        .await
        .map(drop)
    }
}

impl Branch {
    /// Whether the server can prepare transactions.
    pub(in crate::shard) fn can_prepare(&self) -> bool {
        self.prepared_max > 0
    }

    /// Puts the rows as they are under their locks into `rows`; once.
    pub(in crate::shard) fn put_into(&mut self, rows: &mut Rows) {
        self.held.put_into(rows);
    }

    /// The shard's now.
    pub(in crate::shard) fn now(&self) -> Timestamp {
        self.held.now
    }

    /// Writes what `rows` changes here; with `decision` also that the whole is to be committed, which
    /// counts once this branch is.
    pub(in crate::shard) async fn write(
        &mut self,
        rows: &Rows,
        decision: Option<&Decision>,
    ) -> Result<(), Failure> {
        let Self {
            connection,
            prepared,
            held,
            limit,
            ..
        } = self;
        within(*limit, async {
            let client = connection.get()?;
            let note = prepare(client, NOTE).await?;
            let decide = prepare(client, DECIDE).await?;
            let changes = held.changes(rows);
            let last = async {
                let (noted, decided) = tokio::join!(
                    biased;
                    async {
                        if changes.changed.is_empty() { return Ok(0) }
                        client.execute(&note, &[&changes.changed]).await
                    },
                    async {
                        let Some(Decision { gid, branches }) = decision else { return Ok(0) };
                        client.execute(&decide, &[&gid.as_str(), branches]).await
                    },
                );
                noted.and(decided)
            };
            changes.send(client, prepared, last).await.map(drop)
        })
        .await
    }

    /// Prepares the transaction. Where the answer is lost it may be prepared or not.
    pub(in crate::shard) async fn prepare(&mut self, gid: &Gid) -> Result<(), Failure> {
        let sql = format!("PREPARE TRANSACTION {}", gid.branch(self.shard));
        let sent = self.send(&sql).await;
        self.connection.is_clean = sent.is_ok();
        sent
    }

    /// Commits the transaction, not having been prepared.
    pub(in crate::shard) async fn commit(mut self) -> Result<(), Unfinished> {
        let process = self.connection.object.as_ref().map(|object| object.process);
        let sent = self.send("COMMIT").await;
        self.connection.is_clean = sent.is_ok();
        sent.map_err(|failure| match failure {
            Failure::Closed(_) | Failure::Silent(_) => Unfinished {
                failure,
                orphan: process.map(Orphan),
            },
            other => other.into(),
        })
    }

    /// Takes the transaction back, not having been prepared. Success also says that the locks were held
    /// until now.
    pub(in crate::shard) async fn roll_back(mut self) -> Result<(), Failure> {
        let sent = self.send("ROLLBACK").await;
        self.connection.is_clean = sent.is_ok();
        sent
    }

    /// Finishes the transaction, having been prepared.
    pub(in crate::shard) async fn finish(
        mut self,
        gid: &Gid,
        verdict: Verdict,
    ) -> Result<(), Failure> {
        self.connection.is_clean = false;
        let name = gid.branch(self.shard);
        let finished = within(self.limit, async {
            let finished = finish(self.connection.get()?, &name, verdict).await;
            finished.map_err(|error| classify(&error))
        })
        .await;
        self.connection.is_clean = finished.is_ok();
        finished
    }

    async fn send(&self, sql: &str) -> Result<(), Failure> {
        within(self.limit, async {
            let sent = self.connection.get()?.batch_execute(sql).await;
            sent.map_err(|error| classify(&error))
        })
        .await
    }
}

async fn finish(
    connection: &ClientWrapper,
    name: &str,
    verdict: Verdict,
) -> Result<(), tokio_postgres::Error> {
    let how = match verdict {
        Verdict::Commit => "COMMIT",
        Verdict::Abort => "ROLLBACK",
    };
    let sql = format!("{how} PREPARED {name}");
    match connection.batch_execute(&sql).await {
        // It is taken away last, when what it wrote can be seen.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
        other => other,
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_elapsed| Err(no_answer(limit)))
}
