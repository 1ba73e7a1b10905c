//! Connections to what is read from and written to, by URL.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};
use respgres::config::postgres_url;
use respgres::tls::{self, ConnectError, RedisTarget};
use rustls::{CertificateError, Error as RustlsError};

use crate::failure::{Failure, failure, refused};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Long enough for the largest value over a slow line; one that hangs is noticed all the same.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A connection to a server that speaks RESP.
pub async fn connection(target: &RedisTarget) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        // The time for all of it is below.
        .set_connection_timeout(None)
        .set_response_timeout(Some(ANSWER_MAX))
        .set_pipeline_buffer_size(1024);
    tokio::time::timeout(CONNECT_MAX, target.connect(config))
        .await
        .unwrap_or_else(|_| {
            let silence = io::Error::new(io::ErrorKind::TimedOut, target.silence());
            Err(silence.into())
        })
}

/// A session of a PostgreSQL database, secured as its URL says.
pub async fn postgres(url: &str, label: &str) -> Result<tokio_postgres::Client, Failure> {
    let (mut config, tls) =
        postgres_url(url).map_err(|problem| refused(format!("{label} {problem}")))?;
    config
        .application_name("respgres import")
        .connect_timeout(CONNECT_MAX)
        .keepalives_idle(Duration::from_secs(30));
    let (client, connection) = tls.connect(&config).await.map_err(|error| {
        let (text, advice) = match &error {
            ConnectError::Files(files) => {
                let advice = Some("correct sslrootcert, sslcert or sslkey in the URL");
                (files.to_string(), advice)
            }
            ConnectError::Postgres(error) => (described(error), advice(error)),
        };
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        failure(format!("can't connect to {label}: {text}{advice}"))
    })?;
    // It ends with the client; its error is also that of the query under way.
    tokio::spawn(connection);
    Ok(client)
}

/// What to do about a certificate.
fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
    match tls::cause::<RustlsError>(error)? {
        RustlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("name who signed its certificate in the URL, by sslrootcert=PATH")
        }
        RustlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("give the URL a host that its certificate is for, or sslmode=verify-ca"),
        _ => None,
    }
}

/// What the server said, or why it could not be asked.
pub fn described(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(error), _) => error.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
