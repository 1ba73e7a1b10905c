//! The connected clients, for CLIENT LIST, CLIENT INFO and INFO.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::resp::Version;

/// The connected clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    last_id: AtomicU64,
    connected: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

/// One connected client. Its connection is the only one that changes it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    address: SocketAddr,
    local: SocketAddr,
    connected: Instant,
    /// Milliseconds after `connected` at which the last command came.
    active_millis: AtomicU64,
    described: Mutex<Described>,
}

/// What a client says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) name: Bytes,
    pub(super) library_name: Bytes,
    pub(super) library_version: Bytes,
    pub(super) version: Version,
    pub(super) last_command: &'static str,
}

/// Takes the client off the list when its connection ends, however it ends.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) client: Arc<Client>,
    connected: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.client.id);
    }
}

impl Clients {
    pub(super) fn register(&self, address: SocketAddr, local: SocketAddr) -> Registration {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            address,
            local,
            connected: Instant::now(),
            active_millis: AtomicU64::new(0),
            described: Mutex::default(),
        });
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(client.id, Arc::clone(&client));
        Registration {
            client,
            connected: Arc::clone(&self.connected),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// One line for each client that `wanted` accepts, by id.
    pub(super) fn list(&self, wanted: impl Fn(&Client) -> bool) -> String {
        let clients: Vec<_> = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter(|client| wanted(client))
            .cloned()
            .collect();
        clients.iter().fold(String::new(), |mut list, client| {
            list.push_str(&client.line());
            list
        })
    }
}

impl Client {
    pub(super) fn describe<T>(&self, change: impl FnOnce(&mut Described) -> T) -> T {
        change(
            &mut self
                .described
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Notes that a command has come.
    pub(super) fn touch(&self, command: &'static str) {
        let millis = self.connected.elapsed().as_millis();
        self.active_millis
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.describe(|described| described.last_command = command);
    }

    /// The fields that client tools look at, in Redis' order.
    pub(super) fn line(&self) -> String {
        let described = self.describe(|described| described.clone());
        let age = self.connected.elapsed();
        let active = std::time::Duration::from_millis(self.active_millis.load(Ordering::Relaxed));
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut line = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(
            line,
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            text(&described.name),
            age.as_secs(),
            age.saturating_sub(active).as_secs(),
            described.last_command,
            described.version.number(),
            text(&described.library_name),
            text(&described.library_version),
        );
        line
    }
}
