//! The RESP port: listener, connections, and what commands answer.

mod answer;
mod clients;
mod connection;
mod control;
mod dispatch;
mod info;
mod introspect;
mod keyspace;
mod segment;
mod session;
mod together;
mod transaction;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Engine;
use crate::resp::Limits;
use crate::workers::Workers;

use clients::Clients;

/// Everything that connections share.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    workers: Workers,
    clients: Clients,
    started: std::time::Instant,
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
    /// The port that INFO shows.
    pub port: u16,
    /// What the proxy runs on, in a few words, for INFO.
    pub backend: String,
}

/// A pause after a failed accept. Usually file descriptors have run out, and it fails at once
/// again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

impl Server {
    /// A server that is not listening yet.
    pub fn new(engine: Arc<Engine>, settings: Settings, workers: Workers) -> Self {
        Self {
            engine,
            settings,
            workers,
            clients: Clients::default(),
            started: std::time::Instant::now(),
        }
    }

    /// Accepts connections until `stop` is cancelled, then waits until all of them have answered
    /// what they had read.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.settings.clients_max));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
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
        let client = self.clients.register(address, local);
        connection::Connection::new(self, stream, client)
            .run(stop)
            .await
    }
}

async fn turn_away(stream: TcpStream) {
    let _ = stream.writable().await;
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}
