//! The client's side: whom it trusts, and what it shows of itself.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{self, TlsError};
use super::provider;
use super::verify::{Verification, Verifier};

/// How connections to another server are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// What its certificate has to be.
    pub verification: Verification,
    /// Who is trusted to sign it. Of no use without a verification.
    pub roots: Roots,
    /// What is shown to a server that asks for a client's certificate.
    pub identity: Option<IdentityFiles>,
    /// Whether the server is told its name in the clear, by which one address can serve several.
    pub sends_name: bool,
}

/// Who is trusted to sign servers' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Nobody.
    Nobody,
    /// Whom the system trusts.
    System,
    /// The certificates of a PEM file.
    File(PathBuf),
}

/// A certificate, with those between it and its authority, and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate first.
    pub certificate: PathBuf,
    /// Its key, without a passphrase.
    pub key: PathBuf,
}

/// Trusts everybody, and shows nothing.
impl Default for ClientTls {
    fn default() -> Self {
        Self {
            verification: Verification::Nothing,
            roots: Roots::Nobody,
            identity: None,
            sends_name: true,
        }
    }
}

impl ClientTls {
    /// What `rediss://` means by itself: the certificate is for the host that was connected to, and of an authority of
    /// the system.
    pub fn of_rediss() -> Self {
        Self {
            verification: Verification::Name,
            roots: Roots::System,
            ..Self::default()
        }
    }

    /// Reads the files. To be done anew for each connection: what is replaced then counts from the next one on. Blocks
    /// as long as reading takes.
    ///
    /// # Errors
    ///
    /// What is wrong with which file.
    fn config(&self) -> Result<ClientConfig, TlsError> {
        let (roots, trusted) = self.roots.load()?;
        let verifier = Verifier::new(self.verification, roots, trusted);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::other(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(IdentityFiles { certificate, key }) => {
                let chain = files::certificates(certificate, &files::read(certificate)?)?;
                let private = files::private_key(key, &files::read(key)?)?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| super::server::unfit(certificate, key, &error))?
            }
        };
        config.enable_sni = self.sends_name;
        Ok(config)
    }

    /// Agrees on TLS with the server `host` at the other end of `stream`. The files are read first.
    ///
    /// # Errors
    ///
    /// What is wrong with which file, or with the server.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = self.read().await.map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// [`config`](ClientTls::config) on a thread that may wait: files may be on a disk that hangs.
    pub(super) async fn read(&self) -> Result<ClientConfig, TlsError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.config())
            .await
            .unwrap_or_else(|error| Err(TlsError::other(error.to_string())))
    }
}

impl Roots {
    fn load(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
        match self {
            Roots::Nobody => Ok((RootCertStore::empty(), Vec::new())),
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                // Those that can't be used are few, old, and nobody's here.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(TlsError::other(
                        "the system has no certificate authorities; install the package ca-certificates, or name a file",
                    ));
                }
                Ok((roots, Vec::new()))
            }
            Roots::File(path) => {
                let found = files::certificates(path, &files::read(path)?)?;
                Ok((files::roots(path, &found)?, found))
            }
        }
    }
}
