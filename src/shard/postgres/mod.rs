//! A shard in a PostgreSQL database.

/// Does again what was not granted a lock, for as long as a statement may take: what nobody waits
/// behind, as others do behind a write, may wait longer than that for who has locked the table.
macro_rules! patiently {
    ($shard:expr, $once:expr) => {{
        let begun = Instant::now();
        loop {
            match $once {
                Err(Failure::Locked(_)) if begun.elapsed() < $shard.query_timeout => {}
                result => break result,
            }
        }
    }};
}

mod claim;
mod failure;
mod held;
mod locked;
mod membership;
mod orphan;
mod outbox;
mod pool;
mod scan;
mod schema;
mod session;
mod statements;
mod stored;
mod survey;
mod two_phase;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use deadpool_postgres::Timeouts;
use tokio_postgres::Row as PgRow;

use self::failure::{classify, described};
use self::pool::{Object, Pool, PoolError};
use self::session::{Dialer, application_name};
use self::stored::{PgTimestamp, stored_key};
use super::identity::Identity;
use super::member::MemberId;
use super::{Expiring, Failure, GRACE, Reading, Settings};
use crate::adjustable::Size;
use crate::command::{Row, Stamp, Timestamp};
use crate::metrics::Metrics;
use crate::routing::ShardId;
use crate::tls::PostgresTls;

pub(super) use claim::Claim;
pub(super) use membership::Membership;
pub(super) use session::ServerProcess;
pub(super) use survey::Visit;
pub(super) use two_phase::Branch;

/// How long a read waits for the rows that have expired and are locked, and how often it looks.
const EXPIRED_WAIT_MAX: Duration = Duration::from_secs(1);
const EXPIRED_POLL: Duration = Duration::from_millis(5);

/// A server that was full is asked for another connection of the pool after this, and how often one
/// that becomes free is looked for until then.
const HOLD_OFF: Duration = Duration::from_secs(1);
const FREE_POLL: Duration = Duration::from_millis(5);

/// Up to this size of the table, rows are counted one by one (some 10 ms).
const COUNT_EXACTLY_MAX_BYTES: i64 = 16 * 1024 * 1024;

pub(super) struct PostgresShard {
    id: ShardId,
    member: MemberId,
    dialer: Arc<Dialer>,
    connect_timeout: Duration,
    pool_wait_timeout: Duration,
    pool: Pool,
    pool_min_size: Size,
    pool_max_size: Size,
    query_timeout: Duration,
    value_max: usize,
    metrics: Arc<Metrics>,
}

impl PostgresShard {
    pub(super) fn new(
        config: &tokio_postgres::Config,
        tls: &PostgresTls,
        id: ShardId,
        member: MemberId,
        settings: &Settings,
        identity: Arc<OnceLock<Identity>>,
    ) -> Result<Self, String> {
        let name = application_name(member, id);
        let dialer = Arc::new(Dialer::new(config, tls, &name, settings, identity));
        let runtime = settings.workers.of(id.index()).clone();
        Ok(Self {
            id,
            member,
            pool: pool::build(Arc::clone(&dialer), settings, runtime)?,
            dialer,
            connect_timeout: settings.connect_timeout,
            pool_wait_timeout: settings.pool_wait_timeout,
            pool_min_size: Size::new(settings.pool_min_size),
            pool_max_size: Size::new(settings.pool_max_size),
            query_timeout: settings.query_timeout,
            value_max: settings.value_max,
            metrics: Arc::clone(&settings.metrics),
        })
    }

    /// Reads the rows. One that has expired is not simply taken for absent: a transaction that
    /// decided before the deadline may still commit, and the key would come back. So it is removed,
    /// under its lock, as a sweep would a moment later; who locks it after that finds it expired.
    ///
    /// One whose lock somebody else keeps can't be read; the others can.
    pub(super) async fn read(&self, keys: &[Bytes]) -> Result<Reading, Failure> {
        let keys: Vec<_> = keys.iter().map(|key| stored_key(key)).collect();
        let mut live = HashMap::with_capacity(keys.len());
        let mut now = None;
        let mut to_read: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let begun = Instant::now();
        loop {
            let expired = self.look(&to_read, &mut live, &mut now).await?;
            let mut removed = BTreeSet::new();
            if !expired.is_empty() {
                removed = self.remove_expired(&expired).await?;
            }
            to_read.retain(|key| expired.contains(*key) && !removed.contains(*key));
            if to_read.is_empty() || begun.elapsed() >= EXPIRED_WAIT_MAX {
                break;
            }
            tokio::time::sleep(EXPIRED_POLL).await;
        }
        let locked: BTreeSet<&[u8]> = to_read.into_iter().collect();
        Ok(Reading {
            rows: keys.iter().map(|key| live.get(&key[..]).cloned()).collect(),
            now,
            locked: (0..keys.len())
                .filter(|position| locked.contains(&keys[*position][..]))
                .collect(),
        })
    }

    /// Puts those rows of `keys` that live into `live`; returns the keys of those that have expired.
    async fn look(
        &self,
        keys: &[&[u8]],
        live: &mut HashMap<Vec<u8>, Row>,
        now: &mut Option<Timestamp>,
    ) -> Result<BTreeSet<Vec<u8>>, Failure> {
        let found = match self.select(keys).await {
            // The server closed an idle connection: a read can be repeated on another.
            Err(Failure::Closed(_)) => self.select(keys).await?,
            other => other?,
        };
        let mut expired = BTreeSet::new();
        for pg_row in &found {
            let at = timestamp(pg_row, 6)?;
            *now = (*now).max(Some(at));
            let (key, row) = decode(pg_row)?;
            if row.is_live(at) {
                live.insert(key, row);
            } else {
                expired.insert(key);
            }
        }
        Ok(expired)
    }

    async fn select(&self, keys: &[&[u8]]) -> Result<Vec<PgRow>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        patiently!(
            self,
            self.on_connection(async |connection| {
                let statement = connection.prepare_cached(statements::READ).await?;
                connection.query(&statement, &[&keys]).await
            })
            .await
        )
    }

    /// Returns the keys whose rows are gone; the others are locked, were written again meanwhile, or
    /// removed by somebody else.
    async fn remove_expired(&self, keys: &BTreeSet<Vec<u8>>) -> Result<BTreeSet<Vec<u8>>, Failure> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let removed = patiently!(
            self,
            self.on_connection(async |connection| {
                let remove = connection
                    .prepare_cached(statements::REMOVE_EXPIRED)
                    .await?;
                connection.query(&remove, &[&keys]).await
            })
            .await
        )?;
        removed
            .iter()
            .map(|row| row.try_get::<_, Vec<u8>>(0).map_err(misread))
            .collect()
    }

    pub(super) async fn count(&self) -> Result<u64, Failure> {
        let row = patiently!(
            self,
            self.on_connection(async |connection| {
                let size = connection.prepare_cached(statements::SIZE).await?;
                let size = connection.query_one(&size, &[]).await?;
                if size.try_get::<_, i64>(0)? > COUNT_EXACTLY_MAX_BYTES {
                    return size.try_get::<_, i64>(1);
                }
                let count = connection.prepare_cached(statements::COUNT).await?;
                connection.query_one(&count, &[]).await?.try_get(0)
            })
            .await
        )?;
        Ok(row.max(0) as u64)
    }

    pub(super) async fn expiring(&self) -> Result<Expiring, Failure> {
        let row = patiently!(
            self,
            self.on_connection(async |connection| {
                let expiring = connection.prepare_cached(statements::EXPIRING).await?;
                connection
                    .query_one(&expiring, &[&COUNT_EXACTLY_MAX_BYTES])
                    .await
            })
            .await
        )?;
        let rows: i64 = row.try_get(0).map_err(misread)?;
        let millis: Option<i64> = row.try_get(1).map_err(misread)?;
        Ok(Expiring {
            rows: rows.max(0) as u64,
            millis_left: millis.unwrap_or(0).max(0) as u64,
        })
    }

    pub(super) async fn sweep(&self, limit: u32) -> Result<u64, Failure> {
        self.on_connection(async |connection| {
            let statement = connection.prepare_cached(statements::SWEEP).await?;
            connection.execute(&statement, &[&i64::from(limit)]).await
        })
        .await
    }

    /// Looks whether the server is a primary and the database still the one that is expected.
    pub(super) async fn verify(&self, expected: &Identity) -> Result<Timestamp, Failure> {
        let (server, found) = self
            .on_connection(async |connection| {
                let server = connection.query_one(statements::SERVER, &[]).await?;
                Ok((server, claim::read_identity(connection).await?))
            })
            .await?;
        claim::refuse_standby(&server)?;
        match found {
            Some(found) if found == *expected => timestamp(&server, 1),
            Some(found) => Err(claim::is_foreign(&found)),
            None => Err(claim::is_blank()),
        }
    }

    pub(super) fn pool(&self) -> super::Pool {
        let status = self.pool.status();
        super::Pool {
            size: status.size,
            idle: status.available,
            max: status.max_size,
            waiting: status.waiting,
        }
    }

    /// Changes the least and the most connections of the pool. What is over that is closed once it is idle.
    pub(super) fn set_pool_size(&self, min: usize, max: usize) {
        self.pool_min_size.set(min);
        self.pool_max_size.set(max);
        self.pool.resize(max);
    }

    /// Opens connections until the pool has its least size; deadpool only opens on demand. Also
    /// gives back, one at a time, the room that was taken from a pool whose server was full.
    pub(super) async fn keep_warm(&self) {
        let status = self.pool.status();
        if status.max_size < self.pool_max_size.get() {
            self.pool.resize(status.max_size + 1);
        }
        let missing = self.pool_min_size.get().saturating_sub(status.size);
        if missing == 0 {
            return;
        }
        // Those that are idle have to be held, or they would be handed out again. Nobody is waited
        // for meanwhile.
        let at_once = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.pool.timeouts()
        };
        let mut held = Vec::new();
        for _ in 0..status.available + missing {
            match self.pool.timeout_get(&at_once).await {
                Ok(connection) => held.push(connection),
                Err(_) => return,
            }
        }
    }

    pub(super) async fn claim(&self) -> Result<Claim, Failure> {
        self.connection()
            .await
            .map(|connection| Claim::new(connection, self.query_timeout))
    }

    async fn connection(&self) -> Result<Object, Failure> {
        let begun = Instant::now();
        loop {
            match self.pooled().await {
                // The server takes no more connections. Those that are open work: wait for one of
                // them. What the pool is resized to does not keep it from opening more, since it
                // had leave to open those that it has not.
                Err(error)
                    if pool::is_server_full(&error)
                        && self.pool.status().size > 0
                        && begun.elapsed() < self.pool_wait_timeout =>
                {
                    self.pool.resize(self.pool.status().size);
                    if !self.dialer.is_held_off() {
                        self.dialer.hold_off(HOLD_OFF);
                    }
                    tokio::time::sleep(FREE_POLL).await;
                }
                other => return other.map_err(pool::describe),
            }
        }
    }

    /// A connection of the pool. Only who does not get one at once counts as waiting.
    async fn pooled(&self) -> Result<Object, PoolError> {
        let mut getting = pin!(self.pool.get());
        let at_once = poll_fn(|context| Poll::Ready(getting.as_mut().poll(context))).await;
        if let Poll::Ready(got) = at_once {
            return got;
        }
        let began = Instant::now();
        let got = getting.await;
        let figures = self.metrics.shard(self.id.index());
        figures.pool_waits.note_time(began.elapsed());
        got
    }

    /// Closes one connection of the pool, an idle one if there is any, and keeps it closed for a
    /// while. False if it is the last one.
    fn make_room(&self) -> bool {
        let size = self.pool.status().size;
        let is_last = size <= 1;
        if !is_last {
            self.pool.resize(size - 1);
            self.dialer.hold_off(HOLD_OFF);
        }
        !is_last
    }

    /// Runs `work` on a pooled connection with a bound on its time. A connection whose answer did
    /// not come is closed: its next user would wait behind the old statement.
    async fn on_connection<T>(
        &self,
        work: impl AsyncFnOnce(&deadpool_postgres::ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let connection = self.connection().await?;
        match tokio::time::timeout(self.query_timeout + GRACE, work(&connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_elapsed) => {
                drop(Object::take(connection));
                Err(no_answer(self.query_timeout + GRACE))
            }
        }
    }
}

fn no_answer(after: Duration) -> Failure {
    Failure::Silent(format!("no answer within {} ms", after.as_millis()))
}

/// A column can't be read: the table is not the one that this program made.
fn misread(error: tokio_postgres::Error) -> Failure {
    Failure::Refused(format!(
        "unexpected contents of a table: {}",
        described(&error)
    ))
}

fn timestamp(row: &PgRow, column: usize) -> Result<Timestamp, Failure> {
    row.try_get::<_, PgTimestamp>(column)
        .map(|at| at.0)
        .map_err(misread)
}

/// The first six columns of a read: the stored key and the row.
fn decode(row: &PgRow) -> Result<(Vec<u8>, Row), Failure> {
    let read = || -> Result<_, tokio_postgres::Error> {
        Ok((
            row.try_get::<_, &[u8]>(0)?.to_vec(),
            Row {
                value: Bytes::copy_from_slice(row.try_get(1)?),
                created_at: row.try_get::<_, PgTimestamp>(2)?.0,
                updated_at: row.try_get::<_, PgTimestamp>(3)?.0,
                expires_at: row.try_get::<_, Option<PgTimestamp>>(4)?.map(|at| at.0),
                stamp: Stamp::from_bits(row.try_get::<_, i64>(5)? as u64),
            },
        ))
    };
    read().map_err(misread)
}
