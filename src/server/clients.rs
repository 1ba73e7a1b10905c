//! The connected clients, for CLIENT LIST, CLIENT INFO and INFO.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::mailbox::Mailbox;
use crate::access::{DEFAULT_USER, User};
use crate::adjustable::Size;
use crate::command::control::{ChannelKind, ClientKind};
use crate::resp::Version;

/// The connected clients.
#[derive(Debug)]
pub(super) struct Clients {
    /// Bytes of messages that may wait for each.
    waiting_max: Size,
    last_id: AtomicU64,
    /// How many have not said who they are, and have to.
    unknown: Arc<AtomicUsize>,
    connected: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

/// One connected client. Its connection is the only one that changes it; others put what they have for
/// it into its mailbox.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) mailbox: Mailbox,
    /// Ends the connection once everything that has come was answered.
    pub(super) stop: CancellationToken,
    address: SocketAddr,
    local: SocketAddr,
    connected: Instant,
    /// Milliseconds after `connected` at which the last command came.
    active_millis: AtomicU64,
    speaks_resp3: AtomicBool,
    is_monitor: AtomicBool,
    /// Whether it has said who it is, or need not.
    is_known: AtomicBool,
    /// How many of all clients have not.
    unknown: Arc<AtomicUsize>,
    is_in_transaction: AtomicBool,
    no_evict: AtomicBool,
    /// How many channels, patterns and shard channels it is subscribed to.
    subscriptions: [AtomicU32; 3],
    described: Mutex<Described>,
}

/// What a client says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) name: Bytes,
    pub(super) library_name: Bytes,
    pub(super) library_version: Bytes,
    pub(super) last_command: &'static str,
    /// `None` is the default user.
    pub(super) user: Option<Arc<User>>,
}

/// Takes the client off the list when its connection ends, however it ends.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) client: Arc<Client>,
    connected: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.client.set_known(true);
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.client.id);
    }
}

impl Clients {
    pub(super) fn new(waiting_max: Size) -> Self {
        Self {
            waiting_max,
            last_id: AtomicU64::new(0),
            unknown: Arc::default(),
            connected: Arc::default(),
        }
    }

    pub(super) fn register(
        &self,
        address: SocketAddr,
        local: SocketAddr,
        stop: CancellationToken,
    ) -> Registration {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            mailbox: Mailbox::new(self.waiting_max.clone()),
            stop,
            address,
            local,
            connected: Instant::now(),
            active_millis: AtomicU64::new(0),
            speaks_resp3: AtomicBool::new(false),
            is_monitor: AtomicBool::new(false),
            is_known: AtomicBool::new(true),
            unknown: Arc::clone(&self.unknown),
            is_in_transaction: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            subscriptions: Default::default(),
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

    /// How many `wanted` accepts.
    pub(super) fn count_of(&self, wanted: impl Fn(&Client) -> bool) -> usize {
        self.filtered(wanted).len()
    }

    /// One line for each client that `wanted` accepts, by id.
    pub(super) fn list(&self, wanted: impl Fn(&Client) -> bool) -> String {
        let clients = self.filtered(wanted);
        clients.iter().fold(String::new(), |mut list, client| {
            list.push_str(&client.line());
            list
        })
    }

    /// Those that `wanted` accepts, by id.
    pub(super) fn filtered(&self, wanted: impl Fn(&Client) -> bool) -> Vec<Arc<Client>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter(|client| wanted(client))
            .cloned()
            .collect()
    }

    /// Ends connections on which nothing came for so long; those that wait for what others send are
    /// left.
    pub(super) fn end_idle(&self, longest: Duration) {
        let is_idle = |client: &Client| {
            client.kind() == ClientKind::Normal && !client.is_monitor() && client.idle() > longest
        };
        for client in self.filtered(is_idle) {
            client.mailbox.end();
        }
    }

    /// Ends connections that have not said for so long who they are.
    pub(super) fn end_unknown(&self, longest: Duration) {
        let is_late = |client: &Client| {
            !client.is_known.load(Ordering::Relaxed) && client.connected.elapsed() > longest
        };
        for client in self.filtered(is_late) {
            client.mailbox.end();
        }
    }

    /// Ends the oldest connection that has not said for so long who it is; false if there is none.
    pub(super) fn end_one_unknown(&self, longest: Duration) -> bool {
        if self.unknown.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let connected = self.connected.lock();
        let connected = connected.unwrap_or_else(PoisonError::into_inner);
        // Ids are in the order in which they came.
        let late = connected
            .values()
            .take_while(|client| client.connected.elapsed() > longest)
            .find(|client| !client.is_known() && !client.mailbox.has_ended());
        let late = late.cloned();
        drop(connected);
        if let Some(client) = &late {
            client.mailbox.end();
        }
        late.is_some()
    }

    /// Lets clients go that said nothing for so long, unless they are in the middle of a transaction.
    pub(super) fn let_go(&self, quiet: Duration) {
        let is_quiet = |client: &Client| {
            let is_in_transaction = client.is_in_transaction.load(Ordering::Relaxed);
            !is_in_transaction && client.idle() >= quiet
        };
        for client in self.filtered(is_quiet) {
            client.stop.cancel();
        }
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

    /// Notes that something has come.
    pub(super) fn note_activity(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.connected).as_millis();
        self.active_millis
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Notes that a command has come, and returns the time.
    pub(super) fn touch(&self, command: &'static str) -> Instant {
        let now = Instant::now();
        self.note_activity(now);
        self.describe(|described| described.last_command = command);
        now
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn idle(&self) -> Duration {
        let active = Duration::from_millis(self.active_millis.load(Ordering::Relaxed));
        self.connected.elapsed().saturating_sub(active)
    }

    pub(super) fn version(&self) -> Version {
        if self.speaks_resp3.load(Ordering::Relaxed) {
            Version::Resp3
        } else {
            Version::Resp2
        }
    }

    pub(super) fn set_version(&self, version: Version) {
        let is_3 = version == Version::Resp3;
        self.speaks_resp3.store(is_3, Ordering::Relaxed);
    }

    /// Notes whose connection it is; whether it has said so.
    pub(super) fn set_user(&self, user: &Arc<User>, is_known: bool) {
        self.set_known(is_known);
        self.describe(|described| described.user = Some(Arc::clone(user)));
    }

    fn set_known(&self, is_known: bool) {
        match (self.is_known.swap(is_known, Ordering::Relaxed), is_known) {
            (true, false) => self.unknown.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.unknown.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Whether it has said who it is, or need not.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Whether it is this user's.
    pub(super) fn is_of(&self, name: &[u8]) -> bool {
        self.describe(|described| user_name(described).as_bytes() == name)
    }

    /// Its user's name.
    pub(super) fn user_name(&self) -> String {
        self.describe(|described| user_name(described).to_owned())
    }

    pub(super) fn note_transaction(&self, is_open: bool) {
        self.is_in_transaction.store(is_open, Ordering::Relaxed);
    }

    pub(super) fn is_monitor(&self) -> bool {
        self.is_monitor.load(Ordering::Relaxed)
    }

    pub(super) fn set_monitor(&self, is_monitor: bool) {
        self.is_monitor.store(is_monitor, Ordering::Relaxed);
    }

    pub(super) fn set_no_evict(&self, is_on: bool) {
        self.no_evict.store(is_on, Ordering::Relaxed);
    }

    pub(super) fn set_subscriptions(&self, kind: ChannelKind, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.subscriptions[kind as usize].store(count, Ordering::Relaxed);
    }

    pub(super) fn subscriptions(&self, kind: ChannelKind) -> u32 {
        self.subscriptions[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn is_subscriber(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|count| count.load(Ordering::Relaxed) > 0)
    }

    pub(super) fn kind(&self) -> ClientKind {
        if self.is_subscriber() {
            ClientKind::PubSub
        } else {
            ClientKind::Normal
        }
    }

    fn flags(&self) -> String {
        let flags = [
            (self.is_monitor(), 'O'),
            (self.is_subscriber(), 'P'),
            (self.no_evict.load(Ordering::Relaxed), 'e'),
        ];
        let set: String = flags
            .iter()
            .filter_map(|(is_set, flag)| is_set.then_some(*flag))
            .collect();
        if set.is_empty() { "N".to_owned() } else { set }
    }

    /// The fields that client tools look at, in Redis' order.
    pub(super) fn line(&self) -> String {
        let described = self.describe(|described| described.clone());
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut line = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(
            line,
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={} db=0 sub={} psub={} ssub={} multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            text(&described.name),
            self.connected.elapsed().as_secs(),
            self.idle().as_secs(),
            self.flags(),
            self.subscriptions(ChannelKind::Channel),
            self.subscriptions(ChannelKind::Pattern),
            self.subscriptions(ChannelKind::Shard),
            described.last_command,
            user_name(&described),
            self.version().number(),
            text(&described.library_name),
            text(&described.library_version),
        );
        line
    }
}

fn user_name(described: &Described) -> &str {
    let user = described.user.as_deref();
    user.map_or(DEFAULT_USER, User::name)
}
