//! Certificates and keys in PEM files, with errors that say what is wrong with which file.

use std::fmt;
use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with a certificate or a key: which file, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsError {
    pub(super) fn new(path: &Path, problem: impl fmt::Display) -> Self {
        Self(format!("{}: {problem}", path.display()))
    }

    pub(super) fn other(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::new(path, format!("can't be read: {error}")))
}

/// All certificates of a PEM text; at least one. `path` is for the error.
pub(super) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found =
        found.map_err(|error| TlsError::new(path, format!("is not a PEM file: {error:?}")))?;
    if found.is_empty() {
        let problem = "has no certificate; a PEM file with -----BEGIN CERTIFICATE----- is expected";
        return Err(TlsError::new(path, problem));
    }
    Ok(found)
}

/// The one private key of a PEM text. `path` is for the error, which shows nothing of the key.
pub(super) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let is_encrypted = text
            .windows(b"ENCRYPTED".len())
            .any(|window| window == b"ENCRYPTED");
        let problem = match error {
            _ if is_encrypted => {
                "has a key that is encrypted; give one without a passphrase (openssl pkey -in OLD -out NEW)"
            }
            pem::Error::NoItemsFound => {
                "has no private key; a PEM file with -----BEGIN PRIVATE KEY----- is expected"
            }
            _ => "is not a PEM file",
        };
        TlsError::new(path, problem)
    })
}

/// Those who are trusted to sign certificates.
pub(super) fn roots(
    path: &Path,
    found: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in found {
        roots.add(certificate.clone()).map_err(|error| {
            TlsError::new(
                path,
                format!("has a certificate that can't be used: {error}"),
            )
        })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let path = Path::new("x.pem");
        let key = |text: &str| private_key(path, text.as_bytes()).unwrap_err().to_string();
        assert!(key("").contains("x.pem: has no private key"));
        assert!(
            key(
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
            )
            .contains("without a passphrase")
        );
        assert!(key("-----BEGIN PRIVATE KEY-----\nAAAA").contains("not a PEM file"));
        let error = certificates(path, b"nothing").unwrap_err().to_string();
        assert!(error.contains("x.pem: has no certificate"), "{error}");
        let error = read(Path::new("/nowhere/x.pem")).unwrap_err().to_string();
        assert!(
            error.starts_with("/nowhere/x.pem: can't be read: No such file"),
            "{error}"
        );
    }
}
