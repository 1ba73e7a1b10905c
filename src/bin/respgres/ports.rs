//! The ports: bound before anything else is touched, since one that is taken is the commonest mistake.

use std::net::SocketAddr;
use std::sync::Arc;

use respgres::config::Config;
use respgres::tls::{ClientAuth, Doors, ServerTls};
use tokio::net::TcpListener;

use crate::failure::{Failure, failure, refused};
use crate::listen::listen;

/// The ports of both protocols, open and not served yet.
pub struct Ports {
    /// For Redis clients.
    pub resp: Doors,
    /// For HTTP.
    pub http: Doors,
    /// What those with TLS show of themselves.
    pub tls: Option<Arc<ServerTls>>,
    /// The port that INFO shows.
    pub port: u16,
    /// All of them.
    pub open: Vec<Open>,
}

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// That of Redis.
    Resp,
    /// HTTP.
    Http,
}

/// A port that is open.
pub struct Open {
    /// The variable that names it.
    pub variable: &'static str,
    /// What it is called in the log.
    name: &'static str,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it is: what the name in the variable led to.
    pub address: SocketAddr,
    /// Whether nobody gets in without a certificate.
    pub needs_certificate: bool,
}

impl Ports {
    /// Opens them.
    ///
    /// # Errors
    ///
    /// One can't be had, or there is something wrong with the certificate.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let mut all = Vec::new();
        let client_auth = config.tls.as_ref().map(|files| files.client_auth);
        let needs_certificate = client_auth == Some(ClientAuth::Required);
        let mut open = async |name, variable, protocol, address: &Option<String>| match address {
            Some(address) => {
                let listener = listen(variable, address, config.reuse_port).await?;
                let local = listener
                    .local_addr()
                    .map_err(|error| failure(format!("a listener has no address: {error}")))?;
                all.push(Open {
                    variable,
                    name,
                    protocol,
                    address: local,
                    needs_certificate: needs_certificate && variable.contains("TLS"),
                });
                Ok::<_, Failure>(Some(listener))
            }
            None => Ok(None),
        };
        let resp = open("resp", "RESP_ADDR", Protocol::Resp, &config.resp_addr).await?;
        let resp_tls = open(
            "resp (TLS)",
            "RESP_TLS_ADDR",
            Protocol::Resp,
            &config.resp_tls_addr,
        )
        .await?;
        let http = open("http", "HTTP_ADDR", Protocol::Http, &config.http_addr).await?;
        let http_tls = open(
            "http (TLS)",
            "HTTP_TLS_ADDR",
            Protocol::Http,
            &config.http_tls_addr,
        )
        .await?;
        let tls = config
            .tls
            .clone()
            .map(|files| ServerTls::load(files).map(Arc::new));
        let tls = tls
            .transpose()
            .map_err(|error| refused(format!("TLS: {error}")))?;
        let doors = |plain, secured: Option<TcpListener>| Doors {
            plain,
            tls: secured.zip(tls.clone()),
        };
        Ok(Self {
            resp: doors(resp, resp_tls),
            http: doors(http, http_tls),
            tls,
            port: all.first().map_or(0, |open: &Open| open.address.port()),
            open: all,
        })
    }

    /// What to log when they are served.
    pub fn listening(&self) -> Vec<String> {
        let open = self.open.iter();
        open.map(|Open { name, address, .. }| format!("{name} listening on {address}"))
            .collect()
    }
}
