//! The ACL categories of Redis.

use super::subcommands::is_container;
use super::table::Spec;

/// The categories of Redis 7, in its order.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The categories of a command, which follow from its flags and its group, in Redis' order; each with an @.
pub fn categories(spec: &Spec) -> Vec<&'static str> {
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
