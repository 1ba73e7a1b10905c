//! COMMAND: what the server says of its commands, from their table.

use bytes::Bytes;

use super::control::is_container;
use super::spec_of;
use crate::command::Command;
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
    let (first, last, step) = match with_key(words) {
        Some(_) => (2, 2, 1),
        // Shard channels, which are where keys are, but no keys.
        None if spec.group == "pubsub" => (0, 0, 0),
        None => spec.keys,
    };
    if first == 0 {
        return error("The command has no key arguments");
    }
    let is_accepted = match with_key(words) {
        Some(takes_more) => words.len() == 3 || (takes_more && words.len() > 3),
        None => spec.accepts(words.len()),
    };
    if !is_accepted {
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

/// Whether the subcommand is one that the container knows.
fn has_subcommand(words: &[Bytes]) -> bool {
    match Command::parse(words, 0) {
        Ok(_) => true,
        Err(rejection) => !rejection.text.starts_with("ERR unknown subcommand '"),
    }
}

/// Subcommands that have a key behind them; and whether there may be more.
fn with_key(words: &[Bytes]) -> Option<bool> {
    const NAMES: &[(&str, &str, bool)] = &[
        ("memory", "usage", true),
        ("object", "encoding", false),
        ("object", "freq", false),
        ("object", "idletime", false),
        ("object", "refcount", false),
        ("proxy", "shard", false),
    ];
    let [container, subcommand, ..] = words else {
        return None;
    };
    NAMES.iter().find_map(|(first, second, takes_more)| {
        let is_it = container.eq_ignore_ascii_case(first.as_bytes())
            && subcommand.eq_ignore_ascii_case(second.as_bytes());
        is_it.then_some(*takes_more)
    })
}

/// Whether BITFIELD only reads. As Redis, which looks no further than the first mistake.
fn only_gets(words: &[Bytes]) -> bool {
    let mut rest = words.get(2..).unwrap_or_default();
    loop {
        let is = |word: &Bytes, name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        rest = match rest {
            [] => return true,
            [name, _, _, rest @ ..] if is(name, "get") => rest,
            [name, _, rest @ ..] if is(name, "overflow") => rest,
            _ => return false,
        };
    }
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
        "bitfield" if only_gets(words) => READ,
        "set" | "mset" | "setex" | "psetex" => STORE,
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
        | "object" | "memory" | "proxy" | "watch" => LOOK,
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
        // Tips, specifications of keys, and subcommands.
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
    ])
}

/// The ACL categories, which follow from flags and group, in Redis' order.
pub(super) fn categories(spec: &Spec) -> Vec<&'static str> {
    let has = |flag| spec.flags.contains(&flag);
    let is_of = |group| spec.group == group;
    let is = |names: &[&str]| names.contains(&spec.name);
    let is_container = is_container(spec.name) && spec.name != "command";
    let is_admin = has("admin") || is(&["role", "lastsave"]);
    let is_on_keys =
        (is_of("generic") && !is(&["object", "wait"])) || is(&["dbsize", "flushall", "flushdb"]);
    let is_on_connection =
        (is_of("connection") && !is_container) || is(&["readonly", "readwrite", "wait", "command"]);
    [
        (is_on_keys, "@keyspace"),
        (has("readonly"), "@read"),
        (has("write"), "@write"),
        (is_of("string"), "@string"),
        (is_of("bitmap"), "@bitmap"),
        (is_of("pubsub") && !is_container, "@pubsub"),
        (is_admin, "@admin"),
        (has("fast"), "@fast"),
        (!has("fast"), "@slow"),
        (
            is_admin || is(&["info", "keys", "flushall", "flushdb"]),
            "@dangerous",
        ),
        (is_on_connection, "@connection"),
        (is_of("transactions"), "@transaction"),
    ]
    .into_iter()
    .filter_map(|(is_in, category)| is_in.then_some(category))
    .collect()
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
