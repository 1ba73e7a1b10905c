//! The one table of variables: flags, `--help`, README and `.env.example` follow it.

use std::ops::RangeInclusive;

/// One thing that can be configured: a variable of the environment and its flag.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name in the environment and in `.env`. `SHARD_n_URL` stands for a numbered family.
    pub name: &'static str,
    /// Its flag, without the leading `--`.
    pub flag: &'static str,
    /// What `--help` calls the flag's value.
    pub value_name: &'static str,
    /// What holds when nothing is given.
    pub default: DefaultValue,
    /// The least and the greatest value, both allowed; `None` for what is not a number.
    pub bounds: Option<RangeInclusive<u64>>,
    /// One sentence for `--help` and README, with the unit.
    pub meaning: &'static str,
}

/// What holds when a variable is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// A value, read as if it had been given.
    Value(&'static str),
    /// No value: what happens instead, in words.
    Words(&'static str),
}

impl DefaultValue {
    /// The text for tables and `--help`.
    pub fn text(self) -> &'static str {
        match self {
            DefaultValue::Value(text) | DefaultValue::Words(text) => text,
        }
    }
}

/// Shards are numbered 0 to one less than this at most: each has a pool, a lane and a breaker of its own.
pub const SHARDS_MAX: usize = 1024;

/// Ten minutes: a longer wait in front of a client is a mistyped number.
const WAIT_MS_MAX: u64 = 600_000;

/// The family `SHARD_0_URL`, `SHARD_1_URL`, …; see [`shard_variable`].
pub const SHARD_URL: Variable = Variable {
    name: "SHARD_n_URL",
    flag: "shard-url",
    value_name: "URL",
    default: DefaultValue::Words("none: embedded"),
    bounds: None,
    meaning: "The shards, `postgresql://…` or `sqlite:PATH`, numbered from 0 without a gap; \
              as a flag once for each shard, in order, instead of all the variables",
};

/// How many shards there are.
pub const NUM_SHARDS: Variable = Variable {
    name: "NUM_SHARDS",
    flag: "num-shards",
    value_name: "N",
    default: DefaultValue::Words("number of SHARD_n_URL, or 3"),
    bounds: Some(1..=SHARDS_MAX as u64),
    meaning: "Number of shards; must match the SHARD_n_URL, if there are any",
};

/// The cache.
pub const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    flag: "redis-url",
    value_name: "URL",
    default: DefaultValue::Value("memory:"),
    bounds: None,
    meaning: "The cache: `redis://…`, `rediss://…` with TLS, or `memory:` for one inside the process, which is for a single proxy",
};

/// Connections kept open to each PostgreSQL shard.
pub const DB_POOL_MIN_SIZE: Variable = Variable {
    name: "DB_POOL_MIN_SIZE",
    flag: "db-pool-min-size",
    value_name: "N",
    default: DefaultValue::Value("2"),
    bounds: Some(1..=1000),
    meaning: "Connections kept open to each PostgreSQL shard",
};

/// Connections to each PostgreSQL shard at most.
pub const DB_POOL_MAX_SIZE: Variable = Variable {
    name: "DB_POOL_MAX_SIZE",
    flag: "db-pool-max-size",
    value_name: "N",
    default: DefaultValue::Value("10"),
    bounds: Some(1..=1000),
    meaning: "Connections to each PostgreSQL shard at most",
};

/// How long a value stays in the cache.
pub const CACHE_TTL: Variable = Variable {
    name: "CACHE_TTL",
    flag: "cache-ttl",
    value_name: "SECONDS",
    default: DefaultValue::Value("300"),
    bounds: Some(1..=31_536_000),
    meaning: "Seconds that a value stays in the cache at most",
};

/// The memory of the in-process cache.
pub const CACHE_MEMORY: Variable = Variable {
    name: "CACHE_MEMORY",
    flag: "cache-memory",
    value_name: "BYTES",
    default: DefaultValue::Value("268435456"),
    bounds: Some(1_048_576..=1_099_511_627_776),
    meaning: "Bytes that the in-process cache takes at most; a Redis has its own `maxmemory`",
};

/// Where Redis clients connect.
pub const RESP_ADDR: Variable = Variable {
    name: "RESP_ADDR",
    flag: "resp-addr",
    value_name: "HOST:PORT",
    default: DefaultValue::Value("127.0.0.1:6379"),
    bounds: None,
    meaning: "Where it listens for Redis clients; port 0 takes a free one; `off` with RESP_TLS_ADDR alone",
};

/// Where HTTP clients connect.
pub const HTTP_ADDR: Variable = Variable {
    name: "HTTP_ADDR",
    flag: "http-addr",
    value_name: "HOST:PORT",
    default: DefaultValue::Value("127.0.0.1:8004"),
    bounds: None,
    meaning: "Where it listens for HTTP; port 0 takes a free one; `off` for nowhere",
};

/// Where Redis clients connect with TLS.
pub const RESP_TLS_ADDR: Variable = Variable {
    name: "RESP_TLS_ADDR",
    flag: "resp-tls-addr",
    value_name: "HOST:PORT",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "Where it listens for Redis clients that speak TLS, beside RESP_ADDR; port 0 takes a free one",
};

/// Where HTTP clients connect with TLS.
pub const HTTP_TLS_ADDR: Variable = Variable {
    name: "HTTP_TLS_ADDR",
    flag: "http-tls-addr",
    value_name: "HOST:PORT",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "Where it listens for HTTPS, beside HTTP_ADDR; port 0 takes a free one",
};

/// The certificate of the ports.
pub const TLS_CERT_FILE: Variable = Variable {
    name: "TLS_CERT_FILE",
    flag: "tls-cert-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "PEM file with the certificate of both TLS ports, and those between it and its authority; \
              read again when it changes",
};

/// Its key.
pub const TLS_KEY_FILE: Variable = Variable {
    name: "TLS_KEY_FILE",
    flag: "tls-key-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "PEM file with its key, without a passphrase; read again when it changes",
};

/// Who signs the certificates of clients.
pub const TLS_CLIENT_CA_FILE: Variable = Variable {
    name: "TLS_CLIENT_CA_FILE",
    flag: "tls-client-ca-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "PEM file with the authorities that sign certificates of clients of both TLS ports; read \
              again when it changes",
};

/// Whether clients need certificates.
pub const TLS_CLIENT_AUTH: Variable = Variable {
    name: "TLS_CLIENT_AUTH",
    flag: "tls-client-auth",
    value_name: "HOW",
    default: DefaultValue::Words("`required` with TLS_CLIENT_CA_FILE, else `off`"),
    bounds: None,
    meaning: "Whether clients of both TLS ports need a certificate: `off`, `optional` (who shows one needs \
              a trusted one) or `required`",
};

/// Whom to trust for the Redis.
pub const REDIS_CA_FILE: Variable = Variable {
    name: "REDIS_CA_FILE",
    flag: "redis-ca-file",
    value_name: "PATH",
    default: DefaultValue::Words("those of the system"),
    bounds: None,
    meaning: "PEM file with the authorities that sign the certificate of a `rediss://`, or with that certificate itself",
};

/// The certificate for the Redis.
pub const REDIS_CERT_FILE: Variable = Variable {
    name: "REDIS_CERT_FILE",
    flag: "redis-cert-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "PEM file with the certificate that a `rediss://` is shown",
};

/// The key for the Redis.
pub const REDIS_KEY_FILE: Variable = Variable {
    name: "REDIS_KEY_FILE",
    flag: "redis-key-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "PEM file with its key, without a passphrase",
};

/// The token of the side port.
pub const HTTP_TOKEN: Variable = Variable {
    name: "HTTP_TOKEN",
    flag: "http-token",
    value_name: "TOKEN",
    default: DefaultValue::Words("none: everybody"),
    bounds: None,
    meaning: "What HTTP clients have to show, as `Authorization: Bearer TOKEN` or as the password of any name",
};

/// Where embedded shards live.
pub const DATA_DIR: Variable = Variable {
    name: "DATA_DIR",
    flag: "data-dir",
    value_name: "PATH",
    default: DefaultValue::Value("./respgres-data"),
    bounds: None,
    meaning: "Directory of the embedded shards, made if it is missing; not used with SHARD_n_URL",
};

/// The largest value.
pub const MAX_VALUE_SIZE: Variable = Variable {
    name: "MAX_VALUE_SIZE",
    flag: "max-value-size",
    value_name: "BYTES",
    default: DefaultValue::Value("16777216"),
    bounds: Some(1..=536_870_912),
    meaning: "Bytes of the largest value; a larger one is refused with an error",
};

/// Connected clients.
pub const MAX_CLIENTS: Variable = Variable {
    name: "MAX_CLIENTS",
    flag: "max-clients",
    value_name: "N",
    default: DefaultValue::Value("10000"),
    bounds: Some(1..=1_000_000),
    meaning: "Redis clients connected at a time at most",
};

/// The password of the default user.
pub const PASSWORD: Variable = Variable {
    name: "PASSWORD",
    flag: "password",
    value_name: "TEXT",
    default: DefaultValue::Words("none: Redis clients need none"),
    bounds: None,
    meaning: "The password that Redis clients give with AUTH, as `requirepass` of Redis",
};

/// Users with rights of their own.
pub const USERS_FILE: Variable = Variable {
    name: "USERS_FILE",
    flag: "users-file",
    value_name: "PATH",
    default: DefaultValue::Words("none"),
    bounds: None,
    meaning: "File with the users, their passwords and rights, in the format of Redis' ACL file; \
              ACL LOAD reads it again",
};

/// The value of [`LISTEN_WITHOUT_AUTHENTICATION`] that is understood.
pub const ANYONE_CAN_CONNECT: &str = "i-know-that-anyone-can-connect";

/// Listening for others than this machine, though anybody is let in.
pub const LISTEN_WITHOUT_AUTHENTICATION: Variable = Variable {
    name: "LISTEN_WITHOUT_AUTHENTICATION",
    flag: "listen-without-authentication",
    value_name: "WORDS",
    default: DefaultValue::Words("no"),
    bounds: None,
    meaning: "`i-know-that-anyone-can-connect` has it listen beyond 127.0.0.1 on a port that asks for \
              no password or token; otherwise that is refused at start",
};

/// Clients from which nothing comes.
pub const CLIENT_IDLE_TIMEOUT: Variable = Variable {
    name: "CLIENT_IDLE_TIMEOUT",
    flag: "client-idle-timeout",
    value_name: "SECONDS",
    default: DefaultValue::Value("0"),
    bounds: Some(0..=31_536_000),
    meaning: "Seconds after which a Redis client that sends nothing is disconnected, as `timeout` of Redis; 0 is never",
};

/// Clients that do not say who they are.
pub const AUTHENTICATION_TIMEOUT: Variable = Variable {
    name: "AUTHENTICATION_TIMEOUT",
    flag: "authentication-timeout",
    value_name: "SECONDS",
    default: DefaultValue::Value("60"),
    bounds: Some(1..=86_400),
    meaning: "Seconds that a Redis client has to give its password, if it needs one",
};

/// Replies and messages that wait for a client.
pub const MAX_OUTPUT_BUFFER: Variable = Variable {
    name: "MAX_OUTPUT_BUFFER",
    flag: "max-output-buffer",
    value_name: "BYTES",
    default: DefaultValue::Value("33554432"),
    bounds: Some(65_536..=1_073_741_824),
    meaning: "Bytes that wait at most for a Redis client that reads slowly: of replies, after which nothing more \
              is handled until it reads; of messages, after which it is disconnected",
};

/// The largest request.
pub const MAX_REQUEST_SIZE: Variable = Variable {
    name: "MAX_REQUEST_SIZE",
    flag: "max-request-size",
    value_name: "BYTES",
    default: DefaultValue::Words("4 of the largest values, but at least 67108864"),
    bounds: Some(1_024..=4_294_967_296),
    meaning: "Bytes of all arguments of one command together; a larger one is refused with an error",
};

/// What the larger requests of all clients may take.
pub const MAX_REQUEST_MEMORY: Variable = Variable {
    name: "MAX_REQUEST_MEMORY",
    flag: "max-request-memory",
    value_name: "BYTES",
    default: DefaultValue::Words("1073741824, or MAX_REQUEST_SIZE if that is more"),
    bounds: Some(1_048_576..=1_099_511_627_776),
    meaning: "Bytes of all arguments over 64 KiB that all clients together may have under way; what is \
              more is refused with `-BUSY`",
};

/// The longest transaction.
pub const MAX_QUEUED_COMMANDS: Variable = Variable {
    name: "MAX_QUEUED_COMMANDS",
    flag: "max-queued-commands",
    value_name: "N",
    default: DefaultValue::Value("1000000"),
    bounds: Some(1..=10_000_000),
    meaning: "Commands between MULTI and EXEC at most, which may have 32 MiB besides",
};

/// Threads that serve Redis clients.
pub const WORKER_THREADS: Variable = Variable {
    name: "WORKER_THREADS",
    flag: "worker-threads",
    value_name: "N",
    default: DefaultValue::Words("one less than processors, but at least 1"),
    bounds: Some(1..=1024),
    meaning: "Threads that do the work; one more keeps the views of the cache",
};

/// How long connecting to a shard may take.
pub const DB_CONNECT_TIMEOUT_MS: Variable = Variable {
    name: "DB_CONNECT_TIMEOUT_MS",
    flag: "db-connect-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("2000"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds that connecting to a shard may take",
};

/// How long a request may wait for a connection of the pool.
pub const DB_POOL_WAIT_TIMEOUT_MS: Variable = Variable {
    name: "DB_POOL_WAIT_TIMEOUT_MS",
    flag: "db-pool-wait-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("2000"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds that a request may wait for a free connection of the pool",
};

/// How long a statement may take.
pub const DB_QUERY_TIMEOUT_MS: Variable = Variable {
    name: "DB_QUERY_TIMEOUT_MS",
    flag: "db-query-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("5000"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds that a statement on a shard may take",
};

/// How long a request may wait for a shard.
pub const MAX_QUEUE_WAIT_MS: Variable = Variable {
    name: "MAX_QUEUE_WAIT_MS",
    flag: "max-queue-wait-ms",
    value_name: "MS",
    default: DefaultValue::Value("2000"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds that a request may wait for a shard that is asked for more than \
              it can do; who would wait longer is refused with `-BUSY`",
};

/// How long Redis may take to answer.
pub const REDIS_TIMEOUT_MS: Variable = Variable {
    name: "REDIS_TIMEOUT_MS",
    flag: "redis-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("200"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds after which a Redis that does not answer is taken for down",
};

/// Keys that belong together.
pub const HASH_TAGS: Variable = Variable {
    name: "HASH_TAGS",
    flag: "hash-tags",
    value_name: "HOW",
    default: DefaultValue::Value("off"),
    bounds: None,
    meaning: "`on` has keys with the same part in braces, as in `{user:1}.name`, on one shard, as \
              in a Redis Cluster; can't be changed once there are rows",
};

/// MSET over several shards.
pub const ATOMIC_MSET: Variable = Variable {
    name: "ATOMIC_MSET",
    flag: "atomic-mset",
    value_name: "HOW",
    default: DefaultValue::Value("off"),
    bounds: None,
    meaning: "`on` has MSET over several shards done on all or none, by two-phase commit, which \
              takes several times as long; MSETNX and EXEC always are",
};

/// Reads of a shard that is down.
pub const READS_WHEN_SHARD_DOWN: Variable = Variable {
    name: "READS_WHEN_SHARD_DOWN",
    flag: "reads-when-shard-down",
    value_name: "HOW",
    default: DefaultValue::Value("error"),
    bounds: None,
    meaning: "Reads of a shard that is down: `error`, or `cached` to answer what the cache has, \
              which may be older than what another proxy has acknowledged",
};

/// How long draining may take.
pub const SHUTDOWN_TIMEOUT_MS: Variable = Variable {
    name: "SHUTDOWN_TIMEOUT_MS",
    flag: "shutdown-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("10000"),
    bounds: Some(1..=WAIT_MS_MAX),
    meaning: "Milliseconds that answering what was read may take after SIGTERM or Ctrl-C",
};

/// How long clients are served on after SIGQUIT.
pub const DRAIN_TIMEOUT_MS: Variable = Variable {
    name: "DRAIN_TIMEOUT_MS",
    flag: "drain-timeout-ms",
    value_name: "MS",
    default: DefaultValue::Value("60000"),
    bounds: Some(1..=86_400_000),
    meaning: "Milliseconds that connected clients are served on at most after SIGQUIT, while they are \
              not quiet",
};

/// Several processes on one port.
pub const REUSE_PORT: Variable = Variable {
    name: "REUSE_PORT",
    flag: "reuse-port",
    value_name: "HOW",
    default: DefaultValue::Value("off"),
    bounds: None,
    meaning: "`on` lets several proxies of one user listen on the same ports (SO_REUSEPORT), as for an \
              upgrade; only for proxies of one deployment, since clients get to any of them",
};

/// The shape of the log.
pub const LOG_FORMAT: Variable = Variable {
    name: "LOG_FORMAT",
    flag: "log-format",
    value_name: "FORMAT",
    default: DefaultValue::Value("text"),
    bounds: None,
    meaning: "Shape of the log: `text`, or `json` for one object a line",
};

/// What is logged.
pub const RUST_LOG: Variable = Variable {
    name: "RUST_LOG",
    flag: "log-level",
    value_name: "FILTER",
    default: DefaultValue::Value("info"),
    bounds: None,
    meaning: "What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by module, as in `info,respgres::cache=debug`",
};

/// Every variable, in the order of `--help`, README and `.env.example`.
pub const VARIABLES: &[Variable] = &[
    SHARD_URL,
    NUM_SHARDS,
    HASH_TAGS,
    ATOMIC_MSET,
    REDIS_URL,
    REDIS_CA_FILE,
    REDIS_CERT_FILE,
    REDIS_KEY_FILE,
    DB_POOL_MIN_SIZE,
    DB_POOL_MAX_SIZE,
    CACHE_TTL,
    CACHE_MEMORY,
    RESP_ADDR,
    RESP_TLS_ADDR,
    HTTP_ADDR,
    HTTP_TLS_ADDR,
    HTTP_TOKEN,
    TLS_CERT_FILE,
    TLS_KEY_FILE,
    TLS_CLIENT_CA_FILE,
    TLS_CLIENT_AUTH,
    REUSE_PORT,
    DATA_DIR,
    PASSWORD,
    USERS_FILE,
    LISTEN_WITHOUT_AUTHENTICATION,
    MAX_VALUE_SIZE,
    MAX_REQUEST_SIZE,
    MAX_REQUEST_MEMORY,
    MAX_QUEUED_COMMANDS,
    MAX_OUTPUT_BUFFER,
    MAX_CLIENTS,
    CLIENT_IDLE_TIMEOUT,
    AUTHENTICATION_TIMEOUT,
    WORKER_THREADS,
    DB_CONNECT_TIMEOUT_MS,
    DB_POOL_WAIT_TIMEOUT_MS,
    DB_QUERY_TIMEOUT_MS,
    MAX_QUEUE_WAIT_MS,
    REDIS_TIMEOUT_MS,
    READS_WHEN_SHARD_DOWN,
    SHUTDOWN_TIMEOUT_MS,
    DRAIN_TIMEOUT_MS,
    LOG_FORMAT,
    RUST_LOG,
];

/// What names the file with the value of a variable: `REDIS_URL_FILE` for `REDIS_URL`.
pub const FILE_SUFFIX: &str = "_FILE";

/// A variable whose value is a secret, or has one in it. It can also be given by a file that
/// [`NAME_FILE`](FILE_SUFFIX) names.
#[derive(Debug, Clone, Copy)]
pub struct Secret {
    /// The variable's name in [`VARIABLES`].
    pub name: &'static str,
    /// A right value, which takes the place of a file that can't be read while the other mistakes are gathered.
    pub(super) stand_in: &'static str,
}

/// Every secret.
pub const SECRETS: &[Secret] = &[
    Secret {
        name: "SHARD_n_URL",
        stand_in: "sqlite:SHARD_n_URL",
    },
    Secret {
        name: "REDIS_URL",
        stand_in: "memory:",
    },
    Secret {
        name: "PASSWORD",
        stand_in: "unreadable",
    },
    Secret {
        name: "HTTP_TOKEN",
        stand_in: "HTTP_TOKEN",
    },
];

impl Variable {
    /// The variable as a secret, if it is one.
    pub fn secret(&self) -> Option<&'static Secret> {
        SECRETS.iter().find(|secret| secret.name == self.name)
    }
}

/// The variable with the URL of shard `number`: `SHARD_0_URL` for 0.
pub fn shard_variable(number: usize) -> String {
    format!("SHARD_{number}_URL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_flags_are_unique() {
        let names: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        let flags: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.flag).collect();
        assert_eq!(
            (names.len(), flags.len()),
            (VARIABLES.len(), VARIABLES.len())
        );
    }

    #[test]
    fn every_secret_is_a_variable() {
        let found = VARIABLES.iter().filter_map(Variable::secret);
        assert_eq!(found.count(), SECRETS.len());
    }

    #[test]
    fn defaults_of_numbers_are_within_their_bounds() {
        for variable in VARIABLES {
            if let (Some(bounds), DefaultValue::Value(text)) = (&variable.bounds, variable.default)
            {
                assert!(bounds.contains(&text.parse().unwrap()), "{}", variable.name);
            }
        }
    }
}
