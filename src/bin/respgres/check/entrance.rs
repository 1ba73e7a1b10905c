//! What is right and wrong with the ports, and with who gets in there.

use respgres::access::Access;
use respgres::config::Config;

use super::report::Report;
use crate::failure::Failure;
use crate::listen::bind;
use crate::listening::{self, Asks};
use crate::parts;
use crate::ports::Ports;

/// Reads the users; `None` if they can't be read.
pub fn users(config: &Config, report: &mut Report) -> Result<Option<Asks>, Failure> {
    const SUBJECT: &str = "USERS_FILE";
    let access = match Access::load(parts::users_source(config)) {
        Ok(access) => access,
        Err(error) => {
            for line in error.to_string().lines() {
                report.wrong(SUBJECT, line)?;
            }
            return Ok(None);
        }
    };
    if let Some(path) = &config.users_file {
        report.right(SUBJECT, &format!("{} can be read", path.display()))?;
    }
    Ok(Some(Asks {
        resp: !access.current().0.ask_for_no_password(),
        http: config.http_token.is_some(),
    }))
}

/// Takes each port for a moment, and looks whether it asks who it is.
pub async fn ports(
    config: &Config,
    asks: Option<Asks>,
    report: &mut Report,
) -> Result<(), Failure> {
    for (variable, address) in [
        ("RESP_ADDR", &config.resp_addr),
        ("RESP_TLS_ADDR", &config.resp_tls_addr),
        ("HTTP_ADDR", &config.http_addr),
        ("HTTP_TLS_ADDR", &config.http_tls_addr),
    ] {
        let Some(address) = address else { continue };
        match bind(variable, address, config.reuse_port).await {
            Ok(_socket) => report.right(variable, &format!("{address} is free"))?,
            Err(failure) => {
                let text = failure.text.replace(&format!("{variable}: "), "");
                report.wrong(variable, &format!("{text}; {}", advice(&text)))?;
            }
        }
        if let Some(asks) = asks {
            openness(config, variable, address, asks, report).await?;
        }
    }
    Ok(())
}

fn advice(text: &str) -> &'static str {
    if text.contains("Permission denied") {
        "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=), or take a higher one"
    } else if text.contains("in use") {
        "another process has it; if that is a respgres of this configuration, all is well"
    } else {
        "give an address of this machine, as HOST:PORT"
    }
}

/// Whether anybody can get in there, also where the port itself is taken: another one of the same address is looked at.
async fn openness(
    config: &Config,
    variable: &str,
    address: &str,
    asks: Asks,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Ok(());
    };
    let only = |of: &str| (of == variable).then(|| format!("{host}:0"));
    let mut alone = config.clone();
    alone.resp_addr = only("RESP_ADDR");
    alone.resp_tls_addr = only("RESP_TLS_ADDR");
    alone.http_addr = only("HTTP_ADDR");
    alone.http_tls_addr = only("HTTP_TLS_ADDR");
    // What is wrong with the address or the certificate has a line of its own.
    let Ok(ports) = Ports::take(&alone).await else {
        return Ok(());
    };
    let Err(failure) = listening::check(&ports, asks, false) else {
        return Ok(());
    };
    if config.listen_without_authentication {
        return report.warning(
            variable,
            &format!("{address} can be reached from other machines and asks for no password, as LISTEN_WITHOUT_AUTHENTICATION allows"),
        );
    }
    let text = failure
        .text
        .replace(&format!("{variable}: "), "")
        .replace(&format!(":{} ", ports.port), &format!(":{port} "))
        .replace('\n', ". ");
    report.wrong(variable, &text)
}
