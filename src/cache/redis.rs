//! The cache in Redis, shared with other proxies of the deployment.
//!
//! All connections belong to a *generation*. The first error or late answer on any of them ends
//! the generation: FINs may have been lost, so nothing in Redis can be trusted any more. From then
//! on every step answers [`Unavailable`] at once, and a background task tries to make the next
//! generation:
//!
//! ```text
//!            connect, INFO: a master, loaded        purged            first error or late answer
//!   (none) ─────────────────────────────▶ preparing ─────▶ serving ─────────────────────▶ (none)
//!   every step: Unavailable                FIN, SEEN, FILL   every step
//! ```
//!
//! - **A generation serves only after a purge** of this deployment's entries, unless it is the
//!   first one and no FIN, SEEN or FILL was missed before it: invalidations may have been lost, and
//!   a Redis that comes back may have loaded an old snapshot.
//! - **FIN and SEEN go through while the purge runs.** Other proxies go on caching during it, behind
//!   the cursor of its SCAN too; what was missed before the purge began is covered by it, what comes
//!   later must be done.
//! - **A step belongs to the generation it began on** and fails with it, whatever the answer.
//! - **Late messages of an old generation do no harm**: its leases are purged, so that none of its
//!   FILLs finds its token. A late FIN or SEEN only makes entries absent, and a late lease expires.

mod generation;
mod names;
mod replies;
mod server;
mod settle;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use ::redis::aio::ConnectionLike;
use ::redis::{
    Client, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisError, RedisResult, Script, Value,
    cmd,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::generation::State;
use self::names::Names;
use self::replies::{decode, expect_count, is_no_script, lease_answer, unexpected_reply};
use self::settle::{SETTLE_SCRIPT, SettleChunks, VALUE_BYTES_MAX};
use crate::cache::entry::{self, Cached, Entry};
use crate::cache::{EntryKey, LEASE_TTL, Lease, Sighting, Token, Unavailable};

/// One GET or LEASE command asks for no more names than this, as Redis serves nobody else meanwhile.
const NAMES_MAX: usize = 128;

/// How long the whole purge of a [`RedisCache::clear`] may take. The one before a generation serves
/// has no such limit, or a large Redis would never be used.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(60);

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a value may live.
    pub ttl: Duration,
    /// A Redis that takes longer to answer is down.
    pub timeout: Duration,
    /// Tells the entries of this deployment from others in the same Redis. Not known before a shard
    /// has been reached; until then the cache is not used.
    pub namespace: Arc<OnceLock<String>>,
    /// Whether the entries of an earlier process are purged at the first connection.
    pub purge_at_start: bool,
}

/// The cache in Redis. See [`super::Cache`] for the steps.
pub struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    /// Host and port, for the log: a URL may hold a password.
    address: String,
    settings: Settings,
    names: OnceLock<Names>,
    script: Script,
    state: RwLock<State>,
    /// Whether a generation serves, to be read without the lock.
    is_serving: AtomicBool,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("address", &self.shared.address)
            .field("is_available", &self.is_available())
            .finish_non_exhaustive()
    }
}

/// The steps. Those that must happen, [`settle`](RedisCache::settle) and [`fin`](RedisCache::fin),
/// are to be called where they are not cancelled: a command whose future is dropped may or may not
/// be sent, so dropping one ends the generation, at the price of a purge.
impl RedisCache {
    /// Starts to connect, in the background; a Redis that is down is not an error. The task ends
    /// with `stop`; the steps go on working until the Redis is lost.
    ///
    /// # Errors
    ///
    /// The URL can't be used. The text shows no password.
    pub fn start(
        url: &str,
        settings: Settings,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let unusable = |error: RedisError| format!("not a usable Redis URL: {}", error.category());
        let target = url.into_connection_info().map_err(unusable)?;
        let tcp = target.tcp_settings().clone().set_nodelay(true);
        let target = target.set_tcp_settings(tcp);
        let address = match target.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => return Err("not a usable Redis URL: TLS is not built in".to_owned()),
        };
        let shared = Arc::new(Shared {
            client: Client::open(target).map_err(unusable)?,
            address,
            names: OnceLock::new(),
            settings,
            script: Script::new(SETTLE_SCRIPT),
            state: RwLock::default(),
            is_serving: AtomicBool::new(false),
        });
        let task = Arc::clone(&shared);
        tasks.spawn(async move { stop.run_until_cancelled(task.maintain()).await });
        Ok(Self { shared })
    }

    /// What is known of each entry, in order.
    ///
    /// # Errors
    ///
    /// Nothing is known of any entry.
    pub async fn get(&self, entries: &[EntryKey]) -> Result<Vec<Option<Cached>>, Unavailable> {
        let generation = self.shared.serving()?;
        let mut found = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(NAMES_MAX) {
            let mut command = cmd("MGET");
            self.shared.names().add_all(&mut command, chunk);
            let replies = self
                .shared
                .step(
                    &generation,
                    "GET",
                    self.shared.allowance(chunk.len()),
                    async {
                        let reply = command.query_async(&mut generation.connection()).await?;
                        let Value::Array(replies) = reply else {
                            return Err(unexpected_reply());
                        };
                        expect_count(replies, chunk.len())
                    },
                )
                .await?;
            found.extend(replies.into_iter().map(|reply| match decode(reply) {
                Some(Entry::Value(cached)) => Some(cached),
                Some(Entry::Lease) | None => None,
            }));
        }
        Ok(found)
    }

    /// LEASE for each entry, in order.
    ///
    /// # Errors
    ///
    /// No lease was granted that could be used.
    pub async fn lease(
        &self,
        entries: &[EntryKey],
        token: Token,
    ) -> Result<Vec<Lease>, Unavailable> {
        let generation = self.shared.serving()?;
        let lease = entry::encode_lease(token);
        let lease_ms = LEASE_TTL.as_millis() as u64;
        let mut answers = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(NAMES_MAX) {
            let mut commands = Pipeline::with_capacity(chunk.len());
            let mut name = Vec::new();
            for entry in chunk {
                self.shared.names().write(&mut name, entry);
                commands
                    .cmd("SET")
                    .arg(&name[..])
                    .arg(&lease[..])
                    .arg(b"NX")
                    .arg(b"GET")
                    .arg(b"PX")
                    .arg(lease_ms);
            }
            let replies = self
                .shared
                .step(
                    &generation,
                    "LEASE",
                    self.shared.allowance(chunk.len()),
                    async {
                        // Not `query_async`, which makes one error of one command an error of all.
                        let replies = generation
                            .connection()
                            .req_packed_commands(&commands, 0, chunk.len())
                            .await?;
                        expect_count(replies, chunk.len())?
                            .into_iter()
                            .map(lease_answer)
                            .collect::<RedisResult<Vec<_>>>()
                    },
                )
                .await?;
            answers.extend(replies);
        }
        Ok(answers)
    }

    /// FILL or SEEN for each sighting.
    ///
    /// # Errors
    ///
    /// It is not known what became of the entries; they are purged before the cache is used again.
    pub async fn settle(&self, sightings: &[Sighting]) -> Result<(), Unavailable> {
        let duty = self.shared.duty()?;
        for chunk in SettleChunks(sightings) {
            let (command, bytes) = self.shared.settle_command(chunk);
            let allowance = self.shared.allowance(bytes.div_ceil(VALUE_BYTES_MAX));
            self.shared
                .step(&duty.generation, "SETTLE", allowance, async {
                    let mut connection = duty.generation.duty_connection();
                    match command.query_async::<()>(&mut connection).await {
                        Err(error) if is_no_script(&error) => {
                            self.shared.load_script(&mut connection).await?;
                            command.query_async(&mut connection).await
                        }
                        answer => answer,
                    }
                })
                .await?;
        }
        duty.discharge();
        Ok(())
    }

    /// FIN for all the entries.
    ///
    /// # Errors
    ///
    /// Entries may be left as they were; they are purged before the cache is used again.
    pub async fn fin(&self, entries: &[EntryKey]) -> Result<(), Unavailable> {
        let duty = self.shared.duty()?;
        if !entries.is_empty() {
            let mut command = cmd("UNLINK");
            self.shared.names().add_all(&mut command, entries);
            self.shared
                .step(
                    &duty.generation,
                    "FIN",
                    self.shared.allowance(entries.len() / NAMES_MAX),
                    async {
                        let mut connection = duty.generation.duty_connection();
                        command.query_async::<()>(&mut connection).await
                    },
                )
                .await?;
        }
        duty.discharge();
        Ok(())
    }

    /// FIN for everything of this deployment.
    ///
    /// # Errors
    ///
    /// As [`fin`](RedisCache::fin).
    pub async fn clear(&self) -> Result<(), Unavailable> {
        let duty = self.shared.duty()?;
        match timeout(CLEAR_TIMEOUT, self.shared.purge(&duty.generation)).await {
            Ok(done) => done?,
            Err(_) => {
                self.shared.end(&duty.generation, "a clear took too long");
                return Err(Unavailable);
            }
        }
        duty.discharge();
        Ok(())
    }

    /// Whether the cache can be used now.
    pub fn is_available(&self) -> bool {
        self.shared.is_serving.load(Ordering::Relaxed)
    }

    /// Entries of all users of this Redis; 0 if it can't be used now.
    pub async fn entry_count(&self) -> u64 {
        let Ok(generation) = self.shared.serving() else {
            return 0;
        };
        let command = cmd("DBSIZE");
        self.shared
            .step(&generation, "DBSIZE", self.shared.settings.timeout, async {
                command.query_async(&mut generation.connection()).await
            })
            .await
            .unwrap_or(0)
    }
}
