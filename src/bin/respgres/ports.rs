//! The ports: bound before anything else is touched, since one that is taken is the commonest mistake.

use std::net::SocketAddr;
use std::sync::Arc;

use respgres::config::Config;
use respgres::tls::{Doors, ServerTls};
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
    names: Vec<(&'static str, SocketAddr)>,
}

impl Ports {
    /// Opens them.
    ///
    /// # Errors
    ///
    /// One can't be had, or there is something wrong with the certificate.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let mut names = Vec::new();
        let mut open = async |name, variable, address: &Option<String>| match address {
            Some(address) => {
                let listener = listen(variable, address, config.reuse_port).await?;
                let local = listener
                    .local_addr()
                    .map_err(|error| failure(format!("a listener has no address: {error}")))?;
                names.push((name, local));
                Ok::<_, Failure>(Some(listener))
            }
            None => Ok(None),
        };
        let resp = open("resp", "RESP_ADDR", &config.resp_addr).await?;
        let resp_tls = open("resp (TLS)", "RESP_TLS_ADDR", &config.resp_tls_addr).await?;
        let http = open("http", "HTTP_ADDR", &config.http_addr).await?;
        let http_tls = open("http (TLS)", "HTTP_TLS_ADDR", &config.http_tls_addr).await?;
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
            port: names.first().map_or(0, |(_, address)| address.port()),
            names,
        })
    }

    /// What to log when they are served.
    pub fn listening(&self) -> Vec<String> {
        let names = self.names.iter();
        names
            .map(|(name, address)| format!("{name} listening on {address}"))
            .collect()
    }
}
