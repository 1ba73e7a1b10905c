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
    /// CONFIG subcommand
    Config(Config),
    /// TIME
    Time,
    /// LASTSAVE
    LastSave,
    /// ROLE
    Role,
    /// WAIT numreplicas timeout
    Wait,
    /// SLOWLOG subcommand
    Slowlog(Slowlog),
    /// LATENCY subcommand
    Latency(Latency),
    /// MEMORY subcommand, except USAGE
    Memory(Memory),
    /// ACL subcommand
    Acl(Acl),
    /// MODULE LIST
    ModuleList,
    /// MONITOR
    Monitor,
    /// `PUBLISH channel message`, and SPUBLISH
    Publish {
        /// Which kind of channel.
        kind: ChannelKind,
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
    },
    /// SUBSCRIBE and relatives.
    Subscription(Subscription),
    /// PUBSUB subcommand
    PubSub(PubSub),
    /// PROXY subcommand
    Proxy(Proxy),
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
    /// CLIENT KILL ip:port
    KillAddress(Bytes),
    /// `CLIENT KILL option value [option value …]`
    Kill(KillFilter),
    /// `CLIENT PAUSE timeout [WRITE | ALL]`
    Pause {
        /// For how long, in milliseconds.
        millis: u64,
        /// Whether clients that only read go on.
        writes_only: bool,
    },
    /// CLIENT UNPAUSE
    Unpause,
    /// CLIENT REPLY ON | OFF | SKIP
    Reply(ReplyMode),
    /// CLIENT NO-EVICT ON | OFF
    NoEvict(bool),
    /// CLIENT NO-TOUCH ON | OFF
    NoTouch,
    /// CLIENT TRACKING OFF
    TrackingOff,
    /// CLIENT TRACKINGINFO
    TrackingInfo,
    /// CLIENT GETREDIR
    GetRedirection,
    /// CLIENT UNBLOCK; nobody is ever blocked.
    Unblock,
}

/// Which connections CLIENT LIST shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFilter {
    /// Every one.
    All,
    /// Those with these ids.
    Ids(Vec<i64>),
    /// Those of a kind.
    Kind(ClientKind),
}

/// The kinds of connections that Redis tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// It sends commands.
    Normal,
    /// It is subscribed to channels.
    PubSub,
    /// Replicas and masters; this server has no connections of this kind.
    Replication,
}

/// Which connections CLIENT KILL ends: those that every condition holds for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KillFilter {
    /// ID
    pub id: Option<u64>,
    /// ADDR
    pub address: Option<Bytes>,
    /// LADDR
    pub local_address: Option<Bytes>,
    /// TYPE
    pub kind: Option<ClientKind>,
    /// USER
    pub user: Option<Bytes>,
    /// SKIPME no
    pub with_me: bool,
}

/// The arguments of CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    On,
    /// None is sent.
    Off,
    /// That to the next command is not sent.
    Skip,
}

/// Subcommands of COMMAND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introspect {
    /// COMMAND
    All,
    /// COMMAND COUNT
    Count,
    /// `COMMAND LIST [FILTERBY …]`
    List(CommandFilter),
    /// `COMMAND INFO [name …]`
    Info(Vec<Bytes>),
    /// `COMMAND DOCS [name …]`
    Docs(Vec<Bytes>),
    /// `COMMAND GETKEYS name [argument …]`
    GetKeys(Vec<Bytes>),
    /// `COMMAND GETKEYSANDFLAGS name [argument …]`
    GetKeysAndFlags(Vec<Bytes>),
}

/// Which commands COMMAND LIST names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandFilter {
    /// Every one.
    All,
    /// FILTERBY MODULE; there are none.
    Module,
    /// FILTERBY ACLCAT category
    Category(Bytes),
    /// FILTERBY PATTERN pattern
    Pattern(Bytes),
}

/// Subcommands of CONFIG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// `CONFIG GET pattern [pattern …]`
    Get(Vec<Bytes>),
    /// `CONFIG SET parameter value [parameter value …]`
    Set(Vec<(Bytes, Bytes)>),
    /// CONFIG RESETSTAT
    ResetStatistics,
}

/// Subcommands of SLOWLOG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slowlog {
    /// `SLOWLOG GET [count]`; `None` is all.
    Get(Option<usize>),
    /// SLOWLOG LEN
    Len,
    /// SLOWLOG RESET
    Reset,
}

/// Subcommands of LATENCY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latency {
    /// LATENCY LATEST
    Latest,
    /// LATENCY HISTORY event
    History(Bytes),
    /// `LATENCY RESET [event …]`
    Reset(Vec<Bytes>),
    /// `LATENCY HISTOGRAM [command …]`
    Histogram(Vec<Bytes>),
    /// LATENCY GRAPH event
    Graph(Bytes),
    /// LATENCY DOCTOR
    Doctor,
}

/// Subcommands of MEMORY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// MEMORY STATS
    Stats,
    /// MEMORY DOCTOR
    Doctor,
    /// MEMORY PURGE
    Purge,
    /// MEMORY MALLOC-STATS
    AllocatorStats,
}

/// Subcommands of ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acl {
    /// ACL WHOAMI
    WhoAmI,
    /// ACL LIST
    List,
    /// ACL USERS
    Users,
    /// `ACL CAT [category]`
    Categories(Option<Bytes>),
    /// ACL GETUSER name
    GetUser(Bytes),
    /// `ACL DRYRUN name command [argument …]`
    DryRun(Bytes, Vec<Bytes>),
    /// `ACL LOG [count]`
    Log(usize),
    /// ACL LOG RESET
    ResetLog,
    /// ACL LOAD
    Load,
}

/// The kinds of what can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Shard,
}

/// SUBSCRIBE and relatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Of what.
    pub kind: ChannelKind,
    /// Which; none in an UNSUBSCRIBE that means all.
    pub names: Vec<Bytes>,
    /// False for UNSUBSCRIBE and relatives.
    pub begins: bool,
}

/// Subcommands of PUBSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PubSub {
    /// `PUBSUB CHANNELS [pattern]`, and SHARDCHANNELS
    Channels(ChannelKind, Option<Bytes>),
    /// `PUBSUB NUMSUB [channel …]`, and SHARDNUMSUB
    Subscribers(ChannelKind, Vec<Bytes>),
    /// PUBSUB NUMPAT
    Patterns,
}

/// Subcommands of PROXY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// PROXY SHARD key
    Shard(Bytes),
    /// PROXY SHARDS
    Shards,
    /// `PROXY HOTKEYS [count]`
    HotKeys(usize),
    /// `PROXY BIGKEYS [count]`
    BigKeys(usize),
    /// `PROXY SLOWLOG [count]`
    Slowlog(usize),
    /// `PROXY UNSUPPORTED [command …]`
    Unsupported(Vec<Bytes>),
}
