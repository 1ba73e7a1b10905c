//! The files that a `rediss://` needs: the options that name them, and what to do when they are the wrong ones.

use std::error::Error;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use respgres::tls::{self, ClientTls, IdentityFiles, RedisTarget, Roots, TlsError};
use rustls::{AlertDescription, CertificateError, Error as RustlsError};

use crate::failure::{Failure, refused};

/// The options for one of the two servers: those of redis-cli, for the other one with a word before them.
#[derive(Debug)]
pub struct Options {
    cacert: &'static str,
    cert: &'static str,
    key: &'static str,
    whose: &'static str,
}

/// For the Redis that is the source of an import, or the destination of an export.
pub const OF_THE_REDIS: Options = Options {
    cacert: "cacert",
    cert: "cert",
    key: "key",
    whose: "the Redis",
};

/// For the respgres that is imported to.
pub const OF_TO: Options = Options {
    cacert: "to-cacert",
    cert: "to-cert",
    key: "to-key",
    whose: "--to",
};

/// For the respgres that is exported from.
pub const OF_FROM: Options = Options {
    cacert: "from-cacert",
    cert: "from-cert",
    key: "from-key",
    whose: "--from",
};

impl Options {
    /// Adds them to a command.
    pub fn add_to(&self, command: Command) -> Command {
        let whose = self.whose;
        let file = |name: &'static str, help: String| {
            Arg::new(name)
                .long(name)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(help)
        };
        let cacert = format!(
            "PEM file with who signs the certificate of {whose}, or with that certificate itself; for rediss:// [default: whom the system trusts]"
        );
        let cert = format!("PEM file with the certificate that {whose} is shown, for rediss://");
        command
            .arg(file(self.cacert, cacert))
            .arg(file(self.cert, cert).requires(self.key))
            .arg(
                file(
                    self.key,
                    "PEM file with its key, without a passphrase".to_owned(),
                )
                .requires(self.cert),
            )
    }

    /// The first of them that was given.
    pub fn given(&self, matches: &ArgMatches) -> Option<&'static str> {
        [self.cacert, self.cert, self.key]
            .into_iter()
            .find(|name| matches.contains_id(name))
    }

    /// What a URL leads to, with the files that they name.
    ///
    /// # Errors
    ///
    /// The URL can't be used, or they are given and it is not secured. Nothing of the URL is shown that may be a password.
    pub fn target(&self, url: &str, matches: &ArgMatches) -> Result<RedisTarget, Failure> {
        const ADVICE: &str = "give redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS; in a password, write @ as \
                              %40, / as %2F, ? as %3F, # as %23 and % as %25; env:NAME takes the URL from the environment";
        if url.starts_with("rediss://") && url.ends_with("#insecure") {
            return Err(refused(format!(
                "#insecure asks for TLS with anybody, which is not supported; leave it out, and give --{} the certificate of \
                 the server, or of who signed it",
                self.cacert
            )));
        }
        let file = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        let mut tls = ClientTls::of_rediss();
        if let Some(path) = file(self.cacert) {
            tls.roots = Roots::File(path);
        }
        if let (Some(certificate), Some(key)) = (file(self.cert), file(self.key)) {
            tls.identity = Some(IdentityFiles { certificate, key });
        }
        // What the crate says may have a piece of the password in it.
        let target = RedisTarget::new(url, Some(&tls))
            .map_err(|_| refused(format!("not the URL of a Redis: {ADVICE}")))?;
        match self.given(matches) {
            Some(name) if !target.is_secured() => Err(refused(format!(
                "--{name} is for rediss://, and {target} is in the clear; give rediss://, or leave the option out"
            ))),
            _ => Ok(target),
        }
    }

    /// What to do about an error of a connection that was to be secured; `None` if it has nothing to do with TLS.
    pub fn advice(&self, error: &(dyn Error + 'static)) -> Option<String> {
        if tls::cause::<TlsError>(error).is_some() {
            return Some(format!(
                "correct --{}, --{} or --{}",
                self.cacert, self.cert, self.key
            ));
        }
        Some(match tls::cause::<RustlsError>(error)? {
            RustlsError::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
                "give --{} a PEM file with who signed its certificate, or with that certificate itself",
                self.cacert
            ),
            RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => "give the URL a host that its certificate is for".to_owned(),
            RustlsError::InvalidCertificate(_) => "its certificate has to be replaced".to_owned(),
            RustlsError::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown,
            ) => format!(
                "it wants a certificate of who connects, by an authority that it trusts: give --{} and --{}",
                self.cert, self.key
            ),
            _ => "does that port speak TLS?".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(args: &[&str], url: &str) -> Result<String, String> {
        let command = OF_THE_REDIS.add_to(Command::new("import"));
        let args = std::iter::once(&"import").chain(args);
        let matches = command.try_get_matches_from(args).unwrap();
        OF_THE_REDIS
            .target(url, &matches)
            .map(|target| target.to_string())
            .map_err(|failure| failure.text)
    }

    #[test]
    fn a_server_is_called_by_its_address_without_a_password() {
        let label = target(&[], "redis://user:hunter2@cache:7000/3").unwrap();
        assert_eq!(label, "redis://cache:7000/3");
        let label = target(&["--cacert", "ca.pem"], "rediss://:hunter2@cache").unwrap();
        assert_eq!(label, "rediss://cache:6379/0");
        for (args, url, words) in [
            (&[][..], "redis://user:hunter2@cache:port", "%40"),
            (&[], "rediss://:hunter2@cache#insecure", "--cacert"),
            (&[], "valkeys://:hunter2@cache", "rediss://"),
            (
                &["--cacert", "ca.pem"],
                "redis://:hunter2@cache",
                "give rediss://",
            ),
        ] {
            let error = target(args, url).unwrap_err();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
