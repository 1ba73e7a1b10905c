//! COMMAND: what the server says of its commands, from their table.

use bytes::Bytes;

use super::spec_of;
use crate::command::control::{CommandFilter, Introspect};
use crate::command::glob;
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
                .map(|name| find(name).map_or(Reply::NullArray, described))
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
    let (first, last, step) = spec.keys;
    if first == 0 {
        return error("The command has no key arguments");
    }
    if !spec.accepts(words.len()) {
        return error("Invalid number of arguments specified for command");
    }
    let last = if last < 0 {
        words.len() as i32 + last
    } else {
        last
    };
    let positions = (first..=last).step_by(step.max(1).unsigned_abs() as usize);
    let keys = positions.filter_map(|position| {
        let position = usize::try_from(position).ok()?;
        Some((position, words.get(position)?.clone()))
    });
    Ok((spec, keys.collect()))
}

/// What a command does with the key at a position, in Redis' words.
fn key_flags(spec: &Spec, position: usize, words: &[Bytes]) -> &'static [&'static str] {
    const READ: &[&str] = &["RO", "access"];
    const LOOK: &[&str] = &["RO"];
    const STORE: &[&str] = &["OW", "update"];
    const CHANGE: &[&str] = &["RW", "access", "update"];
    const TOUCH: &[&str] = &["RW", "update"];
    const REMOVE: &[&str] = &["RM", "delete"];
    let is_first = position == usize::try_from(spec.keys.0).unwrap_or(1);
    let has_get = || {
        words
            .iter()
            .skip(3)
            .any(|word| word.eq_ignore_ascii_case(b"get"))
    };
    match spec.name {
        "set" if has_get() => CHANGE,
        "set" | "mset" | "setex" | "psetex" | "restore" => STORE,
        "setnx" | "msetnx" => &["OW", "insert"],
        "del" | "unlink" => REMOVE,
        "getdel" => &["RW", "access", "delete"],
        "rename" | "renamenx" if is_first => &["RW", "access", "delete"],
        "rename" => STORE,
        "renamenx" => &["OW", "insert"],
        "copy" if is_first => READ,
        "bitop" if !is_first => READ,
        "copy" | "bitop" => STORE,
        "append" => &["RW", "insert"],
        "exists" | "ttl" | "pttl" | "expiretime" | "pexpiretime" | "type" | "touch" | "strlen"
        | "object" | "memory" | "watch" => LOOK,
        "expire" | "pexpire" | "expireat" | "pexpireat" | "persist" | "setrange" => TOUCH,
        _ if spec.flags.contains(&"write") => CHANGE,
        _ if spec.flags.contains(&"readonly") => READ,
        _ => &["not_key"],
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
pub(super) fn categories(spec: &Spec) -> Vec<&'static str> {
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
        "connection" if spec.name != "client" => categories.push("@connection"),
        "bitmap" => categories.push("@bitmap"),
        "transactions" => categories.push("@transaction"),
        "pubsub" if spec.name != "pubsub" => categories.push("@pubsub"),
        _ => {}
    }
    if has("admin") || matches!(spec.name, "role" | "lastsave") {
        categories.extend(["@admin", "@dangerous"]);
    }
    if matches!(
        spec.name,
        "info" | "keys" | "flushall" | "flushdb" | "restore"
    ) {
        categories.push("@dangerous");
    }
    if matches!(spec.name, "readonly" | "readwrite" | "wait" | "command") {
        categories.push("@connection");
    }
    categories.push(if has("fast") { "@fast" } else { "@slow" });
    categories
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
