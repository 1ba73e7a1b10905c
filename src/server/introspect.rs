//! COMMAND: what the server says of its commands, from their table.

use bytes::Bytes;

use super::spec_of;
use crate::command::Command;
use crate::command::categories::categories;
use crate::command::control::{CommandFilter, Introspect};
use crate::command::glob;
use crate::command::keyed::{self, key_flags, with_key};
use crate::command::subcommands::is_container;
use crate::command::syntax::arguments;
use crate::command::table::{COMMANDS, Spec, find};
use crate::resp::Reply;

/// COMMAND and its subcommands. <https://redis.io/docs/latest/commands/command/>
pub(super) fn command(introspect: Introspect) -> Reply {
    match introspect {
        Introspect::All => Reply::Array(COMMANDS.iter().map(described).collect()),
        Introspect::Count => Reply::Integer(COMMANDS.len() as i64),
        Introspect::List(filter) => {
            let listed = COMMANDS.iter().filter(|spec| is_listed(&filter, spec));
            Reply::Array(listed.map(|spec| Reply::text(spec.name)).collect())
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
        Introspect::GetKeys(words) => match keys(&words) {
            Ok((_, keys)) => {
                let keys = keys.into_iter().map(|(_, key)| Reply::Bulk(key));
                Reply::Array(keys.collect())
            }
            Err(error) => error,
        },
        Introspect::GetKeysAndFlags(words) => match keys(&words) {
            Ok((spec, keys)) => {
                let keys = keys.into_iter().map(|(position, key)| {
                    let flags = key_flags(spec, position, &words);
                    let flags = flags.iter().map(|flag| Reply::Status(flag)).collect();
                    Reply::Array(vec![Reply::Bulk(key), Reply::Set(flags)])
                });
                Reply::Array(keys.collect())
            }
            Err(error) => error,
        },
    }
}

fn is_listed(filter: &CommandFilter, spec: &Spec) -> bool {
    match filter {
        CommandFilter::All => true,
        CommandFilter::Module => false,
        CommandFilter::Category(wanted) => categories(spec)
            .iter()
            .any(|category| wanted.eq_ignore_ascii_case(&category.as_bytes()[1..])),
        CommandFilter::Pattern(pattern) => glob::matches(pattern, spec.name.as_bytes(), true),
    }
}

/// A key of a request, with its position among the words.
type PlacedKey = (usize, Bytes);

/// The command of a request, and its keys.
fn keys(words: &[Bytes]) -> Result<(&'static Spec, Vec<PlacedKey>), Reply> {
    let error = |text: &str| Err(Reply::Error(format!("ERR {text}")));
    let Some(spec) = spec_of(words) else {
        return error("Invalid command specified");
    };
    if is_container(spec.name) && !has_subcommand(words) {
        return error("Invalid command specified");
    }
    if keyed::key_range(spec, words).is_none() {
        return error("The command has no key arguments");
    }
    let is_accepted = match with_key(words) {
        Some(takes_more) => words.len() == 3 || (takes_more && words.len() > 3),
        None => spec.accepts(words.len()),
    };
    if !is_accepted {
        return error("Invalid number of arguments specified for command");
    }
    let keys = keyed::keys(spec, words).map(|(position, key)| (position, key.clone()));
    Ok((spec, keys.collect()))
}

/// Whether the subcommand is one that the container knows.
fn has_subcommand(words: &[Bytes]) -> bool {
    match Command::parse(words, 0) {
        Ok(_) => true,
        Err(rejection) => !rejection.text.starts_with("ERR unknown subcommand '"),
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
        // Tips, specifications of keys, and subcommands.
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
    ])
}

fn documented(spec: &Spec) -> (Reply, Reply) {
    let field = |name: &str, value: &str| (Reply::text(name), Reply::text(value));
    let mut fields = vec![
        field("summary", spec.summary),
        field("since", spec.since),
        field("group", spec.group),
        field("complexity", complexity(spec)),
    ];
    // Each as a string whose name is what people are to see.
    let arguments = arguments(spec.name).into_iter().map(|argument| {
        let mut described = vec![field("name", argument.text), field("type", "string")];
        if argument.is_optional {
            let flags = Reply::Array(vec![Reply::Status("optional")]);
            described.push((Reply::text("flags"), flags));
        }
        Reply::Map(described)
    });
    let arguments: Vec<Reply> = arguments.collect();
    if !arguments.is_empty() {
        fields.push((Reply::text("arguments"), Reply::Array(arguments)));
    }
    (Reply::text(spec.name), Reply::Map(fields))
}

fn complexity(spec: &Spec) -> &'static str {
    match spec.name {
        "acl" | "client" | "cluster" | "config" | "debug" | "latency" | "memory" | "module"
        | "object" | "proxy" | "pubsub" | "slowlog" => "Depends on subcommand.",
        "keys" | "scan" | "flushall" | "flushdb" | "dbsize" | "randomkey" => {
            "O(N) where N is the number of keys in the shards"
        }
        "publish" | "spublish" => "O(N) where N is the number of subscribers",
        "subscribe" | "psubscribe" | "ssubscribe" | "unsubscribe" | "punsubscribe"
        | "sunsubscribe" => "O(N) where N is the number of channels",
        _ if spec.keys.1 < 0 => "O(N) where N is the number of keys",
        _ => "O(1), and the size of the value",
    }
}
