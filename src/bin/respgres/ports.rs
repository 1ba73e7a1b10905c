//! The ports: taken before anything else is touched, since one that is taken is the commonest mistake, and open to
//! clients when everything else is there. With several processes on one port, one that listened and could not start
//! would reset connections that the others would have served.

use std::net::SocketAddr;
use std::sync::Arc;

use respgres::config::Config;
use respgres::tls::{ClientAuth, Doors, ServerTls};
use tokio::net::{TcpListener, TcpSocket};

use crate::failure::{Failure, failure, refused};
use crate::listen::{bind, listen};

/// The ports of both protocols, taken and not open yet.
pub struct Ports {
    /// What those with TLS show of themselves.
    pub tls: Option<Arc<ServerTls>>,
    /// The port that INFO shows.
    pub port: u16,
    /// All of them.
    pub open: Vec<Open>,
    sockets: Vec<(Door, TcpSocket)>,
}

/// Which of a protocol's two ports it is.
struct Door {
    variable: &'static str,
    address: String,
    protocol: Protocol,
    is_tls: bool,
}

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// That of Redis.
    Resp,
    /// HTTP.
    Http,
}

/// A port that is taken.
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
    /// Takes them.
    ///
    /// # Errors
    ///
    /// One can't be had, or there is something wrong with the certificate.
    pub async fn take(config: &Config) -> Result<Self, Failure> {
        let client_auth = config.tls.as_ref().map(|files| files.client_auth);
        let needs_certificate = client_auth == Some(ClientAuth::Required);
        let (mut open, mut sockets) = (Vec::new(), Vec::new());
        for (name, variable, protocol, is_tls, address) in [
            (
                "resp",
                "RESP_ADDR",
                Protocol::Resp,
                false,
                &config.resp_addr,
            ),
            (
                "resp (TLS)",
                "RESP_TLS_ADDR",
                Protocol::Resp,
                true,
                &config.resp_tls_addr,
            ),
            (
                "http",
                "HTTP_ADDR",
                Protocol::Http,
                false,
                &config.http_addr,
            ),
            (
                "http (TLS)",
                "HTTP_TLS_ADDR",
                Protocol::Http,
                true,
                &config.http_tls_addr,
            ),
        ] {
            let Some(address) = address else { continue };
            let socket = bind(variable, address, config.reuse_port).await?;
            let local = socket
                .local_addr()
                .map_err(|error| failure(format!("a socket has no address: {error}")))?;
            open.push(Open {
                variable,
                name,
                protocol,
                address: local,
                needs_certificate: is_tls && needs_certificate,
            });
            let door = Door {
                variable,
                address: address.clone(),
                protocol,
                is_tls,
            };
            sockets.push((door, socket));
        }
        let tls = config
            .tls
            .clone()
            .map(|files| ServerTls::load(files).map(Arc::new));
        let tls = tls
            .transpose()
            .map_err(|error| refused(format!("TLS: {error}")))?;
        Ok(Self {
            tls,
            port: open.first().map_or(0, |open: &Open| open.address.port()),
            open,
            sockets,
        })
    }

    /// Opens them: those of Redis clients, and those of HTTP.
    ///
    /// # Errors
    ///
    /// Another process was faster.
    pub fn open(&mut self, reuse_port: bool) -> Result<(Doors, Doors), Failure> {
        let (mut resp, mut resp_tls, mut http, mut http_tls) = (None, None, None, None);
        for (door, socket) in self.sockets.drain(..) {
            let listener = listen(door.variable, &door.address, reuse_port, socket)?;
            let place = match (door.protocol, door.is_tls) {
                (Protocol::Resp, false) => &mut resp,
                (Protocol::Resp, true) => &mut resp_tls,
                (Protocol::Http, false) => &mut http,
                (Protocol::Http, true) => &mut http_tls,
            };
            *place = Some(listener);
        }
        let doors = |plain, secured: Option<TcpListener>| Doors {
            plain,
            tls: secured.zip(self.tls.clone()),
        };
        Ok((doors(resp, resp_tls), doors(http, http_tls)))
    }

    /// What to log when they are served.
    pub fn listening(&self) -> Vec<String> {
        let open = self.open.iter();
        open.map(|Open { name, address, .. }| format!("{name} listening on {address}"))
            .collect()
    }
}
