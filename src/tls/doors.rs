//! A port in the clear, one that speaks TLS, or both beside each other, as `port` and `tls-port` of Redis.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::server::ServerTls;

/// Where clients of one protocol come in.
#[derive(Debug, Default)]
pub struct Doors {
    /// In the clear.
    pub plain: Option<TcpListener>,
    /// With TLS.
    pub tls: Option<(TcpListener, Arc<ServerTls>)>,
}

/// Somebody at one of them. Nothing was read yet.
#[derive(Debug)]
pub enum Knock {
    /// In the clear.
    Plain(TcpStream),
    /// A handshake is to come first.
    Tls(TcpStream, Arc<ServerTls>),
}

impl Doors {
    /// Waits for the next one. Never waits for a client.
    ///
    /// # Errors
    ///
    /// Those of `accept`.
    pub async fn accept(&self) -> io::Result<(Knock, SocketAddr)> {
        let plain = async {
            match &self.plain {
                Some(listener) => listener.accept().await,
                None => pending().await,
            }
        };
        let tls = async {
            match &self.tls {
                Some((listener, tls)) => listener
                    .accept()
                    .await
                    .map(|(stream, address)| (stream, address, tls)),
                None => pending().await,
            }
        };
        tokio::select! {
            accepted = plain => accepted.map(|(stream, address)| (Knock::Plain(stream), address)),
            accepted = tls => accepted.map(|(stream, address, tls)| (Knock::Tls(stream, Arc::clone(tls)), address)),
        }
    }

    /// Closes the doors; returns who had connected before: closing would reset those connections.
    pub fn rest(self) -> Vec<(Knock, SocketAddr)> {
        let (secured, tls) = self.tls.unzip();
        let plain = self.plain.into_iter().flat_map(rest_of);
        let plain = plain.map(|(stream, address)| (Knock::Plain(stream), address));
        let secured = secured
            .into_iter()
            .flat_map(rest_of)
            .zip(tls.into_iter().cycle());
        let secured = secured.map(|((stream, address), tls)| (Knock::Tls(stream, tls), address));
        plain.chain(secured).collect()
    }

    /// The doors on the runtime of the caller, from that on which they were made.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn moved_here(self) -> io::Result<Self> {
        let here = |listener: TcpListener| TcpListener::from_std(listener.into_std()?);
        let tls = self
            .tls
            .map(|(listener, tls)| here(listener).map(|listener| (listener, tls)));
        Ok(Self {
            plain: self.plain.map(here).transpose()?,
            tls: tls.transpose()?,
        })
    }
}

impl Knock {
    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        match self {
            Knock::Plain(stream) | Knock::Tls(stream, _) => stream,
        }
    }

    /// The same on the runtime of the caller, from that of the listener.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn moved_here(self) -> io::Result<Self> {
        let here = |stream: TcpStream| TcpStream::from_std(stream.into_std()?);
        Ok(match self {
            Knock::Plain(stream) => Knock::Plain(here(stream)?),
            Knock::Tls(stream, tls) => Knock::Tls(here(stream)?, tls),
        })
    }
}

fn rest_of(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    // The queue itself is asked, not what is known of it.
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    let mut accepted = Vec::new();
    while let Ok((stream, address)) = listener.accept() {
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        accepted.extend(stream.map(|stream| (stream, address)));
    }
    accepted
}
