//! `respgres`, the program: what was asked for, and the configuration for it.
//!
//! Only here is the environment read; everything else is the library.

mod check;
mod commands;
mod failure;
mod listen;
mod listening;
mod logging;
mod notify;
#[cfg(feature = "otel")]
mod otel;
mod pages;
mod parts;
mod ports;
mod printing;
mod reload;
mod serve;
mod shard;
mod transfer;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use respgres::config::{Config, LoadError};

use failure::{Failure, failure, refused};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let matches = commands::command().get_matches();
    match run(&matches) {
        Ok(code) => code,
        Err(Failure { text, code }) => {
            printing::tell(&text);
            ExitCode::from(code)
        }
    }
}

fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (name, matches) = matches.subcommand().unwrap_or((serve::NAME, matches));
    match name {
        serve::NAME => {
            let config = configuration(matches)?;
            #[cfg(feature = "otel")]
            let traces = otel::Traces::start()?;
            let log_level = logging::start(
                &config,
                #[cfg(feature = "otel")]
                traces.as_ref(),
            );
            let served = on_runtime(serve::serve(config, || configuration(matches), log_level));
            #[cfg(feature = "otel")]
            traces.into_iter().for_each(otel::Traces::finish);
            served
        }
        check::NAME => {
            let config = configuration(matches)?;
            if check::asks_ready(matches) {
                return on_runtime(check::ask_ready(&config)).map(|()| ExitCode::SUCCESS);
            }
            on_runtime(check::check(&config, variable("NO_COLOR")))
        }
        shard::NAME => shard::run(&configuration(matches)?, matches).map(|()| ExitCode::SUCCESS),
        transfer::IMPORT => on_runtime(transfer::import(matches, &variable, || own_url(matches))),
        transfer::EXPORT => on_runtime(transfer::export(matches, &variable, || own_url(matches))),
        pages::COMPLETIONS => {
            pages::completions(matches, commands::command()).map(|()| ExitCode::SUCCESS)
        }
        pages::MAN => pages::man(matches, commands::command()).map(|()| ExitCode::SUCCESS),
        other => Err(refused(format!("there is no command `{other}`"))),
    }
}

/// The configuration, by the flags in `matches`, the environment and `.env`.
fn configuration(matches: &ArgMatches) -> Result<Config, Failure> {
    Config::from_matches(matches, variable, Path::new(".env"))
        .map_err(|mistakes| refused(LoadError::Mistakes(mistakes).to_string()))
}

/// Where the respgres of this configuration listens, as another process of this machine reaches it, with its PASSWORD.
fn own_url(matches: &ArgMatches) -> Result<String, Failure> {
    let config = configuration(matches)?;
    let user = config.password.map_or_else(String::new, |password| {
        // Whatever is in it, the URL can be read.
        let bytes = password.expose().bytes();
        let text: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
        format!(":{text}@")
    });
    let Some(address) = config.resp_addr else {
        return Err(refused(
            "RESP_ADDR is off; give --to (or --from) rediss://HOST:PORT with the port of RESP_TLS_ADDR, and --to-cacert (or --from-cacert) \
             if the system does not trust its certificate".to_owned(),
        ));
    };
    match address.rsplit_once(':') {
        Some((_, "0")) => Err(refused(
            "RESP_ADDR has no fixed port; give --to (or --from) redis://HOST:PORT".to_owned(),
        )),
        Some(("0.0.0.0", port)) => Ok(format!("redis://{user}127.0.0.1:{port}")),
        Some(("[::]", port)) => Ok(format!("redis://{user}[::1]:{port}")),
        _ => Ok(format!("redis://{user}{address}")),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn on_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure(format!("can't start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    // Whatever is left at the deadline is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}
