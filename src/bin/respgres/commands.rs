//! The command line: the commands, and what each takes.

use clap::Command;
use respgres::config::with_flags;

use crate::{check, pages, serve, shard, transfer};

/// The whole command line. Without a command it serves: the flags of `serve` are also the program's.
pub fn command() -> Command {
    with_flags(
        Command::new("respgres")
            .version(env!("CARGO_PKG_VERSION"))
            .about(env!("CARGO_PKG_DESCRIPTION"))
            .after_help(
                "Without a command it serves. `respgres serve --help` has the flags and variables.",
            )
            .args_conflicts_with_subcommands(true)
            .subcommand_value_name("COMMAND")
            .override_usage("respgres [FLAGS]\n       respgres COMMAND …"),
    )
    .subcommand(serve::command())
    .subcommand(check::command())
    .subcommand(shard::command())
    .subcommand(transfer::import_command())
    .subcommand(transfer::export_command())
    .subcommand(pages::completions_command())
    .subcommand(pages::man_command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn flags_come_without_a_command_or_after_serve() {
        let args = |args: &[&str]| {
            let args = std::iter::once(&"respgres").chain(args);
            command().try_get_matches_from(args)
        };
        let plain = args(&["--num-shards", "5"]).unwrap();
        assert!(plain.subcommand().is_none());
        assert_eq!(plain.get_one::<String>("num-shards").unwrap(), "5");
        let serve = args(&["serve", "--num-shards", "5"]).unwrap();
        let (name, serve) = serve.subcommand().unwrap();
        assert_eq!(name, serve::NAME);
        assert_eq!(serve.get_one::<String>("num-shards").unwrap(), "5");
        for wrong in [
            &["--num-shards", "5", "serve"][..],
            &["nonsense"],
            &["serve", "--nonsense"],
        ] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_short_help_lists_commands_and_the_long_one_flags_too() {
        let short = command().render_help().to_string();
        assert!(short.contains("  serve"), "{short}");
        assert!(short.contains("respgres serve --help"), "{short}");
        assert!(!short.contains("NUM_SHARDS"), "{short}");
        let long = command().render_long_help().to_string();
        assert!(long.contains("NUM_SHARDS"), "{long}");
    }
}
