//! Programs that are run to their end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::guardian::Guardian;
use super::scratch::Scratch;
use super::wait::DEADLINE;

/// Each step of a program has its own limit; this is for one that hangs.
const LIMIT: Duration = DEADLINE.saturating_mul(3);

/// Runs a program, which has to end with 0 in time; returns what it printed.
#[track_caller]
pub fn run_to_end(command: &Command) -> String {
    let dir = Scratch::new("program");
    let log = dir.join("log");
    let exit = Guardian::spawn(command, &log, Signal::SIGKILL).exit_within(LIMIT);
    let printed = std::fs::read(&log).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    match exit {
        Some(0) => printed,
        Some(code) => panic!("{command:?} ended with {code}:\n{printed}"),
        None => panic!("{command:?} has not ended after {LIMIT:?}:\n{printed}"),
    }
}

/// One of the programs that `make checkers` installs.
#[track_caller]
pub fn checker(name: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let path = target
        .expect("a directory of it")
        .join("checkers/bin")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make checkers`, or `make test`, which does",
        path.display()
    );
    Command::new(path)
}
