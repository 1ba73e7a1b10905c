//! Taking the ports.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::failure::{Failure, refused};

/// Connections that may wait to be accepted; the kernel has a bound of its own, `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Takes `address`, which `variable` names, without listening yet: nobody can connect, and another process that has the
/// port too gets all connections. With `reuse_port` another process of this user may have it, if it says so as well.
///
/// # Errors
///
/// The address can't be resolved, or the port is taken.
pub async fn bind(variable: &str, address: &str, reuse_port: bool) -> Result<TcpSocket, Failure> {
    let failed = |error: io::Error| not_listening(variable, address, &error, reuse_port);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host(address).await.map_err(failed)? {
        match take(candidate, reuse_port) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Lets clients connect.
///
/// # Errors
///
/// Another process was faster.
pub fn listen(
    variable: &str,
    address: &str,
    reuse_port: bool,
    socket: TcpSocket,
) -> Result<TcpListener, Failure> {
    let listener = socket.listen(BACKLOG);
    listener.map_err(|error| not_listening(variable, address, &error, reuse_port))
}

fn not_listening(variable: &str, address: &str, error: &io::Error, reuse_port: bool) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse if reuse_port => {
            "; REUSE_PORT=on helps only if the process that has the port says so, too"
        }
        _ => "",
    };
    refused(format!(
        "{variable}: can't listen on {address}: {error}{hint}"
    ))
}

fn take(address: SocketAddr, reuse_port: bool) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A port whose last connections are in TIME_WAIT is free.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    Ok(socket)
}
