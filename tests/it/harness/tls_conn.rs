//! A client's connection with TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certificates::{Authority, Issued};
use super::wait::DEADLINE;

/// A connection that has been agreed on.
pub struct TlsConn {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsConn {
    /// Connects to `localhost` at `addr`, trusting an authority and showing a certificate.
    ///
    /// # Errors
    ///
    /// The handshake fails. With TLS 1.3, a client's certificate is refused only after it.
    pub fn open(addr: &str, authority: &Authority, shows: Option<&Issued>) -> io::Result<TlsConn> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
        roots.add(root).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
                let chain: Result<Vec<_>, _> = chain.collect();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
                let config = builder.with_client_auth_cert(chain.expect("PEM"), key);
                config.expect("a certificate and its key")
            }
        };
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(config.into(), name).map_err(io::Error::other)?;
        let socket = TcpStream::connect(addr)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let mut stream = StreamOwned::new(session, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(TlsConn { stream })
    }

    /// The certificate that the server showed, in PEM's base64 without its lines.
    pub fn shown(&self) -> Vec<u8> {
        self.stream
            .conn
            .peer_certificates()
            .expect("it showed some")[0]
            .to_vec()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads so many bytes.
    pub fn read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits until there is something to read, and leaves it there.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.stream.sock.peek(&mut [0]).map(|_| ())
    }

    /// Sends PING, and whether it is answered.
    pub fn is_served(&mut self) -> bool {
        self.send(b"PING\r\n").is_ok() && self.read(7).is_ok_and(|reply| reply == b"+PONG\r\n")
    }
}

impl Issued {
    /// The certificate as [`TlsConn::shown`] has it.
    pub fn der(&self) -> Vec<u8> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        der.expect("PEM").to_vec()
    }
}
