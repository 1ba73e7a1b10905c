//! What a command means: the table of commands ([`table`]), their options ([`parse`]), and what a
//! write does to a row ([`mutation`]). Pure: no sockets, no tasks.

pub mod glob;
pub mod mutation;
mod parse;
pub mod row;
pub mod table;

use bytes::Bytes;

pub use mutation::{Deadline, Mutation, Outcome, Set, SetExpiry};
pub use row::{Row, Stamp, Timestamp};

/// A command that the proxy serves, with its arguments understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// GET key
    Get(Bytes),
    /// MGET key [key …]
    MGet(Vec<Bytes>),
    /// EXISTS key [key …]; a key counts as often as it is named.
    Exists(Vec<Bytes>),
    /// TTL key, PTTL key
    TimeToLive(Bytes, Unit),
    /// A write to one key: SET, EXPIRE and relatives, PERSIST.
    Write(Bytes, Mutation),
    /// DEL, UNLINK key [key …]
    Delete(Vec<Bytes>),
    /// MSET key value [key value …]
    MSet(Vec<(Bytes, Bytes)>),
    /// DBSIZE
    DbSize,
    /// FLUSHDB, FLUSHALL, with or without ASYNC and SYNC
    Flush,
    /// PING [message]
    Ping(Option<Bytes>),
    /// ECHO message
    Echo(Bytes),
    /// QUIT
    Quit,
    /// SELECT 0; there is one database.
    Select,
    /// HELLO [protover [AUTH username password] [SETNAME name]]
    Hello(Hello),
    /// AUTH [username] password
    Auth(Credentials),
    /// RESET
    Reset,
    /// CLIENT subcommand
    Client(Client),
    /// COMMAND [subcommand]
    Introspect(Introspect),
    /// INFO [section …]
    Info(Vec<Bytes>),
    /// CONFIG GET pattern [pattern …]
    ConfigGet(Vec<Bytes>),
}

/// The unit in which a time to live is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// TTL, rounded to the nearest second as Redis does.
    Seconds,
    /// PTTL
    Millis,
}

/// The arguments of HELLO.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The protocol version asked for; `None` keeps the one in use.
    pub version: Option<i64>,
    /// AUTH username password
    pub auth: Option<Credentials>,
    /// SETNAME name
    pub name: Option<Bytes>,
}

/// What a client shows to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `None` in the form that has a password only.
    pub username: Option<Bytes>,
    /// The password.
    pub password: Bytes,
}

/// The password stays out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Subcommands of CLIENT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// CLIENT ID
    Id,
    /// CLIENT GETNAME
    GetName,
    /// CLIENT SETNAME name
    SetName(Bytes),
    /// CLIENT SETINFO LIB-NAME name
    SetLibraryName(Bytes),
    /// CLIENT SETINFO LIB-VER version
    SetLibraryVersion(Bytes),
    /// CLIENT INFO
    Info,
    /// CLIENT LIST [TYPE type] [ID id …]
    List(ClientFilter),
    /// CLIENT HELP
    Help,
}

/// Which connections CLIENT LIST shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFilter {
    /// Every one.
    All,
    /// Those with these ids.
    Ids(Vec<i64>),
    /// None: a TYPE that this server has no connections of (replica, master, pubsub).
    Nothing,
}

/// Subcommands of COMMAND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introspect {
    /// COMMAND
    All,
    /// COMMAND COUNT
    Count,
    /// COMMAND LIST
    List,
    /// COMMAND INFO [name …]
    Info(Vec<Bytes>),
    /// COMMAND DOCS [name …]
    Docs(Vec<Bytes>),
    /// COMMAND HELP
    Help,
}

/// A command that is not served as it was given; in Redis' own words. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejection(pub String);

impl Command {
    /// Understands the words of a request; `args` has at least one.
    ///
    /// # Errors
    ///
    /// The command is unknown, has the wrong number of arguments, or an option is wrong.
    pub fn parse(args: &[Bytes]) -> Result<Command, Rejection> {
        let (name, operands) = args
            .split_first()
            .ok_or_else(|| Rejection("ERR empty command".into()))?;
        let spec = table::find(name).ok_or_else(|| unknown(name, operands))?;
        if !spec.accepts(args.len()) {
            return Err(wrong_arity(spec.name));
        }
        (spec.parse)(operands)
    }
}

/// The text of Redis 7, which shows the first arguments up to 128 bytes.
fn unknown(name: &[u8], operands: &[Bytes]) -> Rejection {
    let mut shown = String::new();
    for operand in operands {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        let cut = &operand[..operand.len().min(room)];
        shown.push_str(&format!("'{}' ", String::from_utf8_lossy(cut)));
    }
    let name = &name[..name.len().min(128)];
    Rejection(format!(
        "ERR unknown command '{}', with args beginning with: {shown}",
        String::from_utf8_lossy(name)
    ))
}

fn wrong_arity(name: &str) -> Rejection {
    Rejection(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}
