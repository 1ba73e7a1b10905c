//! `respgres completions` and `respgres man`: what shells and people read, made from the command line itself.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::{Failure, failure, refused};
use crate::printing::print;

pub const COMPLETIONS: &str = "completions";
pub const MAN: &str = "man";
const SHELL: &str = "SHELL";
const COMMAND: &str = "COMMAND";
const DIR: &str = "dir";

/// `respgres completions`.
pub fn completions_command() -> Command {
    Command::new(COMPLETIONS)
        .about("Print what makes a shell complete this program's commands and flags")
        .after_help("For bash: respgres completions bash > /etc/bash_completion.d/respgres")
        .arg(
            Arg::new(SHELL)
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("For which shell"),
        )
}

/// `respgres man`.
pub fn man_command() -> Command {
    Command::new(MAN)
        .about("Print a page of the manual")
        .after_help("To read it: respgres man | man -l -")
        .arg(
            Arg::new(COMMAND)
                .conflicts_with(DIR)
                .help("The page of this command; without one, the page of the program"),
        )
        .arg(
            Arg::new(DIR)
                .long(DIR)
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Write all pages into this directory instead"),
        )
}

/// Prints the completions of `program`.
pub fn completions(matches: &ArgMatches, mut program: Command) -> Result<(), Failure> {
    let Some(shell) = matches.get_one::<Shell>(SHELL) else {
        return Ok(());
    };
    let mut text = Vec::new();
    clap_complete::generate(*shell, &mut program, "respgres", &mut text);
    print(&text)
}

/// Prints, or writes, the manual of `program`.
pub fn man(matches: &ArgMatches, mut program: Command) -> Result<(), Failure> {
    program.build();
    if let Some(dir) = matches.get_one::<PathBuf>(DIR) {
        return write_all(&program, dir);
    }
    match matches.get_one::<String>(COMMAND) {
        None => print(&page(&program)?),
        Some(name) => {
            let command = program
                .find_subcommand(name)
                .filter(|command| command.get_name() != "help")
                .ok_or_else(|| {
                    refused(format!(
                        "there is no command `{name}`; `respgres --help` lists them"
                    ))
                })?;
            print(&page(command)?)
        }
    }
}

fn write_all(program: &Command, dir: &Path) -> Result<(), Failure> {
    let commands = program
        .get_subcommands()
        .filter(|command| command.get_name() != "help");
    for command in std::iter::once(program).chain(commands) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?)
            .map_err(|error| failure(format!("can't write {}: {error}", path.display())))?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .title(name)
        .source(format!("respgres {}", env!("CARGO_PKG_VERSION")))
        .manual("respgres");
    let mut text = Vec::new();
    man.render(&mut text)
        .map_err(|error| failure(format!("can't make the page: {error}")))?;
    Ok(text)
}
