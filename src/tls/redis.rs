//! `redis://` and `rediss://`: where a Redis is, and whether connections to it are secured.

use std::error::Error;
use std::fmt;
use std::io;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::client::ClientTls;

/// The scheme of a URL that wants TLS.
const SECURED: &str = "rediss://";

/// Where a Redis is, and how it is reached.
#[derive(Clone)]
pub struct RedisTarget {
    info: ConnectionInfo,
    /// How connections are secured; `None` in the clear.
    tls: Option<ClientTls>,
}

/// Bytes in both directions, over whatever the URL names.
pub trait RedisStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> RedisStream for T {}

impl RedisTarget {
    /// What a URL leads to; `tls` is for one that wants it.
    ///
    /// # Errors
    ///
    /// The URL can't be used. The text shows no password.
    pub fn new(url: &str, tls: Option<&ClientTls>) -> Result<Self, String> {
        // The redis crate, which is built without TLS, reads the rest.
        let (url, tls) = match url.strip_prefix(SECURED) {
            Some(rest) => {
                let tls = tls.ok_or("not a usable Redis URL: whom to trust is not said")?;
                (format!("redis://{rest}"), Some(tls.clone()))
            }
            None => (url.to_owned(), None),
        };
        let info = url
            .into_connection_info()
            .map_err(|error| format!("not a usable Redis URL: {}", error.category()))?;
        Ok(Self { info, tls })
    }

    /// The user, the password and the database.
    pub fn settings(&self) -> &RedisConnectionInfo {
        self.info.redis_settings()
    }

    /// Whether connections are secured.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Host and port, for the log: a URL may hold a password.
    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// What to say when it does not answer.
    pub fn silence(&self) -> String {
        match self.tls {
            Some(_) => "no answer; a port that does not speak TLS gives none",
            None => "no answer",
        }
        .to_owned()
    }

    /// Connects; TLS has been agreed on if it is wanted, and nothing was said.
    ///
    /// # Errors
    ///
    /// It can't be reached, is not to be trusted, or a file of certificates can't be used.
    pub async fn open(&self) -> io::Result<Box<dyn RedisStream>> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => {
                        let secured = tls.connect(host, stream).await;
                        Ok(Box::new(secured.map_err(|error| {
                            io::Error::new(error.kind(), HandshakeError(error))
                        })?))
                    }
                }
            }
            ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            _ => Err(io::Error::other("not an address of a Redis")),
        }
    }

    /// A connection for commands, logged in and in the database of the URL. How long connecting may take is not limited
    /// here.
    ///
    /// # Errors
    ///
    /// Those of [`open`](RedisTarget::open), or the Redis refuses.
    pub async fn connect(
        &self,
        config: AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let stream = self.open().await?;
        let (connection, driver) =
            MultiplexedConnection::new_with_config(self.settings(), stream, config).await?;
        // It ends with the last of those who use the connection.
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// The URL, without user and password.
impl fmt::Display for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.settings().db();
        match self.info.addr() {
            ConnectionAddr::Unix(path) => {
                write!(f, "redis+unix://{}?db={database}", path.display())
            }
            address => {
                let scheme = if self.is_secured() {
                    SECURED
                } else {
                    "redis://"
                };
                write!(f, "{scheme}{address}/{database}")
            }
        }
    }
}

/// That it failed while TLS was agreed on.
#[derive(Debug)]
struct HandshakeError(io::Error);

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_called_by_its_url_without_user_and_password() {
        let tls = ClientTls::default();
        for (url, shown) in [
            ("redis://u:hunter2@cache:7000/3", "redis://cache:7000/3"),
            ("rediss://:hunter2@cache", "rediss://cache:6379/0"),
            (
                "redis+unix:///run/redis?db=2",
                "redis+unix:///run/redis?db=2",
            ),
        ] {
            let target = RedisTarget::new(url, Some(&tls)).ok().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.is_secured(), url.starts_with("rediss:"));
        }
        let error = RedisTarget::new("rediss://:hunter2@cache", None).err();
        assert!(error.unwrap().contains("whom to trust"));
    }
}
