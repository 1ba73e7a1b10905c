//! The table of commands: one row each, sorted by name. It answers COMMAND, checks the number of
//! arguments, and is held against the documentation by a test.

use bytes::Bytes;

use super::parse::{connection, keys, keyspace, pubsub, server, strings};
use super::{Command, Rejection};

/// One command.
#[derive(Debug)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// The number of words including the name; negative: at least so many.
    pub arity: i32,
    /// The flags that COMMAND INFO shows.
    pub flags: &'static [&'static str],
    /// Where keys are among the words: first, last (negative: from the end), step. All 0: none.
    pub keys: (i32, i32, i32),
    /// The group in Redis' documentation.
    pub group: &'static str,
    /// The version of Redis that brought it.
    pub since: &'static str,
    /// One sentence.
    pub summary: &'static str,
    pub(super) parse: fn(&[Bytes]) -> Result<Command, Rejection>,
}

impl Spec {
    /// Whether `words`, the name included, is a right number.
    pub fn accepts(&self, words: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 {
            words >= least
        } else {
            words == least
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one argument a column; a struct literal for each row would take eight lines"
)]
const fn row(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    keys: (i32, i32, i32),
    group: &'static str,
    since: &'static str,
    summary: &'static str,
    parse: fn(&[Bytes]) -> Result<Command, Rejection>,
) -> Spec {
    Spec {
        name,
        arity,
        flags,
        keys,
        group,
        since,
        summary,
        parse,
    }
}

const NONE: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

const READ_FAST: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const STORE: &[&str] = &["write", "denyoom"];
const SESSION_OPEN: &[&str] = &[
    "noscript",
    "loading",
    "stale",
    "fast",
    "no_auth",
    "allow_busy",
];
const SERVER: &[&str] = &["loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const SERVER_FAST: &[&str] = &["loading", "stale", "fast"];
const ROLE: &[&str] = &["noscript", "loading", "stale", "fast"];
const WAIT: &[&str] = &["noscript"];
const PUBLISH: &[&str] = &["pubsub", "loading", "stale", "fast"];
const SUBSCRIBE: &[&str] = &["pubsub", "noscript", "loading", "stale"];

/// Every command that is served.
#[rustfmt::skip]
pub const COMMANDS: &[Spec] = &[
    row("acl", -2, &[], NONE, "server", "6.0.0", "A container for Access List Control commands.", server::acl),
    row("auth", -2, SESSION_OPEN, NONE, "connection", "1.0.0", "Authenticates the connection.", connection::auth),
    row("client", -2, &[], NONE, "connection", "2.4.0", "A container for client connection commands.", connection::client),
    row("cluster", -2, &[], NONE, "cluster", "3.0.0", "A container for Redis Cluster commands.", server::cluster),
    row("command", -1, SERVER, NONE, "server", "2.8.13", "Returns detailed information about all commands.", server::command),
    row("config", -2, &[], NONE, "server", "2.0.0", "A container for server configuration commands.", server::config),
    row("dbsize", 1, READ_FAST, NONE, "server", "1.0.0", "Returns the number of keys in the database.", keyspace::dbsize),
    row("debug", -2, ADMIN, NONE, "server", "1.0.0", "A container for debugging commands.", server::debug),
    row("del", -2, WRITE, ALL, "generic", "1.0.0", "Deletes one or more keys.", keys::delete),
    row("echo", 2, &["loading", "stale", "fast"], NONE, "connection", "1.0.0", "Returns the given string.", connection::echo),
    row("exists", -2, READ_FAST, ALL, "generic", "1.0.0", "Determines whether one or more keys exist.", keys::exists),
    row("expire", -3, WRITE_FAST, ONE, "generic", "1.0.0", "Sets the expiration time of a key in seconds.", keys::expire),
    row("flushall", -1, WRITE, NONE, "server", "1.0.0", "Removes all keys from all databases.", keyspace::flush),
    row("flushdb", -1, WRITE, NONE, "server", "1.0.0", "Removes all keys from the current database.", keyspace::flush),
    row("get", 2, READ_FAST, ONE, "string", "1.0.0", "Returns the string value of a key.", strings::get),
    row("hello", -1, SESSION_OPEN, NONE, "connection", "6.0.0", "Handshakes with the server.", connection::hello),
    row("info", -1, SERVER, NONE, "server", "1.0.0", "Returns information and statistics about the server.", server::info),
    row("lastsave", 1, SERVER_FAST, NONE, "server", "1.0.0", "Returns the Unix timestamp of the last successful save to disk.", server::lastsave),
    row("latency", -2, &[], NONE, "server", "2.8.13", "A container for latency diagnostics commands.", server::latency),
    row("memory", -2, &[], NONE, "server", "4.0.0", "A container for memory diagnostics commands.", server::memory),
    row("mget", -2, READ_FAST, ALL, "string", "1.0.0", "Returns the string values of one or more keys.", strings::mget),
    row("module", -2, &[], NONE, "server", "4.0.0", "A container for module commands.", server::module),
    row("monitor", 1, ADMIN, NONE, "server", "1.0.0", "Listens for all requests received by the server in real time.", server::monitor),
    row("mset", -3, STORE, PAIRS, "string", "1.0.1", "Sets the string values of one or more keys.", strings::mset),
    row("persist", 2, WRITE_FAST, ONE, "generic", "2.2.0", "Removes the expiration time of a key.", keys::persist),
    row("ping", -1, &["fast"], NONE, "connection", "1.0.0", "Returns the server's liveliness response.", connection::ping),
    row("proxy", -2, SERVER, NONE, "server", "7.0.0", "A container for commands about the shards behind the proxy.", server::proxy),
    row("psetex", 4, STORE, ONE, "string", "2.6.0", "Sets both string value and expiration time in milliseconds of a key.", strings::psetex),
    row("psubscribe", -2, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Listens for messages published to channels that match one or more patterns.", pubsub::psubscribe),
    row("pttl", 2, READ_FAST, ONE, "generic", "2.6.0", "Returns the expiration time in milliseconds of a key.", keys::pttl),
    row("publish", 3, PUBLISH, NONE, "pubsub", "2.0.0", "Posts a message to a channel.", pubsub::publish),
    row("pubsub", -2, &[], NONE, "pubsub", "2.8.0", "A container for Pub/Sub commands.", pubsub::pubsub),
    row("punsubscribe", -1, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Stops listening to messages published to channels that match one or more patterns.", pubsub::punsubscribe),
    row("quit", -1, SESSION_OPEN, NONE, "connection", "1.0.0", "Closes the connection.", connection::quit),
    row("readonly", 1, SERVER_FAST, NONE, "cluster", "3.0.0", "Enables read-only queries for a connection to a Redis Cluster replica node.", server::readonly),
    row("readwrite", 1, SERVER_FAST, NONE, "cluster", "3.0.0", "Enables read-write queries for a connection to a Redis Cluster replica node.", server::readwrite),
    row("reset", 1, SESSION_OPEN, NONE, "connection", "6.2.0", "Resets the connection.", connection::reset),
    row("role", 1, ROLE, NONE, "server", "2.8.12", "Returns the replication role.", server::role),
    row("select", 2, &["loading", "stale", "fast"], NONE, "connection", "1.0.0", "Changes the selected database.", connection::select),
    row("set", -3, STORE, ONE, "string", "1.0.0", "Sets the string value of a key, ignoring its type.", strings::set),
    row("setex", 4, STORE, ONE, "string", "2.0.0", "Sets the string value and expiration time of a key.", strings::setex),
    row("slowlog", -2, &[], NONE, "server", "2.2.12", "A container for slow log commands.", server::slowlog),
    row("spublish", 3, PUBLISH, ONE, "pubsub", "7.0.0", "Posts a message to a shard channel.", pubsub::spublish),
    row("ssubscribe", -2, SUBSCRIBE, ALL, "pubsub", "7.0.0", "Listens for messages published to shard channels.", pubsub::ssubscribe),
    row("subscribe", -2, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Listens for messages published to channels.", pubsub::subscribe),
    row("sunsubscribe", -1, SUBSCRIBE, ALL, "pubsub", "7.0.0", "Stops listening to messages posted to shard channels.", pubsub::sunsubscribe),
    row("time", 1, SERVER_FAST, NONE, "server", "2.6.0", "Returns the server time.", server::time),
    row("ttl", 2, READ_FAST, ONE, "generic", "1.0.0", "Returns the expiration time in seconds of a key.", keys::ttl),
    row("unlink", -2, WRITE_FAST, ALL, "generic", "4.0.0", "Deletes one or more keys.", keys::delete),
    row("unsubscribe", -1, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Stops listening to messages posted to channels.", pubsub::unsubscribe),
    row("wait", 3, WAIT, NONE, "generic", "3.0.0", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.", server::wait),
];

/// Longest name in the table.
const NAME_MAX: usize = 16;

/// The names as numbers that are in the same order: one comparison each, at every command.
const NAMES: [u128; COMMANDS.len()] = {
    let mut names = [0; COMMANDS.len()];
    let mut at = 0;
    while at < COMMANDS.len() {
        names[at] = number(COMMANDS[at].name.as_bytes());
        at += 1;
    }
    names
};

/// A name of up to [`NAME_MAX`] bytes as a number, its case folded.
const fn number(name: &[u8]) -> u128 {
    let mut folded = [0; NAME_MAX];
    let mut at = 0;
    while at < name.len() {
        folded[at] = name[at].to_ascii_lowercase();
        at += 1;
    }
    u128::from_be_bytes(folded)
}

/// The row of a command, by its name in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.get(position(name)?)
}

/// The place of a command in [`COMMANDS`], by its name in any case.
pub fn position(name: &[u8]) -> Option<usize> {
    // No name has a NUL, which fills up shorter ones.
    if name.len() > NAME_MAX || name.contains(&0) {
        return None;
    }
    NAMES.binary_search(&number(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_names_fit() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
        assert!(COMMANDS.iter().all(|spec| spec.name.len() <= NAME_MAX));
    }

    #[test]
    fn names_are_found_in_any_case() {
        for spec in COMMANDS {
            let found = find(spec.name.to_uppercase().as_bytes()).unwrap();
            assert_eq!(found.name, spec.name);
        }
        assert!(find(b"gett").is_none());
        assert!(find(&[b'a'; 100]).is_none());
        assert!(find(b"").is_none());
        assert!(find(b"get\0").is_none());
    }
}
