//! What the URLs name: shards and the cache.

use super::layers::Setting;
use super::postgres_tls;
use super::secret::{SecretUrl, masked};
use redis::IntoConnectionInfo;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use tokio_postgres::config::Host;

use crate::tls::{ClientTls, PostgresTls};

/// Where the rows of one shard are.
#[derive(Debug, Clone)]
pub enum ShardTarget {
    /// A PostgreSQL database.
    Postgres {
        /// The variable that names it, for messages to the operator.
        variable: String,
        /// The URL as given.
        url: SecretUrl,
        /// The same, parsed, without what it says of TLS; at least one host.
        config: Box<tokio_postgres::Config>,
        /// What it says of TLS.
        tls: PostgresTls,
    },
    /// An SQLite file, made if it is missing.
    Sqlite {
        /// The variable that names it, for messages to the operator: `DATA_DIR` for the embedded default.
        variable: String,
        /// The file.
        path: PathBuf,
    },
}

impl ShardTarget {
    /// The variable to name when something is wrong with this shard.
    pub fn variable(&self) -> &str {
        match self {
            ShardTarget::Postgres { variable, .. } | ShardTarget::Sqlite { variable, .. } => {
                variable
            }
        }
    }
}

/// Where the shard is, without a password.
impl fmt::Display for ShardTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardTarget::Postgres { url, .. } => url.fmt(f),
            ShardTarget::Sqlite { path, .. } => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// Where cached values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTarget {
    /// A Redis server.
    Redis {
        /// Its URL, checked.
        url: SecretUrl,
        /// How connections to it are secured; `None` in the clear.
        tls: Option<ClientTls>,
    },
    /// The memory of this process.
    Memory,
}

/// Where the cache is, without a password.
impl fmt::Display for CacheTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CacheTarget::Redis { url, .. } => url.fmt(f),
            CacheTarget::Memory => f.write_str("memory:"),
        }
    }
}

/// Reads the URL of a shard.
///
/// # Errors
/// What is wrong with it and what to do, without a password.
pub(super) fn shard_target(variable: &str, setting: &Setting) -> Result<ShardTarget, String> {
    let value = setting.value.as_str();
    if value.starts_with("postgresql://") || value.starts_with("postgres://") {
        let (config, tls) =
            postgres_url(value).map_err(|problem| format!("{} {problem}", setting.quoted()))?;
        return Ok(ShardTarget::Postgres {
            variable: variable.to_owned(),
            url: SecretUrl::new(value),
            config,
            tls,
        });
    }
    if let Some(path) = value.strip_prefix("sqlite:") {
        let path =
            sqlite_path(path).map_err(|problem| format!("{} {problem}", setting.quoted()))?;
        return Ok(ShardTarget::Sqlite {
            variable: variable.to_owned(),
            path,
        });
    }
    Err(format!(
        "{} is not the URL of a shard; give postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:PATH",
        setting.quoted()
    ))
}

/// Reads the URL of a PostgreSQL database: one with at least one host, and what it says of TLS, of which tokio-postgres knows
/// only a part.
///
/// # Errors
/// What is wrong with it and what to do, as the end of a sentence that begins with the URL; without a password.
pub fn postgres_url(url: &str) -> Result<(Box<tokio_postgres::Config>, PostgresTls), String> {
    const ENCODE: &str =
        "in a user name or password, write @ as %40, / as %2F, ? as %3F and % as %25";
    let (rest, tls) = postgres_tls::split(url)?;
    let config: tokio_postgres::Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        // The name of an unknown option is taken from the URL, and may be a piece of a password.
        let reason = match reason
            .strip_prefix("unknown option `")
            .and_then(|rest| rest.strip_suffix('`'))
        {
            Some(option) if !masked(url).contains(option) => "unknown option".to_owned(),
            _ => reason,
        };
        format!("is not a PostgreSQL URL: {reason}; {ENCODE}")
    })?;
    let hosts = config.get_hosts();
    if hosts.is_empty() {
        return Err("names no host; give postgresql://USER:PASSWORD@HOST/DATABASE".to_owned());
    }
    if hosts
        .iter()
        .any(|host| matches!(host, Host::Tcp(name) if name.contains('@')))
    {
        return Err(format!("has more than one @; {ENCODE}"));
    }
    // As libpq: what does not leave the machine can't be listened to.
    let is_local = hosts.iter().all(|host| matches!(host, Host::Unix(_)));
    let tls = if is_local {
        PostgresTls::default()
    } else {
        tls
    };
    Ok((Box::new(config), tls))
}

fn sqlite_path(path: &str) -> Result<PathBuf, &'static str> {
    match path {
        "" => Err("names no file; give sqlite:PATH"),
        ":memory:" => Err("would lose its rows when the proxy stops; give the path of a file"),
        _ if path.starts_with("///") => Ok(PathBuf::from(&path[2..])),
        _ if path.starts_with("//") => Err(
            "has two slashes; give sqlite:PATH for a relative or sqlite:/PATH for an absolute path",
        ),
        _ => Ok(PathBuf::from(path)),
    }
}

/// Reads the URL of the cache.
///
/// # Errors
/// What is wrong with it and what to do, without a password.
pub(super) fn cache_target(setting: &Setting) -> Result<CacheTarget, String> {
    let value = setting.value.as_str();
    if value == "memory:" {
        return Ok(CacheTarget::Memory);
    }
    // The redis crate, which is built without TLS, reads the rest.
    let (rest, tls) = match value.strip_prefix("rediss://") {
        Some(rest) => (rest, Some(ClientTls::of_rediss())),
        None => (value.strip_prefix("redis://").unwrap_or_default(), None),
    };
    if rest.is_empty() {
        return Err(format!(
            "{} is not the URL of a cache; give redis://HOST:PORT, rediss://HOST:PORT for TLS, or memory:",
            setting.quoted()
        ));
    }
    if tls.is_some() && rest.ends_with("#insecure") {
        return Err(format!(
            "{} asks for TLS with anybody, which is not supported; leave #insecure out, and name the certificate of the \
             Redis, or of who signed it, in REDIS_CA_FILE",
            setting.quoted()
        ));
    }
    let info = format!("redis://{rest}").into_connection_info().map_err(|_| {
        let advice = "give redis://USER:PASSWORD@HOST:PORT/DATABASE, with a number for DATABASE; in a password, \
                      write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25";
        format!("{} is not a Redis URL; {advice}", setting.quoted())
    })?;
    let redis = info.redis_settings();
    if redis.username().is_some() && redis.password().is_none() {
        return Err(format!(
            "{} has a user but no password; a password alone is redis://:PASSWORD@HOST:PORT",
            setting.quoted()
        ));
    }
    Ok(CacheTarget::Redis {
        url: SecretUrl::new(value),
        tls,
    })
}
