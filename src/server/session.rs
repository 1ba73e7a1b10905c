//! What a connection remembers between commands, and the commands that are about it.

use bytes::Bytes;

use super::Server;
use super::clients::Client as Connected;
use super::transaction::Transaction;
use crate::command::control::{Client, ClientFilter, Credentials, Hello};
use crate::resp::{Reply, Version};

/// The version of Redis whose behaviour is followed. Clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) version: Version,
    pub(super) transaction: Transaction,
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
        client.describe(|described| {
            described.version = self.version;
            if let Some(name) = hello.name {
                described.name = own(&name);
            }
        });
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
        client.describe(|described| {
            described.version = self.version;
            described.name = Bytes::new();
        });
        Reply::Status("RESET")
    }

    /// CLIENT and its subcommands.
    pub(super) fn client(&self, server: &Server, client: &Connected, command: Client) -> Reply {
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
                ClientFilter::Nothing => false,
            })),
            Client::Help => help(&[
                "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GETNAME",
                "    Return the name of the current connection.",
                "ID",
                "    Return the ID of the current connection.",
                "INFO",
                "    Return information about the current client connection.",
                "LIST [options ...]",
                "    Return information about client connections. Options:",
                "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
                "      Return clients of specified type.",
                "    * ID <client id> [<client id> ...]",
                "      Return clients of specified IDs.",
                "SETINFO <LIB-NAME|LIB-VER> <value>",
                "    Set the client library's name or version.",
                "SETNAME <name>",
                "    Assign the name <name> to the current connection.",
                "HELP",
                "    Print this help.",
            ]),
        }
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
