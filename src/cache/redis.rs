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

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, InfoDict, IntoConnectionInfo,
    Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value, cmd,
};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::cache::entry::{self, Cached, Entry, ROW_HEAD_BYTES};
use crate::cache::{EntryKey, LEASE_TTL, Lease, Sighting, Token, Unavailable};
use crate::command::{Row, Stamp};

/// The connection's task, not the network, limits one connection; two keep both cores of a small
/// machine busy, and a large value on one does not hold up everybody.
const CONNECTIONS: usize = 2;
/// Commands that may wait for one connection's task; the crate's default of 50 also limits how many
/// it sends with one write.
const CONNECTION_QUEUE: usize = 1024;
/// No client waits for this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// A generation that lived shorter does not reset the delay.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How often an idle connection is asked whether it still leads to a master.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// One GET or LEASE command asks for no more names than this, as Redis serves nobody else meanwhile.
const NAMES_MAX: usize = 128;
/// One call of the script settles no more entries than this, for the same reason.
const SETTLE_ENTRIES_MAX: usize = 256;
/// Nor does it carry more bytes of values than this, the last value apart.
const SETTLE_BYTES_MAX: usize = 1024 * 1024;
/// A larger value is not cached: it would hold up all the steps behind it on its connection.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// What a step may take longer for each MiB that it may carry; 100 MiB/s is less than a 1 Gbit/s
/// network can do.
const TRANSFER_PER_MIB: Duration = Duration::from_millis(10);

/// Names that one step of a purge looks at.
const SCAN_COUNT: usize = 1000;
/// One step of a purge may take this long, or `Settings::timeout` if that is longer: a Redis that
/// has just started is slow, and no client waits.
const PURGE_STEP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the whole purge of a [`RedisCache::clear`] may take. The one before a generation serves
/// has no such limit, or a large Redis would never be used.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(60);

/// `SET … NX GET` came with this major version.
const VERSION_MIN: u32 = 7;

const SETTLE_SCRIPT: &str = include_str!("settle.lua");

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a value may live.
    pub ttl: Duration,
    /// A Redis that takes longer to answer is down.
    pub timeout: Duration,
    /// Tells the entries of this deployment from others in the same Redis.
    pub namespace: String,
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
    names: Names,
    script: Script,
    state: RwLock<State>,
    /// Whether a generation serves, to be read without the lock.
    is_serving: AtomicBool,
}

#[derive(Default)]
struct State {
    generation: Option<Arc<Generation>>,
    is_serving: bool,
    /// Whether a FIN, SEEN or FILL may have been lost since the last purge. Set by steps that hold
    /// the lock for reading only.
    has_missed: AtomicBool,
}

struct Generation {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    over: CancellationToken,
}

impl Generation {
    fn connection(&self) -> MultiplexedConnection {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % self.connections.len()].clone()
    }
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
            names: Names::new(&settings.namespace),
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
            self.shared.names.add_all(&mut command, chunk);
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
                self.shared.names.write(&mut name, entry);
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
                    let mut connection = duty.generation.connection();
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
        duty.is_done();
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
            self.shared.names.add_all(&mut command, entries);
            self.shared
                .step(
                    &duty.generation,
                    "FIN",
                    self.shared.settings.timeout,
                    async {
                        let mut connection = duty.generation.connection();
                        command.query_async::<()>(&mut connection).await
                    },
                )
                .await?;
        }
        duty.is_done();
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
        duty.is_done();
        Ok(())
    }

    /// Whether the cache can be used now.
    pub fn is_available(&self) -> bool {
        self.shared.is_serving.load(Ordering::Relaxed)
    }

    /// Entries of all users of this Redis; 0 if it can't be used now.
    pub async fn len(&self) -> u64 {
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

/// A step that must happen. Unless it [is done](Duty::is_done), the generation ends, and with it
/// whatever the step has left undone: also when the step's future is dropped.
struct Duty<'a> {
    shared: &'a Shared,
    generation: Arc<Generation>,
    is_done: bool,
}

impl Duty<'_> {
    fn is_done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared
                .end(&self.generation, "an invalidation was given up");
        }
    }
}

/// The life of generations.
impl Shared {
    /// Makes one generation after the other. Cancelled at any point, it leaves the one of now as it
    /// is.
    async fn maintain(&self) {
        let mut delay = RETRY_DELAY_MIN;
        let mut last_reason = None;
        loop {
            match self.prepare().await {
                Ok(generation) => {
                    info!(redis = self.address, "the cache is in use");
                    last_reason = None;
                    let since = Instant::now();
                    self.watch(&generation).await;
                    if since.elapsed() >= STABLE_AFTER {
                        delay = RETRY_DELAY_MIN;
                    }
                }
                // Once an outage, unless the reason changes.
                Err(reason) if last_reason.as_ref() != Some(&reason) => {
                    warn!(redis = self.address, reason, "the cache can't be used");
                    last_reason = Some(reason);
                }
                Err(reason) => debug!(redis = self.address, reason, "still no cache"),
            }
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    /// Connects, and makes sure that what the generation finds can be trusted.
    async fn prepare(&self) -> Result<Arc<Generation>, String> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        let mut run_id = None;
        for _ in 0..CONNECTIONS {
            let (connection, id) = timeout(CONNECT_TIMEOUT, self.connect())
                .await
                .map_err(|_| "no answer".to_owned())??;
            // A name may lead to more than one server.
            if *run_id.get_or_insert_with(|| id.clone()) != id {
                return Err("its address leads to more than one server".to_owned());
            }
            connections.push(connection);
        }
        let generation = Arc::new(Generation {
            connections,
            next: AtomicUsize::new(0),
            over: CancellationToken::new(),
        });
        let must_purge = self.publish(&generation) || self.settings.purge_at_start;
        let ready = async {
            // A write that changes nothing: a Redis that can't save refuses all of them.
            self.unlink(&generation, &[&self.names.prefix]).await?;
            if must_purge {
                self.purge(&generation).await?;
            }
            self.serve(&generation)
        };
        // `end` has logged the reason.
        ready
            .await
            .map(|()| generation)
            .map_err(|Unavailable| "lost while it was prepared".to_owned())
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, String), String> {
        let config = AsyncConnectionConfig::new()
            // Each step has its own limit.
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(CONNECTION_QUEUE);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| error.to_string())?;
        let command = cmd("INFO");
        let info: InfoDict = command
            .query_async(&mut connection)
            .await
            .map_err(|error| error.to_string())?;
        check_server(&info)?;
        self.load_script(&mut connection)
            .await
            .map_err(|error| error.to_string())?;
        Ok((connection, info.get("run_id").unwrap_or_default()))
    }

    /// Makes the generation that of now, for FIN, SEEN and FILL only. Tells whether any was missed
    /// before; from here on, none is.
    fn publish(&self, generation: &Arc<Generation>) -> bool {
        let mut state = self.write_state();
        state.generation = Some(Arc::clone(generation));
        state.has_missed.load(Ordering::Relaxed)
    }

    /// Lets every step use the generation.
    fn serve(&self, generation: &Arc<Generation>) -> Result<(), Unavailable> {
        let mut state = self.write_state();
        if !is_current(&state, generation) {
            return Err(Unavailable);
        }
        state.is_serving = true;
        state.has_missed.store(false, Ordering::Relaxed);
        self.is_serving.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the generation, if it is still that of now.
    fn end(&self, generation: &Arc<Generation>, reason: impl fmt::Display) {
        let mut state = self.write_state();
        if !is_current(&state, generation) {
            return;
        }
        state.generation = None;
        state.is_serving = false;
        state.has_missed.store(true, Ordering::Relaxed);
        self.is_serving.store(false, Ordering::Relaxed);
        generation.over.cancel();
        drop(state);
        warn!(redis = self.address, %reason, "the cache is lost; going on without it");
    }

    /// Asks each connection now and then, until the generation is over: for a Redis that hangs or
    /// is demoted while nobody uses it, and for a connection cut off in silence.
    async fn watch(&self, generation: &Arc<Generation>) {
        while timeout(PING_INTERVAL, generation.over.cancelled())
            .await
            .is_err()
        {
            for connection in &generation.connections {
                let mut command = cmd("INFO");
                command.arg("replication");
                let mut connection = connection.clone();
                let info: Result<InfoDict, _> = self
                    .step(generation, "INFO", self.settings.timeout, async {
                        command.query_async(&mut connection).await
                    })
                    .await;
                if info.is_ok_and(|info| !is_master(&info)) {
                    self.end(generation, "it is a replica now");
                }
            }
        }
    }

    /// The generation for steps that read.
    fn serving(&self) -> Result<Arc<Generation>, Unavailable> {
        let state = self.read_state();
        match &state.generation {
            Some(generation) if state.is_serving => Ok(Arc::clone(generation)),
            _ => Err(Unavailable),
        }
    }

    /// The generation for steps that must happen, also during the purge. That there is none is
    /// noted while the lock is held, so before the next one is published.
    fn duty(&self) -> Result<Duty<'_>, Unavailable> {
        let state = self.read_state();
        let Some(generation) = &state.generation else {
            state.has_missed.store(true, Ordering::Relaxed);
            return Err(Unavailable);
        };
        Ok(Duty {
            shared: self,
            generation: Arc::clone(generation),
            is_done: false,
        })
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_current(state: &State, generation: &Arc<Generation>) -> bool {
    let current = state.generation.as_ref();
    current.is_some_and(|current| Arc::ptr_eq(current, generation))
}

/// Commands.
impl Shared {
    /// Runs `request` on the generation. Any error or a late answer ends the generation; an answer
    /// that arrives after the end does not count.
    async fn step<T>(
        &self,
        generation: &Arc<Generation>,
        what: &str,
        allowance: Duration,
        request: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        let Some(answer) = generation
            .over
            .run_until_cancelled(timeout(allowance, request))
            .await
        else {
            return Err(Unavailable);
        };
        match answer {
            Ok(Ok(answer)) if !generation.over.is_cancelled() => return Ok(answer),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.end(generation, format_args!("{what}: {error}")),
            Err(_) => {
                let ms = allowance.as_millis();
                self.end(generation, format_args!("{what}: no answer in {ms} ms"));
            }
        }
        Err(Unavailable)
    }

    /// How long a step may take that carries up to `mib` MiB, or as many values.
    fn allowance(&self, mib: usize) -> Duration {
        self.settings.timeout + TRANSFER_PER_MIB * u32::try_from(mib).unwrap_or(u32::MAX)
    }

    async fn load_script(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(SETTLE_SCRIPT);
        command.query_async(connection).await
    }

    /// The call of the script for `chunk`, and how many bytes of values it carries.
    fn settle_command(&self, chunk: &[Sighting]) -> (Cmd, usize) {
        let mut command = cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(chunk.len());
        let mut name = Vec::new();
        for sighting in chunk {
            self.names.write(&mut name, &sighting.entry);
            command.arg(&name[..]);
        }
        let mut bytes = 0;
        for sighting in chunk {
            let row = sighting.row.as_ref();
            let stamp = row.map_or(Stamp::ABSENT, |row| row.stamp);
            let token = sighting.token.map(entry::encode_token);
            let (value, lifetime_ms) = match (token, self.lifetime_ms(sighting)) {
                (None, _) | (_, 0) => (Vec::new(), 0),
                (Some(_), lifetime_ms) => (entry::encode_value(row), lifetime_ms),
            };
            bytes += value.len();
            command
                .arg(token.as_ref().map_or(&[][..], |token| &token[..]))
                .arg(&entry::encode_stamp(stamp)[..])
                .arg(&value[..])
                .arg(lifetime_ms);
        }
        (command, bytes)
    }

    /// How long the value of a FILL lives; 0 if it must not be cached.
    fn lifetime_ms(&self, sighting: &Sighting) -> u64 {
        if sighting.row.as_ref().is_some_and(is_too_large) {
            return 0;
        }
        let ttl = self.settings.ttl;
        let lifetime = sighting.time_left.map_or(ttl, |left| left.min(ttl));
        u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
    }

    /// FIN for everything of this deployment. SCAN returns each entry that is there from its begin
    /// to its end; one that appears meanwhile is younger than all that was missed before.
    async fn purge(&self, generation: &Arc<Generation>) -> Result<(), Unavailable> {
        let mut cursor = Bytes::from_static(b"0");
        loop {
            let mut command = cmd("SCAN");
            command
                .arg(&cursor[..])
                .arg("MATCH")
                .arg(&self.names.pattern[..])
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, found): (Vec<u8>, Vec<Vec<u8>>) = self
                .step(generation, "SCAN", self.purge_step_timeout(), async {
                    command.query_async(&mut generation.connection()).await
                })
                .await?;
            if !found.is_empty() {
                self.unlink(generation, &found).await?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next.into();
        }
    }

    async fn unlink(
        &self,
        generation: &Arc<Generation>,
        names: &[impl AsRef<[u8]>],
    ) -> Result<(), Unavailable> {
        let mut command = cmd("UNLINK");
        for name in names {
            command.arg(name.as_ref());
        }
        self.step(generation, "UNLINK", self.purge_step_timeout(), async {
            command.query_async(&mut generation.connection()).await
        })
        .await
    }

    fn purge_step_timeout(&self) -> Duration {
        self.settings.timeout.max(PURGE_STEP_TIMEOUT)
    }
}

/// Cuts sightings into the parts that one call of the script takes.
struct SettleChunks<'a>(&'a [Sighting]);

impl<'a> Iterator for SettleChunks<'a> {
    type Item = &'a [Sighting];

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = 0;
        let mut count = 0;
        while count < self.0.len().min(SETTLE_ENTRIES_MAX) && bytes < SETTLE_BYTES_MAX {
            let row = self.0[count].row.as_ref();
            // The script gets no values that are too large.
            let row = row.filter(|row| !is_too_large(row));
            bytes += row.map_or(0, |row| row.value.len());
            count += 1;
        }
        let (chunk, rest) = self.0.split_at(count);
        self.0 = rest;
        (!chunk.is_empty()).then_some(chunk)
    }
}

fn is_too_large(row: &Row) -> bool {
    row.value.len() > VALUE_BYTES_MAX - ROW_HEAD_BYTES
}

/// How entries are called: `respgres:<namespace>:<shard index>:` and the key.
struct Names {
    prefix: Vec<u8>,
    /// Matches all names with the prefix.
    pattern: Vec<u8>,
}

impl Names {
    fn new(namespace: &str) -> Self {
        // No namespace may look like another one and a shard.
        let namespace = namespace.replace('%', "%25").replace(':', "%3A");
        let prefix = format!("respgres:{namespace}:").into_bytes();
        let mut pattern = Vec::with_capacity(prefix.len() + 1);
        for &byte in &prefix {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        Self { prefix, pattern }
    }

    /// Replaces what is in `out` by the name of `entry`.
    fn write(&self, out: &mut Vec<u8>, entry: &EntryKey) {
        out.clear();
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(itoa::Buffer::new().format(entry.shard.index()).as_bytes());
        out.push(b':');
        out.extend_from_slice(&entry.key);
    }

    fn add_all(&self, command: &mut Cmd, entries: &[EntryKey]) {
        let mut name = Vec::new();
        for entry in entries {
            self.write(&mut name, entry);
            command.arg(&name[..]);
        }
    }
}

/// Whether this server can be used.
fn check_server(info: &InfoDict) -> Result<(), String> {
    let version: String = info.get("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < VERSION_MIN) {
        return Err(format!(
            "it is version {version}; version {VERSION_MIN} or later is needed"
        ));
    }
    if !is_master(info) {
        return Err("it is a replica".to_owned());
    }
    if info
        .get::<String>("loading")
        .is_some_and(|text| text != "0")
    {
        return Err("it is still loading its data".to_owned());
    }
    Ok(())
}

fn is_master(info: &InfoDict) -> bool {
    info.get::<String>("role")
        .is_some_and(|role| role == "master")
}

/// The entry in a reply.
fn decode(reply: Value) -> Option<Entry> {
    match reply {
        Value::BulkString(bytes) => entry::decode(Bytes::from(bytes)),
        _ => None,
    }
}

/// What `SET … NX GET` says.
fn lease_answer(reply: Value) -> RedisResult<Lease> {
    match reply {
        Value::Nil => Ok(Lease::Granted),
        Value::BulkString(_) => Ok(match decode(reply) {
            Some(Entry::Value(cached)) => Lease::Value(cached),
            // What is no entry is deleted when the reader says what he has seen.
            Some(Entry::Lease) | None => Lease::Held,
        }),
        // No room for a lease: the reader goes on as if he had met another's.
        Value::ServerError(error) if error.code() == "OOM" => Ok(Lease::Held),
        Value::ServerError(error) => Err(error.into()),
        _ => Err(unexpected_reply()),
    }
}

fn expect_count(replies: Vec<Value>, count: usize) -> RedisResult<Vec<Value>> {
    if replies.len() == count {
        Ok(replies)
    } else {
        Err(unexpected_reply())
    }
}

fn unexpected_reply() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "an unexpected reply"))
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
