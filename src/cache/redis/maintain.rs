//! Makes one generation after the other, and asks the one that serves whether it still is what it
//! was.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{InfoDict, cmd};
use futures_util::future::{select_all, try_join_all};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::generation::Generation;
use super::lookups::{Figures, Lookups};
use super::names::Names;
use super::server::{connect, connect_for_lookups, master};
use super::steps::TRANSFER_PER_NAME;
use super::{RedisSession, Shared};
use crate::cache::Unavailable;
use crate::view::Instance;

/// How long is waited before each attempt to connect, the last for all that follow. The first ones
/// come at once: when the connections were cut and nothing else, the cache is back before it is
/// taken out of the view, and no request has to wait for that.
const RETRY_DELAYS_MS: [u64; 7] = [0, 20, 50, 100, 200, 500, 1000];
/// Each generation in a row that lived shorter leaves out one more of the first delays.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// No client waits for this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection is asked whether it still leads to the same master. One that is demoted and
/// promoted again between two questions, with another's data by then, is taken for unchanged.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often the other connections are asked whether they live.
const CUTS_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Cancelled at any point, it leaves the generation of now as it is.
    pub(super) async fn maintain(self: Arc<Self>) {
        let mut short_lives = 0;
        let mut attempts = 0;
        let mut last_reason = None;
        loop {
            let delay_ms = RETRY_DELAYS_MS[attempts.min(RETRY_DELAYS_MS.len() - 1)];
            sleep(Duration::from_millis(delay_ms)).await;
            attempts += 1;
            match self.prepare().await {
                Ok(generation) => {
                    let session = self.publish(generation);
                    info!(redis = self.address, "the cache is reached");
                    last_reason = None;
                    let since = Instant::now();
                    session.watch().await;
                    short_lives = if since.elapsed() < STABLE_AFTER {
                        short_lives + 1
                    } else {
                        0
                    };
                    attempts = short_lives;
                }
                // Once an outage, unless the reason changes.
                Err(reason) if last_reason.as_ref() != Some(&reason) => {
                    warn!(redis = self.address, reason, "the cache can't be used");
                    last_reason = Some(reason);
                }
                Err(reason) => debug!(redis = self.address, reason, "still no cache"),
            }
        }
    }

    async fn prepare(&self) -> Result<Generation, String> {
        let namespace = self.settings.namespace.get();
        let names = Names::new(namespace.ok_or_else(|| {
            "no shard has been reached yet, which would tell the deployment".to_owned()
        })?);
        let over = CancellationToken::new();
        let connect = async || {
            timeout(CONNECT_TIMEOUT, connect(&self.target))
                .await
                .map_err(|_| self.target.silence())?
        };
        // All at once, as a blip should be short.
        let (duties, leases, lookups) =
            tokio::try_join!(connect(), connect(), self.prepare_lookups(&over))?;
        let (duties, instance) = duties;
        let others = lookups.iter().map(|(_, other)| other).chain([&leases.1]);
        // A name may lead to more than one server.
        if others.into_iter().any(|other| *other != instance) {
            return Err("its address leads to more than one server".to_owned());
        }
        Ok(Generation {
            instance,
            names,
            lookups: lookups.into_iter().map(|(lookups, _)| lookups).collect(),
            leases: leases.0,
            duties,
            over,
            is_over: AtomicBool::new(false),
        })
    }

    /// A connection on each worker, and where it leads.
    async fn prepare_lookups(
        &self,
        over: &CancellationToken,
    ) -> Result<Vec<(Lookups, Instance)>, String> {
        let mut connecting = Vec::new();
        for (worker, runtime) in self.workers.runtimes().iter().enumerate() {
            let metrics = Arc::clone(&self.settings.metrics);
            let figures = Figures { metrics, worker };
            let (lookups, driver) = Lookups::new(self.settings.timeout, TRANSFER_PER_NAME, figures);
            let (target, over) = (self.target.clone(), over.clone());
            let (connected, instance) = oneshot::channel();
            // The socket belongs to the runtime on which it was made.
            runtime.spawn(async move {
                let connection = timeout(CONNECT_TIMEOUT, connect_for_lookups(&target)).await;
                let connection = connection.unwrap_or_else(|_| Err(target.silence()));
                match connection {
                    Ok((stream, instance)) => {
                        if connected.send(Ok(instance)).is_ok() {
                            driver.run(stream, over).await;
                        }
                    }
                    Err(reason) => drop(connected.send(Err(reason))),
                }
            });
            connecting.push((lookups, instance));
        }
        let mut connections = Vec::new();
        for (lookups, instance) in connecting {
            let instance = instance
                .await
                .map_err(|_| "the proxy is stopping".to_owned())??;
            connections.push((lookups, instance));
        }
        Ok(connections)
    }
}

impl RedisSession {
    /// Asks each connection now and then, until the generation is over: for a Redis that hangs or
    /// is demoted while nobody uses it, and for a connection cut off in silence.
    ///
    /// A server that has been another's replica since the last question, and is a master again, is
    /// told by the id of its replication: it may hold the other's entries.
    async fn watch(&self) {
        let generation = &self.generation;
        let lookups = generation.lookups.iter();
        let lost = select_all(lookups.map(|lookups| Box::pin(lookups.lost())));
        tokio::select! {
            () = generation.over.cancelled() => {}
            ((), lost, _) = lost => self.end(generation.lookups[lost].reason()),
            // At the same time: what is slow on one connection holds up no question on another.
            Err(Unavailable) = self.look_for_changes() => {}
            Err(Unavailable) = self.look_for_cuts() => {}
        }
    }

    /// Asks who the server is. It is the same on all connections.
    async fn look_for_changes(&self) -> Result<Infallible, Unavailable> {
        loop {
            sleep(ASK_EVERY).await;
            self.ask(&self.generation.duties).await?;
        }
    }

    /// Asks on each of the other connections, which may be cut off alone.
    async fn look_for_cuts(&self) -> Result<Infallible, Unavailable> {
        loop {
            sleep(CUTS_EVERY).await;
            let lookups = self.generation.lookups.iter();
            let pings = try_join_all(lookups.map(|lookups| self.ping(lookups)));
            tokio::try_join!(pings, self.ask(&self.generation.leases))?;
        }
    }

    async fn ask(&self, connection: &MultiplexedConnection) -> Result<(), Unavailable> {
        let mut command = cmd("INFO");
        command.arg("server").arg("replication");
        let mut connection = connection.clone();
        let info: InfoDict = self
            .step("INFO", self.allowance(0), async {
                command.query_async(&mut connection).await
            })
            .await?;
        match master(&info) {
            Ok(instance) if instance == self.generation.instance => return Ok(()),
            Ok(_) => self.end("it is another instance now"),
            Err(reason) => self.end(reason),
        }
        Err(Unavailable)
    }
}
