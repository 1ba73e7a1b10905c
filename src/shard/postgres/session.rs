//! A new session: how it is dialled, what is set on it, and what is asked of it before it serves.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage, SimpleQueryRow, Socket};

use super::failure::described;
use super::{Failure, Settings, claim, statements};
use crate::routing::ShardId;
use crate::shard::identity::Identity;
use crate::shard::member::MemberId;
use crate::tls::{ConnectError, PostgresStream, PostgresTls};

/// Longest wait for a lock: long for a batch that others' commits delay, and less than the longest
/// statement, which the others of the batch would wait for. Not for a member's own session.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// A server that vanished without a word is noticed after this at the latest.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Settings of each session.
///
/// Every statement here goes by an index; a plan that was made while the table was empty, and is
/// kept for the life of the connection, must not be a sequential scan. The penalty that this puts
/// on plans would wake the JIT compiler.
///
/// The keepalives are for the server: a proxy whose host vanished holds locks, and is not known to
/// be dead, until its sessions are ended. 5 + 2 × 2 s after its last packet, that is.
///
/// One that is silent within a transaction holds locks that the others' batches wait for: 2 s, some
/// thousand round trips, are enough. What it has not committed has not happened.
///
/// `respgres.proxy` keeps the triggers for writes past the proxies silent.
const SETTINGS: &str = "
SET enable_seqscan = off;
SET jit = off;
SET client_min_messages = warning;
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 2;
SET tcp_user_timeout = 9000;
SET idle_in_transaction_session_timeout = 2000;
SET respgres.proxy = 'on';";

/// Which server process a session has, and whether it may serve. With the start in it, another
/// process that got the same number later is another one.
const BACKEND: &str = "
SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS started,
       pg_is_in_recovery() AS is_standby,
       current_setting('max_prepared_transactions') AS prepared_max
FROM pg_stat_activity WHERE pid = pg_backend_pid();";

/// The server process of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct ServerProcess {
    pub(super) pid: i32,
    /// Microseconds since the Unix epoch.
    pub(super) started: i64,
}

/// What a session is told at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) process: ServerProcess,
    /// Transactions that the server can hold prepared at a time; 0 unless it was told to.
    pub(super) prepared_max: u32,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// The server can't be reached, or would not have it.
    Postgres(tokio_postgres::Error),
    /// The server was reached, and is not one to use.
    Unfit(Failure),
    /// The server was full a moment ago, and was not asked again.
    HeldOff,
}

impl From<ConnectError> for NotConnected {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Files(error) => {
                Self::Unfit(Failure::Unreachable(format!("TLS: {error}")))
            }
            ConnectError::Postgres(error) => Self::Postgres(error),
        }
    }
}

impl NotConnected {
    /// Whether the server has as many sessions as it takes.
    pub(super) fn is_server_full(&self) -> bool {
        match self {
            Self::Postgres(error) => error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS),
            Self::Unfit(_) => false,
            Self::HeldOff => true,
        }
    }
}

impl From<NotConnected> for Failure {
    fn from(error: NotConnected) -> Self {
        match error {
            NotConnected::Unfit(failure) => failure,
            // Full is not down: its other sessions work.
            error if error.is_server_full() => Failure::Refused(error.to_string()),
            error => Failure::Unreachable(error.to_string()),
        }
    }
}

impl std::fmt::Display for NotConnected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(error) => f.write_str(&described(error)),
            Self::Unfit(failure) => failure.fmt(f),
            Self::HeldOff => f.write_str("the server takes no more connections"),
        }
    }
}

/// The `application_name` of all sessions that a member has to a shard. By it they are found when
/// the member is dead.
pub(super) fn application_name(member: MemberId, shard: ShardId) -> String {
    format!("respgres {member} {shard}")
}

/// Opens sessions to the database of one shard.
pub(super) struct Dialer {
    config: Config,
    tls: PostgresTls,
    /// Who the database has to be, once that is known.
    identity: Arc<OnceLock<Identity>>,
    /// The pool opens no connection until then.
    held_off_until: Mutex<Option<Instant>>,
}

impl Dialer {
    pub(super) fn new(
        config: &Config,
        tls: &PostgresTls,
        application_name: &str,
        settings: &Settings,
        identity: Arc<OnceLock<Identity>>,
    ) -> Self {
        let mut config = config.clone();
        config
            .application_name(application_name)
            .connect_timeout(settings.connect_timeout)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        Self {
            config,
            tls: tls.clone(),
            identity,
            held_off_until: Mutex::new(None),
        }
    }

    /// Has the pool open no connection for so long.
    pub(super) fn hold_off(&self, time: Duration) {
        *self.lock_held_off() = Some(Instant::now() + time);
    }

    /// Whether the pool may open no connection now.
    pub(super) fn is_held_off(&self) -> bool {
        self.lock_held_off()
            .is_some_and(|until| Instant::now() < until)
    }

    fn lock_held_off(&self) -> MutexGuard<'_, Option<Instant>> {
        self.held_off_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a statement of the pool may wait for a lock.
    pub(super) fn lock_timeout(statement_timeout: Duration) -> Duration {
        LOCK_WAIT_MAX.min(statement_timeout / 2)
    }

    /// Connects. Nothing happens on the session unless the connection is driven.
    pub(super) async fn dial(
        &self,
    ) -> Result<(Client, Connection<Socket, PostgresStream>), NotConnected> {
        Ok(self.tls.connect(&self.config).await?)
    }

    /// Makes the session one of a proxy, in one round trip: sets it up, and looks whether the
    /// server is a primary and the database the expected one. A server that failed over, or a
    /// database that was replaced, must not get a single write.
    pub(super) async fn prepare(
        &self,
        client: &Client,
        statement_timeout: Duration,
        lock_timeout: Option<Duration>,
    ) -> Result<Greeting, NotConnected> {
        let expected = self.identity.get();
        let identity = expected.map_or("", |_| statements::IDENTITY);
        // 0 would be for ever.
        let lock_timeout = lock_timeout.map_or(0, |limit| limit.as_millis().max(1));
        let answers = client
            .simple_query(&format!(
                "{SETTINGS} SET statement_timeout = {}; SET lock_timeout = {lock_timeout}; {BACKEND} {identity}",
                statement_timeout.as_millis()
            ))
            .await
            .map_err(|error| match error.code() {
                Some(&SqlState::UNDEFINED_TABLE) => NotConnected::Unfit(claim::is_blank()),
                _ => NotConnected::Postgres(error),
            })?;
        let mut rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let unexpected =
            || NotConnected::Unfit(Failure::Unreachable("an unexpected answer".to_owned()));
        let server = rows.next().ok_or_else(unexpected)?;
        if server.get("is_standby") != Some("f") {
            return Err(NotConnected::Unfit(claim::is_standby()));
        }
        if let Some(expected) = expected {
            match rows.next().map(identity_in) {
                Some(Some(found)) if found == *expected => {}
                Some(Some(found)) => return Err(NotConnected::Unfit(claim::is_foreign(&found))),
                Some(None) => return Err(unexpected()),
                None => return Err(NotConnected::Unfit(claim::is_blank())),
            }
        }
        greeting_in(server).ok_or_else(unexpected)
    }
}

fn greeting_in(row: &SimpleQueryRow) -> Option<Greeting> {
    Some(Greeting {
        process: ServerProcess {
            pid: row.get("pid")?.parse().ok()?,
            started: row.get("started")?.parse().ok()?,
        },
        prepared_max: row.get("prepared_max")?.parse().ok()?,
    })
}

fn identity_in(row: &SimpleQueryRow) -> Option<Identity> {
    Some(Identity {
        deployment: row.get("deployment_id")?.to_owned(),
        shard_id: row.get("shard_id")?.parse().ok()?,
        num_shards: row.get("num_shards")?.parse().ok()?,
        routing: row.get("routing")?.to_owned(),
        schema_version: row.get("schema_version")?.parse().ok()?,
    })
}
