//! What a connection remembers between commands, and the commands that are about it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::Server;
use super::admission::Admission;
use super::clients::Client as Connected;
use super::transaction::Transaction;
use crate::command::control::{Client, ClientFilter, Hello, KillFilter, ReplyMode};
use crate::metrics::Spans;
use crate::resp::{Reply, Version};

/// The version of Redis whose behaviour is followed. Clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose it is.
    pub(super) admission: Admission,
    pub(super) version: Version,
    pub(super) transaction: Transaction,
    pub(super) replies: Replies,
    /// It is subscribed to something, or a monitor: some commands are refused.
    pub(super) is_restricted: bool,
    /// What the requests that are being handled have waited for.
    pub(super) spans: Spans,
    /// The connection is closed after the reply.
    pub(super) is_closing: bool,
}

/// CLIENT REPLY: how many replies are to be left out.
#[derive(Debug, Default)]
pub(super) struct Replies(AtomicU8);

impl Replies {
    const NONE: u8 = u8::MAX;

    fn set(&self, mode: ReplyMode) {
        let left_out = match mode {
            ReplyMode::On => 0,
            ReplyMode::Off => Self::NONE,
            ReplyMode::Skip if self.0.load(Ordering::Relaxed) == Self::NONE => return,
            // This one as well.
            ReplyMode::Skip => 2,
        };
        self.0.store(left_out, Ordering::Relaxed);
    }

    /// Whether the next reply is sent.
    pub(super) fn is_next_sent(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => true,
            Self::NONE => false,
            left_out => {
                self.0.store(left_out - 1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Session {
    /// That of a connection which has sent nothing yet.
    pub(super) fn new(admission: Admission) -> Self {
        Self {
            admission,
            version: Version::default(),
            transaction: Transaction::default(),
            replies: Replies::default(),
            is_restricted: false,
            is_closing: false,
            spans: Spans::default(),
        }
    }

    /// HELLO, after its AUTH: chooses the protocol and tells who answers.
    /// <https://redis.io/docs/latest/commands/hello/>
    pub(super) fn hello(&mut self, client: &Connected, hello: Hello) -> Reply {
        if !self.admission.is_known() {
            return Reply::Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".into());
        }
        match hello.version {
            Some(3) => self.version = Version::Resp3,
            Some(_) => self.version = Version::Resp2,
            None => {}
        }
        client.set_version(self.version);
        if let Some(name) = hello.name {
            client.describe(|described| described.name = own(&name));
        }
        Reply::Map(vec![
            (Reply::text("server"), Reply::text("redis")),
            (Reply::text("version"), Reply::text(REDIS_VERSION)),
            (Reply::text("proto"), Reply::Integer(self.version.number())),
            (Reply::text("id"), Reply::Integer(client.id as i64)),
            (Reply::text("mode"), Reply::text("standalone")),
            (Reply::text("role"), Reply::text("master")),
            (Reply::text("modules"), Reply::Array(Vec::new())),
        ])
    }

    /// RESET: as if the client had just connected.
    pub(super) fn reset(&mut self, server: &Server, client: &Connected) -> Reply {
        *self = Session::new(server.admission_of_new(client));
        client.set_version(self.version);
        client.set_no_evict(false);
        client.describe(|described| described.name = Bytes::new());
        Reply::Status("RESET")
    }

    /// CLIENT and its subcommands. <https://redis.io/docs/latest/commands/?group=connection>
    pub(super) fn client(&mut self, server: &Server, client: &Connected, command: Client) -> Reply {
        match command {
            Client::Id => Reply::Integer(client.id as i64),
            Client::GetName => {
                let name = client.describe(|described| described.name.clone());
                Reply::bulk_or_null(Some(name).filter(|name| !name.is_empty()))
            }
            Client::SetName(name) => {
                client.describe(|described| described.name = own(&name));
                Reply::OK
            }
            Client::SetLibraryName(name) => {
                client.describe(|described| described.library_name = own(&name));
                Reply::OK
            }
            Client::SetLibraryVersion(version) => {
                client.describe(|described| described.library_version = own(&version));
                Reply::OK
            }
            Client::Info => Reply::Verbatim(client.line()),
            Client::List(filter) => Reply::Verbatim(server.clients.list(|other| match &filter {
                ClientFilter::All => true,
                ClientFilter::Ids(ids) => ids.contains(&(other.id as i64)),
                ClientFilter::Kind(kind) => other.kind() == *kind,
            })),
            Client::KillAddress(address) => {
                let filter = KillFilter {
                    address: Some(address),
                    with_me: true,
                    ..KillFilter::default()
                };
                match self.kill(server, client, &filter) {
                    0 => Reply::Error("ERR No such client".into()),
                    _ => Reply::OK,
                }
            }
            Client::Kill(filter) => match server.unknown_user(&filter) {
                Some(name) => Reply::Error(format!("ERR No such user '{name}'")),
                None => Reply::Integer(self.kill(server, client, &filter) as i64),
            },
            Client::Pause {
                millis,
                writes_only,
            } => {
                server.pause.begin(millis, writes_only);
                Reply::OK
            }
            Client::Unpause => {
                server.pause.end();
                Reply::OK
            }
            Client::Reply(mode) => {
                self.replies.set(mode);
                Reply::OK
            }
            Client::NoEvict(is_on) => {
                client.set_no_evict(is_on);
                Reply::OK
            }
            Client::NoTouch | Client::TrackingOff => Reply::OK,
            Client::TrackingInfo => Reply::Map(vec![
                (Reply::text("flags"), Reply::Set(vec![Reply::text("off")])),
                (Reply::text("redirect"), Reply::Integer(-1)),
                (Reply::text("prefixes"), Reply::Array(Vec::new())),
            ]),
            Client::GetRedirection => Reply::Integer(-1),
            Client::Unblock => Reply::Integer(0),
        }
    }

    /// Ends connections; how many. This one ends after its reply.
    fn kill(&mut self, server: &Server, client: &Connected, filter: &KillFilter) -> usize {
        let is = |wanted: &Option<Bytes>, address: SocketAddr| {
            let is_same = |wanted: &Bytes| **wanted == *address.to_string().as_bytes();
            wanted.as_ref().is_none_or(is_same)
        };
        let is_meant = |other: &Connected| {
            (filter.with_me || other.id != client.id)
                && filter.id.is_none_or(|id| id == other.id)
                && filter.kind.is_none_or(|kind| kind == other.kind())
                && filter.user.as_ref().is_none_or(|name| other.is_of(name))
                && is(&filter.address, other.address())
                && is(&filter.local_address, other.local_address())
        };
        let meant = server.clients.filtered(is_meant);
        for other in &meant {
            if other.id == client.id {
                self.is_closing = true;
            } else {
                other.mailbox.end();
            }
        }
        meant.len()
    }
}

/// A help text, as containers answer it.
pub(super) fn help(lines: &[&'static str]) -> Reply {
    Reply::Array(lines.iter().map(|line| Reply::Status(line)).collect())
}

/// A copy that does not keep the read buffer alive.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
