//! TLS: what the ports show of themselves, and whom connections to PostgreSQL and Redis trust.
//!
//! `server` has the certificate of the ports, which it renews from its files, `doors` the ports themselves. `client`
//! is the other side, `verify` what it demands of a server, `postgres` what libpq calls `sslmode`, and `redis` a connection
//! to a `redis://` or `rediss://`. `files` and `certificate` read PEM and X.509.

mod certificate;
mod client;
mod doors;
mod files;
mod postgres;
mod redis;
mod server;
mod verify;

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, IdentityFiles, Roots};
pub use doors::{Doors, Knock};
pub use files::TlsError;
pub use postgres::{ConnectError, PostgresTls, SslMode, TlsStream as PostgresStream};
pub use redis::{RedisStream, RedisTarget};
pub use server::{ClientAuth, Prepared, Refused, ServerFiles, ServerTls};
pub use verify::Verification;

/// The cryptography of all connections. Not the process's default one: there is no such thing here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The error of this kind that is behind another one, if there is one: those of TLS come in errors of a stream.
pub fn cause<'a, T: Error + 'static>(mut error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // Neither has what is in it as its source, but the source of that. The first is the redis crate's.
        error = if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            &**shared
        } else if let Some(inner) = error.downcast_ref().and_then(io::Error::get_ref) {
            inner
        } else {
            error.source()?
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_wherever_it_is() {
        let alert = || rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let stream = || io::Error::new(io::ErrorKind::InvalidData, alert());
        assert_eq!(cause(&stream()), Some(&alert()));
        assert_eq!(cause(&::redis::RedisError::from(stream())), Some(&alert()));
        assert_eq!(cause(&io::Error::other(stream())), Some(&alert()));
        assert_eq!(cause::<rustls::Error>(&io::Error::other("else")), None);
    }
}
