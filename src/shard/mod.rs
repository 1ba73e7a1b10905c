//! The shards: where the truth is. One contract, over PostgreSQL and SQLite, with a breaker in front of each.

mod branch;
mod breaker;
pub mod identity;
mod member;
mod open;
mod orphan;
mod outbox;
mod postgres;
mod scan;
mod sqlite;
pub mod survey;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::command::{Operation, Outcome, Row, Timestamp};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::routing::ShardId;
use crate::view::Instance;

pub use branch::{Branch, Decision, Gid, Verdict};
use breaker::Breaker;
use identity::Identity;
use member::Session;
pub use member::{Member, MemberId, Membership, Seen};
pub use open::{OpenError, Settings, Shards, open};
use orphan::Unfinished;
pub use orphan::{Orphan, WriteFailure};
pub use outbox::Note;
pub use scan::{Position, Stretch};

/// Longest key, in bytes.
pub const KEY_MAX: usize = 1024 * 1024;

/// What a read found.
#[derive(Debug)]
pub struct Reading {
    /// The row that was live at the shard's now; one for each key asked, in order.
    pub rows: Vec<Option<Row>>,
    /// The shard's now, somewhere between the question and its answer; `None` if no row was found,
    /// so that no clock was needed.
    pub now: Option<Timestamp>,
    /// The positions of the keys that could not be read: their rows have expired, and whoever has
    /// locked them may still write them.
    pub locked: Vec<usize>,
}

/// The rows that will expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expiring {
    /// How many there are.
    pub rows: u64,
    /// Milliseconds until they expire, on average; 0 if that is not known.
    pub millis_left: u64,
}

/// Why a backend did not do what was asked. [`Shard`] turns it into the [`Error`] of its clients.
#[derive(Debug)]
enum Failure {
    /// No connection could be had; nothing was sent.
    Unreachable(String),
    /// The connection was closed after something had been sent.
    Closed(String),
    /// No answer came in time after something had been sent.
    Silent(String),
    /// The connection was closed, but so early that nothing can have been committed.
    Interrupted(String),
    /// The database answered with an error; what was asked did not happen.
    Refused(String),
    /// Likewise, since somebody else has a lock.
    Locked(String),
    /// It is a database that must not be used: the identity is another's.
    Foreign(String),
}

/// The connections to one shard that are kept for statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How many are open.
    pub size: usize,
    /// How many of them nobody uses.
    pub idle: usize,
    /// How many there may be.
    pub max: usize,
    /// How many wait for one.
    pub waiting: usize,
}

enum Backend {
    Postgres(postgres::PostgresShard),
    Sqlite(sqlite::SqliteShard),
}

/// Both backends have the same methods; this picks the one at hand.
macro_rules! on_backend {
    ($shard:expr, $backend:ident => $call:expr) => {
        match &$shard.backend {
            Backend::Postgres($backend) => $call,
            Backend::Sqlite($backend) => $call,
        }
    };
}
use on_backend;

/// One shard.
pub struct Shard {
    id: ShardId,
    /// The configuration variable that names it, for messages.
    variable: String,
    backend: Backend,
    breaker: Breaker,
    /// What the database has to say of itself; set once the deployment is known.
    identity: Arc<OnceLock<Identity>>,
    metrics: Arc<Metrics>,
}

impl Shard {
    fn new(
        id: ShardId,
        variable: String,
        backend: Backend,
        identity: Arc<OnceLock<Identity>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            id,
            variable,
            backend,
            breaker: Breaker::open("it has not been reached yet".into()),
            identity,
            metrics,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The rows of `keys`, read on the primary in autocommit.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn read(&self, keys: &[Bytes]) -> Result<Reading, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.read(keys).await);
        self.judge(result, Asked::ToRead)
    }

    /// Applies `operations` in order and commits them as one: all or none. Outcomes are in order.
    /// When this returns `Ok`, they are durable.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the connection was lost with the commit under way; with it
    /// comes what may still commit. Any other error means that nothing was changed.
    pub async fn write(&self, operations: &[Operation]) -> Result<Vec<Outcome>, WriteFailure> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.write(operations).await);
        self.judge_write(result)
    }

    /// Those of `keys` that transactions of others have locked at this moment, be it for a moment only.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn locked(&self, keys: &[Bytes]) -> Result<Vec<Bytes>, Error> {
        self.breaker.check(self.id)?;
        match &self.backend {
            Backend::Postgres(backend) => self.judge(backend.locked(keys).await, Asked::ToRead),
            // There are no others.
            Backend::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Deletes every row.
    ///
    /// # Errors
    ///
    /// As [`write`](Shard::write).
    pub async fn clear(&self) -> Result<(), WriteFailure> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.clear().await);
        self.judge_write(result)
    }

    /// The number of live rows: exact on small tables, an estimate of the database's own
    /// statistics on large ones, so that it stays cheap.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn count(&self) -> Result<u64, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.count().await);
        self.judge(result, Asked::ToRead)
    }

    /// The rows that will expire: exact while they are few, then an estimate, as for
    /// [`count`](Shard::count).
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn expiring(&self) -> Result<Expiring, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.expiring().await);
        self.judge(result, Asked::ToRead)
    }

    /// Deletes at most `limit` rows that have expired; returns how many.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn sweep(&self, limit: u32) -> Result<u64, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.sweep(limit).await);
        // A sweep that may have happened and one that did not are the same to everybody.
        self.judge(result, Asked::ToRead)
    }

    /// `Err` with the reason while the shard is down.
    pub fn state(&self) -> Result<(), String> {
        self.breaker.state()
    }

    /// Whether its database is locked for this process: there are no other proxies.
    pub fn is_private(&self) -> bool {
        matches!(self.backend, Backend::Sqlite(_))
    }

    /// Changes how many connections there are at least and at most. A file has always two.
    pub fn set_pool_size(&self, min: usize, max: usize) {
        if let Backend::Postgres(backend) = &self.backend {
            backend.set_pool_size(min, max);
        }
    }

    /// The connections of the pool, as they are now.
    pub fn pool(&self) -> Pool {
        on_backend!(self, backend => backend.pool())
    }

    /// Looks whether the shard answers and is the right one, and opens or closes the breaker.
    /// Returns the shard's now.
    pub async fn probe(&self) -> Option<Timestamp> {
        let expected = self.identity.get()?;
        match on_backend!(self, backend => backend.verify(expected).await) {
            Ok(now) => {
                if self.breaker.close() {
                    tracing::info!(shard = %self.id, "shard is up");
                }
                on_backend!(self, backend => backend.keep_warm().await);
                Some(now)
            }
            // It answered. A pool without a free connection is busy, not down.
            Err(Failure::Refused(_) | Failure::Locked(_)) => None,
            Err(failure) => {
                self.trip(failure.to_string());
                None
            }
        }
    }

    /// Takes this proxy's place among the members of the shard, in a session of its own.
    ///
    /// # Errors
    ///
    /// The shard can't be reached, is not the right one or not set up yet; the text is for the log.
    pub async fn join(&self, cache: Option<Instance>) -> Result<Membership, String> {
        if self.identity.get().is_none() {
            return Err("it has not been set up yet".into());
        }
        let session = match &self.backend {
            Backend::Postgres(backend) => Session::Postgres(Box::new(backend.join(cache).await?)),
            Backend::Sqlite(backend) => Session::Sqlite(backend.join(cache).await?),
        };
        Ok(Membership(session))
    }

    fn judge_write<T>(&self, result: Result<T, Unfinished>) -> Result<T, WriteFailure> {
        let (result, orphan) = match result {
            Ok(value) => (Ok(value), None),
            Err(Unfinished { failure, orphan }) => (Err(failure), orphan),
        };
        let is_locked = matches!(result, Err(Failure::Locked(_)));
        self.judge(result, Asked::ToWrite)
            .map_err(|error| WriteFailure {
                error,
                orphan,
                is_locked,
            })
    }

    fn judge<T>(&self, result: Result<T, Failure>, asked: Asked) -> Result<T, Error> {
        let shard = self.id;
        match result {
            Ok(value) => {
                self.breaker.succeeded();
                Ok(value)
            }
            Err(Failure::Refused(reason) | Failure::Locked(reason)) => {
                Err(Error::ShardRefused { shard, reason })
            }
            Err(Failure::Unreachable(reason) | Failure::Foreign(reason)) => {
                self.trip(reason.clone());
                Err(Error::ShardDown { shard, reason })
            }
            Err(Failure::Interrupted(reason)) => {
                self.note_loss(&reason);
                Err(Error::ShardDown { shard, reason })
            }
            Err(Failure::Closed(reason) | Failure::Silent(reason)) => {
                self.note_loss(&reason);
                Err(match asked {
                    Asked::ToRead => Error::ShardDown { shard, reason },
                    Asked::ToWrite => Error::OutcomeUnknown { shard, reason },
                })
            }
        }
    }

    fn note_loss(&self, reason: &str) {
        if self.breaker.failed() {
            self.trip(reason.to_owned());
        }
    }

    fn trip(&self, reason: String) {
        if self.breaker.state().is_ok() {
            let figures = self.metrics.shard(self.id.index());
            figures.breaker_openings.add(1);
        }
        if self.breaker.trip(reason.clone()) {
            tracing::warn!(shard = %self.id, variable = %self.variable, %reason, "shard is down");
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Asked {
    ToRead,
    ToWrite,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Unreachable(reason)
            | Failure::Closed(reason)
            | Failure::Silent(reason)
            | Failure::Interrupted(reason)
            | Failure::Refused(reason)
            | Failure::Locked(reason)
            | Failure::Foreign(reason) => f.write_str(reason),
        }
    }
}

/// How long a statement may take beyond what the server was told, before the connection is given
/// up: the server's own time-out is the better one, as it tells what happened.
const GRACE: Duration = Duration::from_secs(1);
