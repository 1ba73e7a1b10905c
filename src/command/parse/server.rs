//! Commands on the server.

use bytes::Bytes;

use super::{Parsed, subcommand, syntax_error, unknown_subcommand};
use crate::command::control::{Control, Introspect};
use crate::command::{Command, wrong_arity};

pub(in crate::command) fn command(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let introspect = match (name.as_str(), rest) {
        ("", []) if operands.is_empty() => Introspect::All,
        ("count", []) => Introspect::Count,
        ("list", []) => Introspect::List,
        ("help", []) => Introspect::Help,
        ("info", names) => Introspect::Info(names.to_vec()),
        ("docs", names) => Introspect::Docs(names.to_vec()),
        ("list", _) => return syntax_error(),
        ("count" | "help", _) => return Err(wrong_arity(&format!("command|{name}"))),
        _ => return unknown_subcommand("COMMAND", operands.first().map_or(&b""[..], |name| name)),
    };
    Ok(Command::Control(Control::Introspect(introspect)))
}

pub(in crate::command) fn info(operands: &[Bytes]) -> Parsed {
    Ok(Command::Control(Control::Info(operands.to_vec())))
}

pub(in crate::command) fn config(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    match (name.as_str(), rest) {
        ("get", [_, ..]) => Ok(Command::Control(Control::ConfigGet(rest.to_vec()))),
        ("get", []) => Err(wrong_arity("config|get")),
        _ => unknown_subcommand("CONFIG", operands.first().map_or(&b""[..], |name| name)),
    }
}
