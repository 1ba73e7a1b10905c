//! Free TCP ports for servers that can't be asked to choose one themselves.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system takes the ports of outgoing connections, so that a server which is stopped
/// and started again finds its port still free.
const FIRST: u16 = 15_000;
const LAST: u16 = 31_000;

/// A port on which nothing listens now. Another process may take it first: whoever uses it tries again with another.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 997).expect("below 997") * 16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step) % (LAST - FIRST));
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
}
