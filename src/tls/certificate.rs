//! What is read from an X.509 certificate besides what rustls checks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What is wrong with a certificate of version 1, and what to do. `openssl x509 -req` makes them where nothing else is
/// asked for, also those of PostgreSQL's own documentation.
pub(super) const VERSION_1: &str = "is an X.509 certificate of version 1, which is not taken; issue one of version 3, \
     with the names of the host: openssl x509 -req … -extfile FILE, where FILE has the line subjectAltName=DNS:HOST";

/// Whether rustls says that a certificate is of version 1.
pub(super) fn is_version_1(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(cause)) => {
            cause.to_string().contains("UnsupportedCertVersion")
        }
        _ => false,
    }
}

/// When a certificate holds, in time since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from: Duration,
    until: Duration,
}

impl Validity {
    /// That of a certificate in DER; `None` if it can't be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let validity = &certificate.tbs_certificate.validity;
        Some(Self {
            from: validity.not_before.to_unix_duration(),
            until: validity.not_after.to_unix_duration(),
        })
    }

    /// Whether it holds at a time.
    pub(super) fn includes(&self, now: UnixTime) -> bool {
        let now = now.as_secs();
        (self.from.as_secs()..=self.until.as_secs()).contains(&now)
    }

    /// The last moment.
    pub(super) fn until(&self) -> SystemTime {
        UNIX_EPOCH + self.until
    }

    /// What is to be said about it at `now`, in time since the Unix epoch, with so much notice before the end.
    pub(super) fn judge(&self, now: Duration, notice: Duration) -> Standing {
        if now < self.from {
            Standing::NotYet
        } else if now > self.until {
            Standing::Expired
        } else if now + notice > self.until {
            Standing::EndsSoon
        } else {
            Standing::Good
        }
    }
}

/// What is to be said about the time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    NotYet,
    Good,
    EndsSoon,
    Expired,
}

/// The common name of the subject, if there is one and no alternative name that is a host: then libpq goes by it.
pub(super) fn common_name_that_counts(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    if let Ok(Some((_, names))) = certificate.get::<SubjectAltName>() {
        let is_host = |name: &GeneralName| {
            matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))
        };
        if names.0.iter().any(is_host) {
            return None;
        }
    }
    let mut attributes = certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let name = &attributes
        .find(|attribute| attribute.oid == COMMON_NAME)?
        .value;
    match name.tag() {
        Tag::Utf8String => name
            .decode_as::<Utf8StringRef<'_>>()
            .ok()
            .map(|text| text.to_string()),
        Tag::PrintableString => {
            let text = name.decode_as::<PrintableStringRef<'_>>();
            text.ok().map(|text| text.to_string())
        }
        Tag::Ia5String => name
            .decode_as::<Ia5StringRef<'_>>()
            .ok()
            .map(|text| text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_is_judged() {
        let seconds = Duration::from_secs;
        let validity = Validity {
            from: seconds(100),
            until: seconds(200),
        };
        for (now, standing) in [
            (99, Standing::NotYet),
            (100, Standing::Good),
            (190, Standing::Good),
            (191, Standing::EndsSoon),
            (200, Standing::EndsSoon),
            (201, Standing::Expired),
        ] {
            assert_eq!(validity.judge(seconds(now), seconds(10)), standing, "{now}");
        }
        assert!(!validity.includes(UnixTime::since_unix_epoch(seconds(201))));
        assert!(validity.includes(UnixTime::since_unix_epoch(seconds(200))));
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        assert_eq!(Validity::of(b"nothing"), None);
        assert_eq!(common_name_that_counts(b"nothing"), None);
    }
}
