//! Makes one generation after the other, and asks the one that serves whether it still is what it
//! was.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use ::redis::{InfoDict, cmd};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::generation::Generation;
use super::names::Names;
use super::server::{connect, master};
use super::{RedisSession, Shared};

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
/// After so many questions on one connection, each of them is asked.
const ROUNDS_PER_CUT: u32 = 10;

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
        let connect = async || {
            timeout(CONNECT_TIMEOUT, connect(&self.client, &names))
                .await
                .map_err(|_| "no answer".to_owned())?
        };
        // All at once, as a blip should be short.
        let (duties, first, second) = tokio::try_join!(connect(), connect(), connect())?;
        let (duties, instance) = duties;
        // A name may lead to more than one server.
        if [&first, &second]
            .iter()
            .any(|(_, other)| *other != instance)
        {
            return Err("its address leads to more than one server".to_owned());
        }
        Ok(Generation {
            instance,
            names,
            connections: [first.0, second.0],
            duties,
            next: AtomicUsize::new(0),
            over: CancellationToken::new(),
        })
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
        for round in 0_u32.. {
            let is_over = timeout(ASK_EVERY, generation.over.cancelled()).await;
            if is_over.is_ok() {
                return;
            }
            // The server is the same on all of them; a cut has to be looked for on each.
            let others: &[_] = if round.is_multiple_of(ROUNDS_PER_CUT) {
                &generation.connections
            } else {
                &[]
            };
            for connection in others.iter().chain([&generation.duties]) {
                let mut command = cmd("INFO");
                command.arg("server").arg("replication");
                let mut connection = connection.clone();
                let info: Result<InfoDict, _> = self
                    .step("INFO", self.allowance(0), async {
                        command.query_async(&mut connection).await
                    })
                    .await;
                let Ok(info) = info else { return };
                match master(&info) {
                    Ok(instance) if instance == generation.instance => {}
                    Ok(_) => self.end("it is another instance now"),
                    Err(reason) => self.end(reason),
                }
            }
        }
    }
}
