//! What a connection to another server demands of its certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{VERSION_1, Validity, common_name_that_counts, is_version_1};

/// What has to be right about a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Nothing: the connection can't be listened to, and may lead to anybody.
    Nothing,
    /// Somebody who is trusted signed it, and it holds now.
    Chain,
    /// That, and it is made out to the name that was connected to.
    Name,
    /// The same as libpq does it: where it names no host otherwise, its common name counts.
    NameOrCommonName,
}

/// Checks it. The server always has to prove that it has the key.
#[derive(Debug)]
pub(super) struct Verifier {
    verification: Verification,
    roots: Arc<RootCertStore>,
    /// The same certificates as they stand in the file: one that a server made for itself is trusted if it is there.
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        verification: Verification,
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self {
            verification,
            roots: Arc::new(roots),
            trusted,
            algorithms: super::provider().signature_verification_algorithms,
        }
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // `openssl req -x509` makes certificates that say they are an authority's; webpki takes none for a server's.
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            return match Validity::of(end_entity) {
                Some(validity) if validity.includes(now) => Ok(()),
                Some(_) => Err(CertificateError::Expired.into()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        let chain = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        chain.map_err(|error| match error {
            // The same, when it is not in the file.
            Error::InvalidCertificate(CertificateError::Other(cause))
                if cause.to_string().contains("CaUsedAsEndEntity") =>
            {
                CertificateError::UnknownIssuer.into()
            }
            other => other,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verification == Verification::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed =
            ParsedCertificate::try_from(end_entity).map_err(|error| {
                match is_version_1(&error) {
                    true => Error::General(format!("the certificate of the server {VERSION_1}")),
                    false => error,
                }
            })?;
        self.verify_chain(end_entity, &parsed, intermediates, now)?;
        match self.verification {
            Verification::Nothing | Verification::Chain => {}
            Verification::Name => verify_server_name(&parsed, server_name)?,
            Verification::NameOrCommonName => {
                if let Err(error) = verify_server_name(&parsed, server_name) {
                    let name = common_name_that_counts(end_entity);
                    if !name.is_some_and(|name| is_name_of(&name, &server_name.to_str())) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a common name is that of a host, as libpq compares them: `*` stands for the first label, and only for it.
fn is_name_of(common_name: &str, host: &str) -> bool {
    if common_name.eq_ignore_ascii_case(host) {
        return true;
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (common_name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((first, rest))) => {
            !is_address && !first.is_empty() && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// As `openssl x509 -req` makes it.
    const OF_VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJTCBywIUYgSKcctpguWjdX2VNbjWwL8kDHUwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzAwNTgzNloYDzIxMjYxMTAzMDA1ODM2
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASXk8GZBZAbmJnTTm/IBCOYJ3RhHP1kFj6/dtjegBuY9bU7DkUSEVSrmsWcE74V
DzTHYBsqfsk2PYEy03+rnhdoMAoGCCqGSM49BAMCA0kAMEYCIQD8lGw3EOCd7/NO
lk4Rupg8Wg3FXy9eS8FazPw73jzgiAIhAMdpl1WORapARwvntKh4rVm/1Df9G8MO
StB9kEl5PKSF
-----END CERTIFICATE-----
";

    #[test]
    fn what_to_do_about_certificates_of_version_1_is_told() {
        let certificate = CertificateDer::from_pem_slice(OF_VERSION_1.as_bytes()).unwrap();
        let verifier = Verifier::new(Verification::Chain, RootCertStore::empty(), Vec::new());
        let name = ServerName::try_from("localhost").unwrap();
        let verified = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        let error = verified.unwrap_err().to_string();
        for words in ["of the server", "version 1", "subjectAltName="] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let error = ParsedCertificate::try_from(&certificate).err().unwrap();
        let own = super::super::server::unfit(Path::new("own.pem"), Path::new("key.pem"), &error);
        let own = own.to_string();
        assert!(
            own.starts_with("own.pem: is an X.509 certificate of version 1"),
            "{own}"
        );
    }

    #[test]
    fn common_names_are_compared_as_libpq_does() {
        for (common_name, host, fits) in [
            ("db.example.com", "DB.example.com", true),
            ("db.example.com", "db.example.org", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*", "db", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(is_name_of(common_name, host), fits, "{common_name} {host}");
        }
    }
}
