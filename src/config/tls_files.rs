//! The files with certificates: those of the ports, and those for the Redis.

use std::path::PathBuf;

use super::variables::{
    HTTP_TLS_ADDR, REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE, REDIS_URL, RESP_TLS_ADDR,
    TLS_CERT_FILE, TLS_CLIENT_AUTH, TLS_CLIENT_CA_FILE, TLS_KEY_FILE,
};
use super::{CacheTarget, Reader, Setting, Variable, targets};
use crate::tls::{ClientAuth, IdentityFiles, Roots, ServerFiles};

impl<Env: Fn(&str) -> Option<String>> Reader<Env> {
    /// What the ports with TLS are made from, which has to be there if there is such a port, and only then.
    pub(super) fn server_files(&mut self, is_used: bool) -> Option<ServerFiles> {
        let auth = self.parsed(&TLS_CLIENT_AUTH, client_auth);
        let files = [&TLS_CERT_FILE, &TLS_KEY_FILE, &TLS_CLIENT_CA_FILE];
        let [certificate, key, client_ca] = files.map(|variable| self.path(variable));
        let is_given = [&certificate, &key, &client_ca].map(Option::is_some);
        if !is_used {
            // Whoever has set it believes that the ports speak TLS.
            for (variable, _) in files.iter().zip(is_given).filter(|(_, given)| *given) {
                let problem = format!(
                    "is set, but no port speaks TLS; set {} or {}, or take it away",
                    RESP_TLS_ADDR.name, HTTP_TLS_ADDR.name
                );
                self.mistake(variable.name, problem);
            }
            return None;
        }
        for (variable, _) in files[..2].iter().zip(is_given).filter(|(_, given)| !given) {
            let problem = format!(
                "is not set, and {} or {} is; give the path of a PEM file",
                RESP_TLS_ADDR.name, HTTP_TLS_ADDR.name
            );
            self.mistake(variable.name, problem);
        }
        let default = match client_ca {
            Some(_) => ClientAuth::Required,
            None => ClientAuth::Off,
        };
        let client_auth = auth.unwrap_or(default);
        if client_auth != ClientAuth::Off && client_ca.is_none() {
            let problem = format!(
                "asks for certificates of clients, and {} does not say who signs them",
                TLS_CLIENT_CA_FILE.name
            );
            self.mistake(TLS_CLIENT_AUTH.name, problem);
        }
        Some(ServerFiles {
            certificate: certificate?,
            key: key?,
            client_ca,
            client_auth,
        })
    }

    /// The cache, with the certificates for it.
    pub(super) fn cache(&mut self) -> CacheTarget {
        let mut cache = self.parsed(&REDIS_URL, targets::cache_target);
        let files = [&REDIS_CA_FILE, &REDIS_CERT_FILE, &REDIS_KEY_FILE];
        let [ca, certificate, key] = files.map(|variable| self.path(variable));
        let is_given = [&ca, &certificate, &key].map(Option::is_some);
        match &mut cache {
            Some(CacheTarget::Redis { tls: Some(tls), .. }) => {
                if let Some(ca) = ca {
                    tls.roots = Roots::File(ca);
                }
                match (certificate, key) {
                    (Some(certificate), Some(key)) => {
                        tls.identity = Some(IdentityFiles { certificate, key });
                    }
                    (None, None) => {}
                    (Some(_), None) => {
                        let problem = format!("is set, and {} is not", REDIS_KEY_FILE.name);
                        self.mistake(REDIS_CERT_FILE.name, problem);
                    }
                    (None, Some(_)) => {
                        let problem = format!("is set, and {} is not", REDIS_CERT_FILE.name);
                        self.mistake(REDIS_KEY_FILE.name, problem);
                    }
                }
            }
            // The URL is a mistake already.
            None => {}
            Some(_) => {
                for (variable, _) in files.iter().zip(is_given).filter(|(_, given)| *given) {
                    let problem = format!(
                        "is set, but {} does not begin with rediss://; correct that, or take this away",
                        REDIS_URL.name
                    );
                    self.mistake(variable.name, problem);
                }
            }
        }
        cache.unwrap_or(CacheTarget::Memory)
    }

    fn path(&mut self, variable: &Variable) -> Option<PathBuf> {
        self.layers
            .get(variable)
            .map(|setting| setting.value.into())
    }
}

fn client_auth(setting: &Setting) -> Result<ClientAuth, String> {
    match setting.value.as_str() {
        "off" => Ok(ClientAuth::Off),
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err(format!(
            "{} is none of `off`, `optional` and `required`",
            setting.quoted()
        )),
    }
}
