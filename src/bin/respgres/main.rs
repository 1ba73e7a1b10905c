//! `respgres`, the program: configuration, then what was asked for.
//!
//! Only here is the environment read; everything else is the library.

mod failure;
mod listening;
mod logging;
mod serve;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use respgres::config::{Config, LoadError};

use failure::{EXIT_CONFIGURATION, Failure};

fn main() -> ExitCode {
    let environment =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = match Config::load(std::env::args_os(), environment, Path::new(".env")) {
        Ok(config) => config,
        Err(LoadError::Flags(error)) => error.exit(),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    logging::start(&config);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("can't start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(serve::serve(&config)) {
        Ok(code) => code,
        Err(Failure { text, code }) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
    };
    // Whatever is left at the deadline is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}
