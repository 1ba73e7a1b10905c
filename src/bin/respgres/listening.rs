//! Whether a port that anybody can reach asks who it is.

use std::net::SocketAddr;

use crate::failure::{Failure, refused};
use crate::ports::{Ports, Protocol};

/// Whether nobody gets in without a password or a token.
#[derive(Debug, Clone, Copy)]
pub struct Asks {
    /// On the ports of Redis clients.
    pub resp: bool,
    /// On those of HTTP.
    pub http: bool,
}

/// A port that is listened on.
struct Port {
    /// The variable that names it.
    variable: &'static str,
    /// Where it is: what the name in the variable led to.
    address: SocketAddr,
    asks: bool,
    /// What makes it ask.
    remedy: &'static str,
}

/// Looks at all ports; returns for which protocols it must stay so that nobody gets in just so.
///
/// # Errors
///
/// One can be reached from other machines and asks for nothing, and nobody said that this is meant.
pub fn check(ports: &Ports, asks: Asks, is_meant: bool) -> Result<Asks, Failure> {
    let all = &ports.open;
    let ports: Vec<Port> = all
        .iter()
        .map(|open| {
            let (asks, remedy) = match open.protocol {
                Protocol::Resp => (
                    asks.resp,
                    "PASSWORD, or USERS_FILE without a user that is `on nopass`",
                ),
                Protocol::Http => (asks.http, "HTTP_TOKEN"),
            };
            Port {
                variable: open.variable,
                address: open.address,
                // Who has a certificate was let in by its authority.
                asks: asks || open.needs_certificate,
                remedy,
            }
        })
        .collect();
    let is_open = |port: &&Port| !port.asks && is_reachable(port.address);
    let open: Vec<&Port> = ports.iter().filter(is_open).collect();
    if is_meant {
        for port in open {
            tracing::warn!(
                "{}: {} can be reached from other machines and asks for no password, as LISTEN_WITHOUT_AUTHENTICATION allows",
                port.variable,
                port.address
            );
        }
        return Ok(Asks {
            resp: false,
            http: false,
        });
    }
    if open.is_empty() {
        let must_ask = |protocol: Protocol| {
            all.iter().any(|open| {
                open.protocol == protocol && !open.needs_certificate && is_reachable(open.address)
            })
        };
        return Ok(Asks {
            resp: must_ask(Protocol::Resp),
            http: must_ask(Protocol::Http),
        });
    }
    let problems = open.iter().map(|port| {
        format!(
            "{}: {} can be reached from other machines, and whoever does may read and change everything; set {}",
            port.variable, port.address, port.remedy
        )
    });
    let mut text = problems.collect::<Vec<_>>().join("\n");
    text.push_str(
        "\nIf only those who may do all can reach it, as behind a firewall or in a container whose ports are published on \
         127.0.0.1, say so: LISTEN_WITHOUT_AUTHENTICATION=i-know-that-anyone-can-connect",
    );
    Err(refused(text))
}

/// Whether other machines can reach it.
fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}
