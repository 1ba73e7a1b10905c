//! What a connection remembers between commands, and the commands that are about it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::Server;
use super::clients::Client as Connected;
use super::transaction::Transaction;
use crate::command::control::{Client, ClientFilter, Credentials, Hello, KillFilter, ReplyMode};
use crate::metrics::Spans;
use crate::resp::{Reply, Version};

/// The version of Redis whose behaviour is followed. Clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
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
    /// HELLO: chooses the protocol and tells who answers.
    /// <https://redis.io/docs/latest/commands/hello/>
    pub(super) fn hello(&mut self, client: &Connected, hello: Hello) -> Reply {
        if let Some(credentials) = hello.auth
            && let Err(refusal) = authenticate(&credentials)
        {
            return refusal;
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
    pub(super) fn reset(&mut self, client: &Connected) -> Reply {
        *self = Session::default();
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
            Client::Kill(filter) => Reply::Integer(self.kill(server, client, &filter) as i64),
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

/// AUTH. There is one user, `default`, and no password.
pub(super) fn authenticate(credentials: &Credentials) -> Result<(), Reply> {
    match credentials.username.as_deref() {
        None => Err(Reply::Error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into(),
        )),
        Some(b"default") => Ok(()),
        Some(_) => Err(Reply::Error(
            "WRONGPASS invalid username-password pair or user is disabled.".into(),
        )),
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
