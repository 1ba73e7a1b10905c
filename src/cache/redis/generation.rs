//! The life of generations, and what runs on them. See [`super`] for the states.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, InfoDict, RedisResult, cmd};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Shared;
use super::names::Names;
use super::server::{check_server, is_master};
use crate::cache::Unavailable;

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
/// What a step may take longer for each MiB that it may carry; 100 MiB/s is less than a 1 Gbit/s
/// network can do.
const TRANSFER_PER_MIB: Duration = Duration::from_millis(10);
/// Names that one step of a purge looks at.
const SCAN_COUNT: usize = 1000;
/// One step of a purge may take this long, or `Settings::timeout` if that is longer: a Redis that
/// has just started is slow, and no client waits.
const PURGE_STEP_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct State {
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) is_serving: bool,
    /// Whether a FIN, SEEN or FILL may have been lost since the last purge. Set by steps that hold
    /// the lock for reading only.
    pub(super) has_missed: AtomicBool,
}

pub(super) struct Generation {
    /// For GET and LEASE, whose answers may be large.
    pub(super) connections: Vec<MultiplexedConnection>,
    /// For what must happen: an invalidation waits behind nobody's large values.
    pub(super) duties: MultiplexedConnection,
    pub(super) next: AtomicUsize,
    pub(super) over: CancellationToken,
}

impl Generation {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % self.connections.len()].clone()
    }

    pub(super) fn duty_connection(&self) -> MultiplexedConnection {
        self.duties.clone()
    }
}

/// A step that must happen. Unless it is [discharged](Duty::discharge), the generation ends, and with it
/// whatever the step has left undone: also when the step's future is dropped.
pub(super) struct Duty<'a> {
    shared: &'a Shared,
    pub(super) generation: Arc<Generation>,
    is_done: bool,
}

impl Duty<'_> {
    pub(super) fn discharge(mut self) {
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
    pub(super) async fn maintain(&self) {
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

    /// Only asked where a generation is at hand, or made: then the namespace is known.
    pub(super) fn names(&self) -> &Names {
        self.names
            .get_or_init(|| Names::new(self.settings.namespace.get().map_or("", String::as_str)))
    }

    /// Connects, and makes sure that what the generation finds can be trusted.
    pub(super) async fn prepare(&self) -> Result<Arc<Generation>, String> {
        if self.settings.namespace.get().is_none() {
            return Err(
                "no shard has been reached yet, which would tell the deployment".to_owned(),
            );
        }
        let connect = async || {
            timeout(CONNECT_TIMEOUT, self.connect())
                .await
                .map_err(|_| "no answer".to_owned())?
        };
        let (duties, run_id) = connect().await?;
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let (connection, id) = connect().await?;
            // A name may lead to more than one server.
            if id != run_id {
                return Err("its address leads to more than one server".to_owned());
            }
            connections.push(connection);
        }
        let generation = Arc::new(Generation {
            connections,
            duties,
            next: AtomicUsize::new(0),
            over: CancellationToken::new(),
        });
        let must_purge = self.publish(&generation) || self.settings.purge_at_start;
        let ready = async {
            // A write that changes nothing: a Redis that can't save refuses all of them.
            self.unlink(&generation, &[&self.names().prefix]).await?;
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

    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, String), String> {
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
    pub(super) fn publish(&self, generation: &Arc<Generation>) -> bool {
        let mut state = self.write_state();
        state.generation = Some(Arc::clone(generation));
        state.has_missed.load(Ordering::Relaxed)
    }

    /// Lets every step use the generation.
    pub(super) fn serve(&self, generation: &Arc<Generation>) -> Result<(), Unavailable> {
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
    pub(super) fn end(&self, generation: &Arc<Generation>, reason: impl fmt::Display) {
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
    pub(super) async fn watch(&self, generation: &Arc<Generation>) {
        while timeout(PING_INTERVAL, generation.over.cancelled())
            .await
            .is_err()
        {
            for connection in generation.connections.iter().chain([&generation.duties]) {
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
    pub(super) fn serving(&self) -> Result<Arc<Generation>, Unavailable> {
        let state = self.read_state();
        match &state.generation {
            Some(generation) if state.is_serving => Ok(Arc::clone(generation)),
            _ => Err(Unavailable),
        }
    }

    /// The generation for steps that must happen, also during the purge. That there is none is
    /// noted while the lock is held, so before the next one is published.
    pub(super) fn duty(&self) -> Result<Duty<'_>, Unavailable> {
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

    pub(super) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_current(state: &State, generation: &Arc<Generation>) -> bool {
    let current = state.generation.as_ref();
    current.is_some_and(|current| Arc::ptr_eq(current, generation))
}

/// Commands on a generation.
impl Shared {
    /// Runs `request` on the generation. Any error or a late answer ends the generation; an answer
    /// that arrives after the end does not count.
    pub(super) async fn step<T>(
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
    pub(super) fn allowance(&self, mib: usize) -> Duration {
        self.settings.timeout + TRANSFER_PER_MIB * u32::try_from(mib).unwrap_or(u32::MAX)
    }

    /// FIN for everything of this deployment. SCAN returns each entry that is there from its begin
    /// to its end; one that appears meanwhile is younger than all that was missed before.
    pub(super) async fn purge(&self, generation: &Arc<Generation>) -> Result<(), Unavailable> {
        let mut cursor = Bytes::from_static(b"0");
        loop {
            let mut command = cmd("SCAN");
            command
                .arg(&cursor[..])
                .arg("MATCH")
                .arg(&self.names().pattern[..])
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, found): (Vec<u8>, Vec<Vec<u8>>) = self
                .step(generation, "SCAN", self.purge_step_timeout(), async {
                    command.query_async(&mut generation.duty_connection()).await
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

    pub(super) async fn unlink(
        &self,
        generation: &Arc<Generation>,
        names: &[impl AsRef<[u8]>],
    ) -> Result<(), Unavailable> {
        let mut command = cmd("UNLINK");
        for name in names {
            command.arg(name.as_ref());
        }
        self.step(generation, "UNLINK", self.purge_step_timeout(), async {
            command.query_async(&mut generation.duty_connection()).await
        })
        .await
    }

    pub(super) fn purge_step_timeout(&self) -> Duration {
        self.settings.timeout.max(PURGE_STEP_TIMEOUT)
    }
}
