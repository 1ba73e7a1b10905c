//! What the URL of a PostgreSQL shard says of TLS: the options of libpq that begin with `ssl`, taken out of the URL,
//! since tokio-postgres knows only some of them.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::tls::{ClientTls, IdentityFiles, PostgresTls, Roots, SslMode, Verification};

/// The options as they were given.
#[derive(Default)]
struct Options {
    mode: Option<SslMode>,
    root: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    hides_name: bool,
    is_direct: bool,
}

/// Splits a URL into one without these options, and what they say.
///
/// # Errors
///
/// What is wrong, without any part of the URL but the name of an option that is known.
pub(super) fn split(url: &str) -> Result<(String, PostgresTls), String> {
    let (before, query) = split_query(url);
    let mut options = Options::default();
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        if !options.take(parameter)? {
            rest.push(parameter);
        }
    }
    let mut url = before.to_owned();
    if !rest.is_empty() {
        url.push('?');
        url.push_str(&rest.join("&"));
    }
    Ok((url, options.meaning()?))
}

/// Cuts where tokio-postgres does: what is before the first @ is user and password, whatever is in them.
fn split_query(url: &str) -> (&str, &str) {
    let host = url.find('@').map_or(0, |at| at + 1);
    match url[host..].find('?') {
        Some(at) => (&url[..host + at], &url[host + at + 1..]),
        None => (url, ""),
    }
}

impl Options {
    /// Takes a parameter if it is one of these. As in libpq, names may be percent-encoded like values.
    fn take(&mut self, parameter: &str) -> Result<bool, String> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_| "has an option whose name is not UTF-8".to_owned())?;
        let name = &*name;
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| format!("has a value of {name} that is not UTF-8"))?
            .into_owned();
        match name {
            "sslmode" => self.mode = Some(mode(&value)?),
            "sslrootcert" => self.root = Some(value).filter(|value| !value.is_empty()),
            "sslcert" => self.certificate = path(value),
            "sslkey" => self.key = path(value),
            "sslsni" => {
                self.hides_name = match value.as_str() {
                    "0" => true,
                    "1" => false,
                    _ => return Err("has an sslsni that is neither 0 nor 1".to_owned()),
                };
            }
            "sslnegotiation" => {
                self.is_direct = match value.as_str() {
                    "direct" => true,
                    "postgres" => false,
                    _ => {
                        return Err(
                            "has an sslnegotiation that is neither postgres nor direct".to_owned()
                        );
                    }
                };
                // tokio-postgres knows that one.
                return Ok(false);
            }
            "sslpassword" => {
                return Err(
                    "has an sslpassword: a key with a passphrase can't be used; give sslkey one without".to_owned(),
                );
            }
            "sslcrl"
            | "sslcrldir"
            | "sslcompression"
            | "ssl_min_protocol_version"
            | "ssl_max_protocol_version"
            | "sslcertmode"
            | "requiressl" => {
                return Err(format!(
                    "has the option {name}, which is not supported; leave it out"
                ));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn meaning(self) -> Result<PostgresTls, String> {
        let is_system = self.root.as_deref() == Some("system");
        // As libpq: whom the system trusts, anybody can get a certificate of.
        let mode = match self.mode {
            None if is_system => SslMode::VerifyFull,
            None => SslMode::default(),
            Some(SslMode::VerifyFull) => SslMode::VerifyFull,
            Some(_) if is_system => {
                return Err("has sslrootcert=system, which needs sslmode=verify-full".to_owned());
            }
            Some(mode) => mode,
        };
        if self.is_direct && matches!(mode, SslMode::Disable | SslMode::Prefer) {
            return Err(
                "has sslnegotiation=direct, which begins with TLS; add sslmode=require, verify-ca or verify-full"
                    .to_owned(),
            );
        }
        let roots = match self.root {
            _ if is_system => Roots::System,
            Some(path) => Roots::File(path.into()),
            None => Roots::Nobody,
        };
        let verification = match mode {
            SslMode::Disable => Verification::Nothing,
            // As libpq: who names an authority wants it asked.
            SslMode::Prefer | SslMode::Require if roots == Roots::Nobody => Verification::Nothing,
            SslMode::VerifyCa | SslMode::VerifyFull if roots == Roots::Nobody => {
                return Err(
                    "demands a certificate that somebody trusted signed, and does not say whom to trust; add \
                     sslrootcert=PATH of a PEM file, or sslrootcert=system"
                        .to_owned(),
                );
            }
            SslMode::Prefer | SslMode::Require | SslMode::VerifyCa => Verification::Chain,
            SslMode::VerifyFull => Verification::NameOrCommonName,
        };
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(IdentityFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err("has sslcert without sslkey; add the path of its key".to_owned());
            }
            (None, Some(_)) => {
                return Err(
                    "has sslkey without sslcert; add the path of its certificate".to_owned(),
                );
            }
        };
        let client = ClientTls {
            verification,
            roots,
            identity,
            sends_name: !self.hides_name,
        };
        Ok(PostgresTls { mode, client })
    }
}

fn path(value: String) -> Option<PathBuf> {
    (!value.is_empty()).then(|| value.into())
}

fn mode(value: &str) -> Result<SslMode, String> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        "allow" => {
            return Err(
                "has sslmode=allow, which tries without TLS first and is not supported; give sslmode=prefer, or require"
                    .to_owned(),
            );
        }
        _ => {
            return Err(
                "has an sslmode that is none of disable, prefer, require, verify-ca and verify-full".to_owned(),
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> PostgresTls {
        let (url, tls) = split(&format!("postgres://u:p@db/app{query}")).unwrap();
        assert_eq!(url, "postgres://u:p@db/app");
        tls
    }

    #[test]
    fn modes_mean_what_libpq_means() {
        use Verification::{Chain, NameOrCommonName, Nothing};
        for (query, mode, verification) in [
            ("", SslMode::Prefer, Nothing),
            ("?sslmode=disable", SslMode::Disable, Nothing),
            (
                "?sslmode=disable&sslrootcert=/ca",
                SslMode::Disable,
                Nothing,
            ),
            ("?sslmode=prefer", SslMode::Prefer, Nothing),
            ("?sslmode=require", SslMode::Require, Nothing),
            ("?sslmode=require&sslrootcert=/ca", SslMode::Require, Chain),
            (
                "?sslmode=verify-ca&sslrootcert=/ca",
                SslMode::VerifyCa,
                Chain,
            ),
            (
                "?sslmode=verify-full&sslrootcert=/ca",
                SslMode::VerifyFull,
                NameOrCommonName,
            ),
            ("?sslrootcert=system", SslMode::VerifyFull, NameOrCommonName),
            (
                "?sslmode=verify-full&sslrootcert=system",
                SslMode::VerifyFull,
                NameOrCommonName,
            ),
        ] {
            let tls = read(query);
            assert_eq!(
                (tls.mode, tls.client.verification),
                (mode, verification),
                "{query}"
            );
        }
        assert_eq!(read("").client, ClientTls::default());
    }

    #[test]
    fn files_are_found_in_the_query_and_the_rest_is_left() {
        let url = "postgres://u:a?b&sslmode=c@db/app?connect_timeout=3&sslcert=%2Fa%20b.pem&sslkey=k&sslsni=0&options=x";
        let (url, tls) = split(url).unwrap();
        assert_eq!(
            url,
            "postgres://u:a?b&sslmode=c@db/app?connect_timeout=3&options=x"
        );
        assert!(!tls.client.sends_name);
        let identity = tls.client.identity.unwrap();
        assert_eq!(identity.certificate, PathBuf::from("/a b.pem"));
        assert_eq!(identity.key, PathBuf::from("k"));
    }

    #[test]
    fn names_may_be_percent_encoded() {
        let tls = read("?ssl%6dode=verify-full&%73slrootcert=%2Fca");
        assert_eq!(tls.mode, SslMode::VerifyFull);
        assert_eq!(tls.client.roots, Roots::File("/ca".into()));
    }

    #[test]
    fn direct_negotiation_is_left_to_who_connects() {
        for mode in ["sslmode=require", "sslrootcert=system"] {
            let (url, tls) =
                split(&format!("postgres://db/app?sslnegotiation=direct&{mode}")).unwrap();
            assert_eq!(url, "postgres://db/app?sslnegotiation=direct");
            assert!(matches!(tls.mode, SslMode::Require | SslMode::VerifyFull));
        }
        let (url, _) = split("postgres://db/app?sslnegotiation=postgres").unwrap();
        assert_eq!(url, "postgres://db/app?sslnegotiation=postgres");
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (query, words) in [
            ("sslmode=allow", "sslmode=prefer, or require"),
            ("sslmode=on", "none of disable"),
            ("sslmode=verify-ca", "sslrootcert=PATH"),
            ("sslmode=verify-full", "sslrootcert=PATH"),
            ("sslmode=require&sslrootcert=system", "verify-full"),
            ("sslcert=a", "without sslkey"),
            ("sslkey=a", "without sslcert"),
            ("sslpassword=hunter2", "passphrase"),
            ("sslcrl=a", "sslcrl"),
            ("sslsni=yes", "neither 0 nor 1"),
            ("ssl%6dode=on", "none of disable"),
            ("ssl%70assword=hunter2", "passphrase"),
            ("a%ff=b", "not UTF-8"),
            ("sslnegotiation=direct", "sslmode=require"),
            (
                "sslmode=prefer&sslnegotiation=direct",
                "sslmode=require, verify-ca",
            ),
            ("sslnegotiation=maybe", "neither postgres nor direct"),
        ] {
            let error = split(&format!("postgres://db/app?{query}")).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
