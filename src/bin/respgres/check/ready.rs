//! `respgres check --ready`: asks the proxy of this configuration whether clients should be sent to it. For health checks
//! of containers; it needs no secret, and no curl in the image.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use respgres::config::Config;
use respgres::tls::{ClientAuth, ClientTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::failure::{Failure, failure, refused};

/// How long all of it may take. Health checks have a limit of their own, which says less when it is over.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Bytes of the answer that are looked at.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

const REQUEST: &[u8] = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Asks the port in the clear, or else the one with TLS, as another process of this machine reaches it.
///
/// # Errors
///
/// It is not ready, or does not answer; with what it said.
pub async fn ask(config: &Config) -> Result<(), Failure> {
    let (variable, address) = match (&config.http_addr, &config.http_tls_addr) {
        (Some(address), _) => ("HTTP_ADDR", address),
        (None, Some(address)) => ("HTTP_TLS_ADDR", address),
        (None, None) => {
            return Err(refused(
                "HTTP_ADDR and HTTP_TLS_ADDR are off: there is nobody to ask".to_owned(),
            ));
        }
    };
    let asked = async {
        let stream = connect(address).await?;
        if config.http_addr.is_some() {
            return converse(stream).await.map(Some);
        }
        // It shows a certificate for the names that others know it by, and is on this machine.
        let stream = ClientTls::default().connect("localhost", stream).await?;
        match &config.tls {
            // It is there, and does not say more to who has no certificate.
            Some(tls) if tls.client_auth == ClientAuth::Required => Ok(None),
            _ => converse(stream).await.map(Some),
        }
    };
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    let answer = answer
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| failure(format!("{variable}: {address} does not answer: {error}")))?;
    match answer {
        Some(answer) if !answer.starts_with("HTTP/1.1 200 ") => {
            let body = answer.rsplit("\r\n\r\n").next().unwrap_or(&answer);
            Err(failure(format!("{variable}: not ready: {body}")))
        }
        _ => Ok(()),
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    // It listens on the first address of a name that it can have.
    for mut address in tokio::net::lookup_host(address).await? {
        // Where it listens on all addresses.
        if address.ip().is_unspecified() {
            let here = match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(here);
        }
        outcome = TcpStream::connect(address).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    stream.write_all(REQUEST).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
