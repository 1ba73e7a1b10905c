//! COMMAND and CONFIG GET: what the server says of itself, from its tables.

use super::Settings;
use super::session::help;
use crate::command::control::Introspect;
use crate::command::glob;
use crate::command::table::{COMMANDS, Spec, find};
use crate::resp::Reply;

/// COMMAND and its subcommands. <https://redis.io/docs/latest/commands/command/>
pub(super) fn command(introspect: Introspect) -> Reply {
    match introspect {
        Introspect::All => Reply::Array(COMMANDS.iter().map(described).collect()),
        Introspect::Count => Reply::Integer(COMMANDS.len() as i64),
        Introspect::List => {
            Reply::Array(COMMANDS.iter().map(|spec| Reply::text(spec.name)).collect())
        }
        Introspect::Info(names) if names.is_empty() => command(Introspect::All),
        Introspect::Info(names) => Reply::Array(
            names
                .iter()
                .map(|name| find(name).map_or(Reply::Null, described))
                .collect(),
        ),
        Introspect::Docs(names) if names.is_empty() => {
            Reply::Map(COMMANDS.iter().map(documented).collect())
        }
        Introspect::Docs(names) => Reply::Map(
            names
                .iter()
                .filter_map(|name| find(name))
                .map(documented)
                .collect(),
        ),
        Introspect::Help => help(&[
            "COMMAND [<subcommand> [<arg> [value] [opt] ...]]. Subcommands are:",
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "LIST",
            "    Return a list of all commands in this server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "HELP",
            "    Print this help.",
        ]),
    }
}

fn described(spec: &Spec) -> Reply {
    let (first, last, step) = spec.keys;
    let statuses = |words: &[&'static str]| words.iter().map(|word| Reply::Status(word)).collect();
    Reply::Array(vec![
        Reply::text(spec.name),
        Reply::Integer(spec.arity.into()),
        Reply::Set(statuses(spec.flags)),
        Reply::Integer(first.into()),
        Reply::Integer(last.into()),
        Reply::Integer(step.into()),
        Reply::Set(statuses(&categories(spec))),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
    ])
}

/// The ACL categories, which follow from flags and group.
fn categories(spec: &Spec) -> Vec<&'static str> {
    let has = |flag| spec.flags.contains(&flag);
    let mut categories = Vec::new();
    if has("write") {
        categories.push("@write");
    }
    if has("readonly") {
        categories.push("@read");
    }
    match spec.group {
        "string" => categories.push("@string"),
        "generic" => categories.push("@keyspace"),
        "connection" => categories.push("@connection"),
        _ => {}
    }
    if has("admin") {
        categories.extend(["@admin", "@dangerous"]);
    }
    categories.push(if has("fast") { "@fast" } else { "@slow" });
    categories
}

fn documented(spec: &Spec) -> (Reply, Reply) {
    let field = |name: &str, value: &str| (Reply::text(name), Reply::text(value));
    let fields = vec![
        field("summary", spec.summary),
        field("since", spec.since),
        field("group", spec.group),
    ];
    (Reply::text(spec.name), Reply::Map(fields))
}

/// CONFIG GET: what clients and redis-benchmark ask for, answered by what is true here. Every
/// write is on disk when it is acknowledged, which is an append-only file's strongest setting.
pub(super) fn config_get(settings: &Settings, patterns: &[bytes::Bytes]) -> Reply {
    let parameters = [
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", settings.clients_max.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", settings.port.to_string()),
        ("proto-max-bulk-len", settings.value_max.to_string()),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ];
    Reply::Map(
        parameters
            .into_iter()
            .filter(|(name, _)| {
                patterns
                    .iter()
                    .any(|pattern| glob::matches(pattern, name.as_bytes(), true))
            })
            .map(|(name, value)| (Reply::text(name), Reply::text(value)))
            .collect(),
    )
}
