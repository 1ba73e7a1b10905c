//! TLS: what the ports show of themselves, and whom connections to PostgreSQL and Redis trust.
//!
//! `server` has the certificate of the ports, which it renews from its files, `doors` the ports themselves. `client`
//! is the other side, `verify` what it demands of a server, and `postgres` what libpq calls `sslmode`. `files` and
//! `certificate` read PEM and X.509.

mod certificate;
mod client;
mod doors;
mod files;
mod postgres;
mod server;
mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, IdentityFiles, Roots};
pub use doors::{Doors, Knock};
pub use files::TlsError;
pub use postgres::{ConnectError, PostgresTls, SslMode, TlsStream as PostgresStream};
pub use server::{ClientAuth, Prepared, Refused, ServerFiles, ServerTls};
pub use verify::Verification;

/// The cryptography of all connections. Not the process's default one: there is no such thing here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
