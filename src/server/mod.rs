//! The RESP port: listener, connections, and what commands answer.

mod acl;
mod acl_log;
mod admission;
mod answer;
mod bounds;
mod clients;
mod config;
mod connection;
mod control;
mod dispatch;
mod info;
mod introspect;
mod keyspace;
mod latency;
mod mailbox;
mod memory;
mod monitor;
mod pause;
mod proxy;
mod pubsub;
mod sampling;
mod secrets;
mod segment;
mod session;
mod slowlog;
mod statistics;
mod together;
mod transaction;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Throttle};
use crate::command::table::{self, Spec};
use crate::engine::Engine;
use crate::metrics::{Metrics, Spans};
use crate::shutdown::Stopping;
use crate::tls::{Doors, Knock, Refused};
use crate::workers::Workers;

use acl_log::AclLog;
use bounds::{InForce, Place};
use clients::{Client, Clients};
use config::Adjustable;
use dispatch::Request;
use info::Identity;
use latency::LatencyMonitor;
use monitor::Monitors;
use pause::Pause;
use pubsub::PubSub;
use statistics::Statistics;

pub use bounds::Bounds;

/// Everything that connections share.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    bounds: InForce,
    workers: Workers,
    clients: Clients,
    identity: Identity,
    config: Adjustable,
    pause: Pause,
    monitors: Monitors,
    channels: Arc<PubSub>,
    latencies: LatencyMonitor,
    statistics: Statistics,
    access: Access,
    throttle: Throttle,
    acl_log: AclLog,
}

/// Bounds and facts of the RESP port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest argument, in bytes.
    pub argument_max: usize,
    /// Longest value, in bytes.
    pub value_max: usize,
    /// Whether MSET over several shards is done as a whole.
    pub atomic_mset: bool,
    /// Bounds that may change.
    pub bounds: Bounds,
    /// A connection on which nothing comes for so long is closed; 0 is never. CONFIG SET changes it.
    pub idle_timeout: Duration,
    /// The port that INFO shows: as in Redis, that in the clear if there is one.
    pub port: u16,
    /// What the proxy runs on, in a few words, for INFO.
    pub backend: String,
}

/// A pause after a failed accept. Usually file descriptors have run out, and it fails at once
/// again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How long who has to log in keeps a place that somebody else wants. Clients do so at once.
const LOGIN_GRACE: Duration = Duration::from_secs(1);

/// What a client is told that speaks in the clear to the port with TLS.
const FOR_PLAIN: &[u8] = b"-ERR this port speaks TLS only\r\n";

/// A client that said nothing for so long is let go while the server drains: it has got its answers, and
/// is not likely to ask just now.
const QUIET: Duration = Duration::from_secs(1);

/// How often the server looks for quiet clients then.
const DRAIN_TURN: Duration = Duration::from_millis(100);

impl Server {
    /// A server that is not listening yet, and lets in the users of `access`.
    pub fn new(engine: Arc<Engine>, settings: Settings, access: Access, workers: Workers) -> Self {
        let clients_max = settings.bounds.clients_max as u64;
        engine.metrics().clients_max.set(clients_max);
        let bounds = InForce::new(settings.bounds);
        Self {
            clients: Clients::new(bounds.output_max.clone()),
            bounds,
            identity: Identity::new(),
            config: Adjustable::with_timeout(settings.idle_timeout),
            access,
            throttle: Throttle::default(),
            acl_log: AclLog::default(),
            settings,
            pause: Pause::default(),
            monitors: Monitors::default(),
            channels: Arc::new(PubSub::new(Arc::clone(engine.cache()))),
            latencies: LatencyMonitor::default(),
            statistics: Statistics::default(),
            engine,
            workers,
        }
    }

    /// Changes bounds. Who is connected stays.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.bounds.set(bounds);
        let clients_max = bounds.clients_max as u64;
        self.engine.metrics().clients_max.set(clients_max);
    }

    /// Changes how long a connection may be idle, as CONFIG SET does; zero is for ever.
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.config.set_timeout(timeout);
    }

    /// Accepts connections until the drain begins, and serves them until they leave, or the stop
    /// begins and all of them have answered what they had read.
    pub async fn run(self: Arc<Self>, doors: Doors, stopping: Stopping) {
        let connections = TaskTracker::new();
        let admit = |(knock, address): (Knock, SocketAddr)| {
            let Some(place) = self.place() else {
                connections.spawn(turn_away(knock));
                return;
            };
            let server = Arc::clone(&self);
            // Of its own: waiting for a shared one takes a lock that all share.
            let stop = stopping.part();
            let serving = async move {
                let _place = place;
                if let Err(error) = server.serve(knock, address, stop).await {
                    tracing::debug!(client = %address, %error, "connection ended");
                }
            };
            connections.spawn_on(serving, self.workers.next());
        };
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = pin!(stopping.draining());
        loop {
            tokio::select! {
                () = &mut draining => break,
                accepted = doors.accept() => match accepted {
                    Ok(accepted) => admit(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
                _ = second.tick() => self.each_second(),
            }
        }
        for accepted in doors.rest() {
            admit(accepted);
        }
        connections.close();
        let mut stopped = pin!(connections.wait());
        let mut stopping = pin!(stopping.stopping());
        let mut turn = tokio::time::interval(DRAIN_TURN);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = &mut stopping => {
                    stopped.await;
                    break;
                }
                _ = turn.tick() => self.clients.let_go(QUIET),
                _ = second.tick() => self.each_second(),
            }
        }
        self.channels.stop();
    }

    /// A place for one client more. If all are taken, one of those who have not logged in has to go: otherwise, who
    /// can't log in could keep out those who can.
    fn place(&self) -> Option<Place> {
        let places = &self.bounds.places;
        let free = places.take();
        if free.is_some() {
            return free;
        }
        if self.clients.end_one_unknown(LOGIN_GRACE) {
            return Some(places.take_over());
        }
        self.engine.metrics().connections_rejected.add(1);
        None
    }

    fn each_second(&self) {
        self.identity.sample(self.engine.metrics());
        if let Some(longest) = self.config.timeout() {
            self.clients.end_idle(longest);
        }
        if self.access.current().0.let_anybody_in() {
            return;
        }
        self.clients
            .end_unknown(self.bounds.authentication_timeout.get());
    }

    /// Notes requests that took long, if that is what they did.
    fn note_slow(&self, client: &Client, requests: &[Request], took: Duration, spans: Spans) {
        if self.config.slow().is_some_and(|slow| took >= slow) {
            let entries_max = self.config.slowlog_entries_max();
            let slow_log = &self.engine.metrics().slow_log;
            slowlog::note(slow_log, client, requests, took, spans, entries_max);
        }
        let threshold = self.config.latency_threshold_millis();
        if threshold > 0 && took.as_millis() as i64 >= threshold {
            self.latencies.note(took);
        }
    }

    async fn serve(
        &self,
        knock: Knock,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        // From the runtime of the listener to this one.
        let knock = knock.moved_here()?;
        knock.stream().set_nodelay(true)?;
        let local = knock.stream().local_addr()?;
        match knock {
            Knock::Plain(stream) => self.converse(stream, address, local, stop).await,
            // Of its own memory: what TLS needs is several times a connection in the clear.
            Knock::Tls(stream, tls) => {
                Box::pin(async move {
                    let accepted = tokio::select! {
                        accepted = tls.accept(stream, FOR_PLAIN) => accepted,
                        () = stop.cancelled() => return Ok(()),
                    };
                    let metrics = self.engine.metrics();
                    match accepted {
                        Ok(stream) => {
                            metrics.tls_connections.add(1);
                            self.converse(stream, address, local, stop).await
                        }
                        Err(reason) => {
                            tls.note_refused(address, &reason);
                            metrics.tls_refused.add(1);
                            if let Refused::Plain = reason {
                                metrics.tls_refused_plain.add(1);
                            }
                            Ok(())
                        }
                    }
                })
                .await
            }
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        address: SocketAddr,
        local: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        self.engine.metrics().connections.add(1);
        let _connected = Connected::new(self.engine.metrics());
        let registration = self.clients.register(address, local, stop.clone());
        let client = Arc::clone(&registration.client);
        let served = connection::Connection::new(self, stream, registration)
            .run(stop)
            .await;
        self.forget(&client).await;
        served
    }
}

/// A connection is counted as long as this lives.
struct Connected<'a>(&'a Metrics);

impl<'a> Connected<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.clients.enter();
        Self(metrics)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.clients.leave();
    }
}

/// The row of the command that a request names.
fn spec_of(words: &[Bytes]) -> Option<&'static Spec> {
    words.first().and_then(|name| table::find(name))
}

async fn turn_away(knock: Knock) {
    // Who waits for a handshake could not read it.
    let Knock::Plain(stream) = knock else { return };
    let _ = stream.writable().await;
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}
