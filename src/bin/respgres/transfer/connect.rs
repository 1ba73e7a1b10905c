//! Connections to what is read from and written to, by URL. All that is known of TLS here is in this file.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo};
use tokio_postgres::NoTls;

use crate::failure::{Failure, failure, refused};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Long enough for the largest value over a slow line; one that hangs is noticed all the same.
const ANSWER_MAX: Duration = Duration::from_secs(120);

const NO_TLS: &str = "import and export do not speak TLS: run them on the machine that has the port in the clear \
                      (redis://127.0.0.1:PORT), or give redis:// and the address of a TLS tunnel to it, such as stunnel's";

/// A server that speaks RESP, not connected yet, and how it is called: `redis://host:port/0`, never with a password.
pub fn resp(url: &str) -> Result<(Client, String), Failure> {
    let advice = "give redis://USER:PASSWORD@HOST:PORT/DATABASE; in a password, write @ as %40, / as %2F, ? as %3F, # as %23 \
                  and % as %25; env:NAME takes the URL from the environment";
    if url.starts_with("rediss://") || url.starts_with("valkeys://") {
        return Err(refused(NO_TLS.to_owned()));
    }
    // What the crate says may have a piece of the password in it.
    let info = url
        .into_connection_info()
        .map_err(|_| refused(format!("not the URL of a Redis: {advice}")))?;
    let db = info.redis_settings().db();
    let label = match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{db}"),
        ConnectionAddr::Unix(path) => format!("redis+unix://{}?db={db}", path.display()),
        _ => return Err(refused(NO_TLS.to_owned())),
    };
    let client = Client::open(info)
        .map_err(|error| refused(format!("can't use {label}: {}", error.category())))?;
    Ok((client, label))
}

/// A connection to it.
pub async fn connection(client: &Client) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ANSWER_MAX))
        .set_pipeline_buffer_size(1024);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// A session of a PostgreSQL database.
pub async fn postgres(url: &str, label: &str) -> Result<tokio_postgres::Client, Failure> {
    let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
        refused(format!(
            "{label} is not a PostgreSQL URL; give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ))
    })?;
    config
        .application_name("respgres import")
        .connect_timeout(CONNECT_MAX)
        .keepalives_idle(Duration::from_secs(30));
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(|error| failure(format!("can't connect to {label}: {}", described(&error))))?;
    // It ends with the client; its error is also that of the query under way.
    tokio::spawn(connection);
    Ok(client)
}

/// What the server said, or why it could not be asked.
pub fn described(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(error), _) => error.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_its_address_without_a_password() {
        let (_, label) = resp("redis://user:hunter2@cache:7000/3").unwrap();
        assert_eq!(label, "redis://cache:7000/3");
        let error = resp("redis://user:hunter2@cache:port").err().unwrap().text;
        assert!(!error.contains("hunter2"), "{error}");
        let error = resp("rediss://:hunter2@cache:7000").err().unwrap().text;
        assert!(error.contains("tunnel"), "{error}");
    }
}
