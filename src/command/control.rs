//! Commands on the connection and the server. None of them reads or writes data.

use bytes::Bytes;

/// A command on the connection or the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// `PING [message]`
    Ping(Option<Bytes>),
    /// ECHO message
    Echo(Bytes),
    /// QUIT
    Quit,
    /// SELECT 0; there is one database.
    Select,
    /// `HELLO [protover [AUTH username password] [SETNAME name]]`
    Hello(Hello),
    /// `AUTH [username] password`
    Auth(Credentials),
    /// RESET
    Reset,
    /// CLIENT subcommand
    Client(Client),
    /// `COMMAND [subcommand]`
    Introspect(Introspect),
    /// `INFO [section …]`
    Info(Vec<Bytes>),
    /// `CONFIG GET pattern [pattern …]`
    ConfigGet(Vec<Bytes>),
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
    /// `CLIENT LIST [TYPE type] [ID id …]`
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
    /// `COMMAND INFO [name …]`
    Info(Vec<Bytes>),
    /// `COMMAND DOCS [name …]`
    Docs(Vec<Bytes>),
    /// COMMAND HELP
    Help,
}
