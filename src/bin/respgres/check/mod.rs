//! `respgres check`: connects to everything that `serve` would, and says what is right and what is wrong. It writes nothing.

mod cache;
mod directory;
mod entrance;
mod ready;
mod report;
mod shards;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use respgres::config::{CacheTarget, Config, with_flags};
use respgres::tls::ServerTls;
use respgres::workers::Workers;

use crate::failure::Failure;
use crate::parts;
pub use ready::ask as ask_ready;
use report::Report;

pub const NAME: &str = "check";
const READY: &str = "ready";

const ABOUT: &str = "\
Connect to everything, and tell what is right and what is wrong

To be run before `serve`, with the same configuration: while that runs, its ports and its embedded shards are taken. Nothing is \
written anywhere.

Exit code: 0 if nothing is wrong, whatever is warned of; 1 if something is; 2 if the configuration can't be read.";

/// `respgres check`, with the flags of `serve`.
pub fn command() -> Command {
    let (first, _) = ABOUT.split_once('\n').unwrap_or((ABOUT, ""));
    let ready = Arg::new(READY)
        .long(READY)
        .action(ArgAction::SetTrue)
        .help("Only ask the proxy of this configuration, which runs here, whether it is ready (/ready): ends with 0 if it is");
    with_flags(Command::new(NAME).about(first).long_about(ABOUT).arg(ready))
}

/// Whether only that is asked.
pub fn asks_ready(matches: &ArgMatches) -> bool {
    matches.get_flag(READY)
}

/// Checks. `no_color` is the variable of that name.
pub async fn check(config: &Config, no_color: Option<String>) -> Result<ExitCode, Failure> {
    let mut report = Report::new(no_color);
    let cache = match &config.cache {
        CacheTarget::Memory => "an in-process cache".to_owned(),
        CacheTarget::Redis { .. } => "a Redis".to_owned(),
    };
    let kind = if config.embedded {
        "embedded shards"
    } else {
        "shards"
    };
    report.right(
        "settings",
        &format!("can be read: {} {kind}, {cache}", config.shards.len()),
    )?;
    let asks = entrance::users(config, &mut report)?;
    entrance::ports(config, asks, &mut report).await?;
    if config.embedded {
        directory::check(&config.data_dir, &mut report)?;
    }
    if let Some(files) = &config.tls {
        // What a certificate says of its time is logged by what reads it, and nothing logs here.
        match ServerTls::load(files.clone()) {
            Ok(tls) if tls.is_valid_now() => report.right(
                "TLS_CERT_FILE",
                &format!("can be used, with its key, until {}", tls.valid_until()),
            )?,
            Ok(tls) => report.warning(
                "TLS_CERT_FILE",
                &format!(
                    "is not valid now, but until {}: clients will refuse it",
                    tls.valid_until()
                ),
            )?,
            Err(error) => report.wrong("TLS_CERT_FILE", &error.to_string())?,
        }
    }
    let workers = Workers::here();
    let metrics = parts::metrics(config, &workers);
    let settings = parts::shard_settings(config, &workers, &metrics);
    shards::check(config, &settings, &mut report).await?;
    if let CacheTarget::Redis { url, tls } = &config.cache {
        cache::check(url, tls.as_ref(), config, &mut report).await?;
    }
    Ok(match report.end()? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
