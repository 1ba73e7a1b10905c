//! The RESP port: listener, connections, and what commands answer.

mod acl;
mod acl_log;
mod admission;
mod answer;
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
mod secrets;
mod segment;
mod session;
mod slowlog;
mod statistics;
mod together;
mod transaction;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{self, Access, Throttle};
use crate::command::table::{self, Spec};
use crate::engine::Engine;
use crate::resp::Limits;
use crate::workers::Workers;

use acl_log::AclLog;
use clients::{Client, Clients};
use config::Adjustable;
use dispatch::Request;
use info::Identity;
use latency::LatencyMonitor;
use monitor::Monitors;
use pause::Pause;
use pubsub::PubSub;
use slowlog::SlowLog;
use statistics::Statistics;

/// Everything that connections share.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    workers: Workers,
    clients: Clients,
    identity: Identity,
    config: Adjustable,
    pause: Pause,
    monitors: Monitors,
    channels: Arc<PubSub>,
    slowlog: SlowLog,
    latencies: LatencyMonitor,
    statistics: Statistics,
    access: Access,
    throttle: Throttle,
    acl_log: AclLog,
}

/// Bounds and facts of the RESP port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on a request.
    pub limits: Limits,
    /// Longest value, in bytes.
    pub value_max: usize,
    /// Whether MSET over several shards is done as a whole.
    pub atomic_mset: bool,
    /// Most connections at a time.
    pub clients_max: usize,
    /// Bytes of replies that wait for a slow reader, and of messages.
    pub output_max: usize,
    /// Commands between MULTI and EXEC.
    pub queued_max: usize,
    /// A connection on which nothing comes for so long is closed; 0 is never. CONFIG SET changes it.
    pub idle_timeout: Duration,
    /// How long a connection has to say who it is, if it must.
    pub authentication_timeout: Duration,
    /// Where ACL LOAD has the users from.
    pub users_source: access::Source,
    /// The port that INFO shows.
    pub port: u16,
    /// What the proxy runs on, in a few words, for INFO.
    pub backend: String,
}

/// A pause after a failed accept. Usually file descriptors have run out, and it fails at once
/// again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

impl Server {
    /// A server that is not listening yet, and lets in these users.
    pub fn new(
        engine: Arc<Engine>,
        settings: Settings,
        users: access::Users,
        workers: Workers,
    ) -> Self {
        Self {
            clients: Clients::new(settings.output_max),
            identity: Identity::new(),
            config: Adjustable::with_timeout(settings.idle_timeout),
            access: Access::new(users),
            throttle: Throttle::default(),
            acl_log: AclLog::default(),
            settings,
            pause: Pause::default(),
            monitors: Monitors::default(),
            channels: Arc::new(PubSub::new(Arc::clone(engine.cache()))),
            slowlog: SlowLog::default(),
            latencies: LatencyMonitor::default(),
            statistics: Statistics::new(workers.runtimes().len()),
            engine,
            workers,
        }
    }

    /// Accepts connections until `stop` is cancelled, then waits until all of them have answered
    /// what they had read.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.settings.clients_max));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                _ = second.tick() => {
                    self.each_second();
                    continue;
                }
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.engine.metrics().connections_rejected.add(1);
                connections.spawn(turn_away(stream));
                continue;
            };
            let server = Arc::clone(&self);
            // Of its own: waiting for a shared one takes a lock that all share.
            let stop = stop.child_token();
            let serving = async move {
                let _place = place;
                if let Err(error) = server.serve(stream, address, stop).await {
                    tracing::debug!(client = %address, %error, "connection ended");
                }
            };
            connections.spawn_on(serving, self.workers.next());
        }
        drop(listener);
        connections.close();
        connections.wait().await;
        self.channels.stop();
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
            .end_unknown(self.settings.authentication_timeout);
    }

    /// Notes requests that took long, if that is what they did.
    fn note_slow(&self, client: &Client, requests: &[Request], took: Duration) {
        if self.config.slow().is_some_and(|slow| took >= slow) {
            let entries_max = self.config.slowlog_entries_max();
            self.slowlog.note(client, requests, took, entries_max);
        }
        let threshold = self.config.latency_threshold_millis();
        if threshold > 0 && took.as_millis() as i64 >= threshold {
            self.latencies.note(took);
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        address: std::net::SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        // From the runtime of the listener to this one.
        let stream = TcpStream::from_std(stream.into_std()?)?;
        stream.set_nodelay(true)?;
        self.engine.metrics().connections.add(1);
        let local = stream.local_addr()?;
        let registration = self.clients.register(address, local);
        let client = Arc::clone(&registration.client);
        let served = connection::Connection::new(self, stream, registration)
            .run(stop)
            .await;
        self.forget(&client).await;
        served
    }
}

/// The row of the command that a request names.
fn spec_of(words: &[Bytes]) -> Option<&'static Spec> {
    words.first().and_then(|name| table::find(name))
}

async fn turn_away(stream: TcpStream) {
    let _ = stream.writable().await;
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}
