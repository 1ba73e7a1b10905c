//! Certificate authorities and what they sign, made for a test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Somebody who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// What a certificate shall say.
pub struct Wish {
    params: CertificateParams,
}

impl Wish {
    /// A certificate for these hosts.
    pub fn names(names: &[&str]) -> Wish {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of hosts");
        params
            .distinguished_name
            .push(DnType::CommonName, "respgres tests");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Wish { params }
    }

    /// With a common name.
    pub fn common_name(mut self, name: &str) -> Wish {
        self.params
            .distinguished_name
            .push(DnType::CommonName, name);
        self
    }

    /// It has expired.
    pub fn expired(mut self) -> Wish {
        self.params.not_before = date_time_ymd(2019, 1, 1);
        self.params.not_after = date_time_ymd(2020, 1, 1);
        self
    }

    /// It says that it is an authority's, as `openssl req -x509` has it.
    pub fn of_authority(mut self) -> Wish {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// Signed by nobody else.
    pub fn self_signed(self) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.params.self_signed(&key).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Authority { issuer }
    }

    /// Another one, that this one vouches for.
    pub fn subordinate(&self, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate");
        Authority { issuer }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs.
    pub fn issue(&self, wish: Wish) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = wish
            .params
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes its certificate to a file in `dir`; returns the path.
    pub fn file(&self, dir: &Path, name: &str) -> String {
        write(dir.join(name), &self.pem())
    }
}

impl Issued {
    /// Writes both to files in `dir`, `NAME.crt` and `NAME.key`; returns their paths.
    pub fn files(&self, dir: &Path, name: &str) -> (String, String) {
        (
            write(dir.join(format!("{name}.crt")), &self.certificate),
            write(dir.join(format!("{name}.key")), &self.key),
        )
    }
}

/// Takes the place of what is there at once, so that nobody reads half of it.
fn write(path: PathBuf, text: &str) -> String {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).expect("a file can be written");
    std::fs::rename(&draft, &path).expect("it can be renamed");
    path.to_str().expect("a UTF-8 path").to_owned()
}
