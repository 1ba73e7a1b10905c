//! Taking the ports.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::failure::{Failure, refused};

/// Connections that may wait to be accepted; the kernel has a bound of its own, `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Listens on `address`, which `variable` names. With `reuse_port` another process of this user may listen there, too,
/// if it says so as well.
///
/// # Errors
///
/// The address can't be resolved, or the port is taken.
pub async fn listen(
    variable: &str,
    address: &str,
    reuse_port: bool,
) -> Result<TcpListener, Failure> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse if reuse_port => {
                "; REUSE_PORT=on helps only if the process that has the port says so, too"
            }
            _ => "",
        };
        refused(format!(
            "{variable}: can't listen on {address}: {error}{hint}"
        ))
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host(address).await.map_err(failed)? {
        match bind(candidate, reuse_port) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A port whose last connections are in TIME_WAIT is free.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
