//! `sslmode` of PostgreSQL, as libpq means it.

use std::error::Error;
use std::fmt;

use rustls::ClientConfig;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::client::ClientTls;
use super::files::TlsError;

/// How much security a connection to PostgreSQL must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// None.
    Disable,
    /// TLS if the server has it. It protects from nobody who can change what is sent.
    #[default]
    Prefer,
    /// TLS.
    Require,
    /// TLS, with a certificate that somebody trusted signed.
    VerifyCa,
    /// TLS, with a certificate that somebody trusted signed for this host.
    VerifyFull,
}

/// How connections to one PostgreSQL database are secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostgresTls {
    /// What was asked for.
    pub mode: SslMode,
    /// What it means for TLS.
    pub client: ClientTls,
}

/// The stream of a connection over TLS.
pub type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// A file of certificates can't be used.
    Files(TlsError),
    /// The server can't be reached, is not to be trusted, or would not have it.
    Postgres(tokio_postgres::Error),
}

impl PostgresTls {
    /// Connects. Nothing happens on the session unless the connection is driven.
    ///
    /// With [`SslMode::Prefer`], without TLS if the server has none, if the handshake fails, or if the server lets its
    /// user in only without.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        config: &Config,
    ) -> Result<(Client, Connection<Socket, TlsStream>), ConnectError> {
        let mut tls = self.client.read().await.map_err(ConnectError::Files)?;
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        let first = match connect(config, self.mode, tls.clone()).await {
            Err(error) if self.mode == SslMode::Prefer && may_work_without(&error) => error,
            other => return other.map_err(ConnectError::Postgres),
        };
        let second = connect(config, SslMode::Disable, tls).await;
        match &second {
            Ok(_) => tracing::debug!(error = %first, "connected without TLS, with which it failed"),
            // What is wrong is rather in the way that was meant.
            Err(_) => return Err(ConnectError::Postgres(first)),
        }
        second.map_err(ConnectError::Postgres)
    }
}

async fn connect(
    config: &Config,
    mode: SslMode,
    tls: ClientConfig,
) -> Result<(Client, Connection<Socket, TlsStream>), tokio_postgres::Error> {
    let mut config = config.clone();
    config.ssl_mode(match mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            tokio_postgres::config::SslMode::Require
        }
    });
    config.connect(MakeRustlsConnect::new(tls)).await
}

/// Whether it was TLS that failed, or pg_hba.conf has no line for this user with TLS.
fn may_work_without(error: &tokio_postgres::Error) -> bool {
    super::cause::<rustls::Error>(error).is_some()
        || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => error.fmt(f),
            Self::Postgres(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Files(_) => None,
            Self::Postgres(error) => error.source(),
        }
    }
}
