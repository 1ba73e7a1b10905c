//! The table of commands: one row each, sorted by name. It answers COMMAND, checks the number of
//! arguments, and is held against the documentation by a test.

use bytes::Bytes;

use super::parse::{bits, connection, keys, keyspace, lcs, pubsub, server, strings, transaction};
use super::{Command, Rejection};
use Parse::{Bounded, Plain};

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
    pub(super) parse: Parse,
}

/// Understands what follows the name.
#[derive(Debug)]
pub(super) enum Parse {
    Plain(fn(&[Bytes]) -> Result<Command, Rejection>),
    /// Its limits depend on the longest value, in bytes.
    Bounded(fn(&[Bytes], usize) -> Result<Command, Rejection>),
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
    parse: Parse,
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
const TWO: (i32, i32, i32) = (1, 2, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

const READ: &[&str] = &["readonly"];
const READ_FAST: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const STORE_FAST: &[&str] = &["write", "denyoom", "fast"];
const TRANSACTION: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];
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
    row("acl", -2, &[], NONE, "server", "6.0.0", "A container for Access List Control commands.", Plain(server::acl)),
    row("append", 3, STORE_FAST, ONE, "string", "2.0.0", "Appends a string to the value of a key. Creates the key if it doesn't exist.", Plain(strings::append)),
    row("auth", -2, SESSION_OPEN, NONE, "connection", "1.0.0", "Authenticates the connection.", Plain(connection::auth)),
    row("bitcount", -2, &["readonly"], ONE, "bitmap", "2.6.0", "Counts the number of set bits (population counting) in a string.", Plain(bits::bitcount)),
    row("bitfield", -2, STORE, ONE, "bitmap", "3.2.0", "Performs arbitrary bitfield integer operations on strings.", Bounded(bits::bitfield)),
    row("bitfield_ro", -2, READ_FAST, ONE, "bitmap", "6.0.0", "Performs arbitrary read-only bitfield integer operations on strings.", Bounded(bits::bitfield_ro)),
    row("bitop", -4, STORE, (2, -1, 1), "bitmap", "2.6.0", "Performs bitwise operations on multiple strings, and stores the result.", Plain(bits::bitop)),
    row("bitpos", -3, &["readonly"], ONE, "bitmap", "2.8.7", "Finds the first set (1) or clear (0) bit in a string.", Plain(bits::bitpos)),
    row("client", -2, &[], NONE, "connection", "2.4.0", "A container for client connection commands.", Plain(connection::client)),
    row("cluster", -2, &[], NONE, "cluster", "3.0.0", "A container for Redis Cluster commands.", Plain(server::cluster)),
    row("command", -1, SERVER, NONE, "server", "2.8.13", "Returns detailed information about all commands.", Plain(server::command)),
    row("config", -2, &[], NONE, "server", "2.0.0", "A container for server configuration commands.", Plain(server::config)),
    row("copy", -3, STORE, TWO, "generic", "6.2.0", "Copies the value of a key to a new key.", Plain(keys::copy)),
    row("dbsize", 1, READ_FAST, NONE, "server", "1.0.0", "Returns the number of keys in the database.", Plain(keyspace::dbsize)),
    row("debug", -2, ADMIN, NONE, "server", "1.0.0", "A container for debugging commands.", Plain(server::debug)),
    row("decr", 2, STORE_FAST, ONE, "string", "1.0.0", "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", Plain(strings::decr)),
    row("decrby", 3, STORE_FAST, ONE, "string", "1.0.0", "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.", Plain(strings::decrby)),
    row("del", -2, WRITE, ALL, "generic", "1.0.0", "Deletes one or more keys.", Plain(keys::delete)),
    row("discard", 1, TRANSACTION, NONE, "transactions", "2.0.0", "Discards a transaction.", Plain(transaction::discard)),
    row("echo", 2, &["loading", "stale", "fast"], NONE, "connection", "1.0.0", "Returns the given string.", Plain(connection::echo)),
    row("exec", 1, &["noscript", "loading", "stale", "skip_slowlog"], NONE, "transactions", "1.2.0", "Executes all commands in a transaction.", Plain(transaction::exec)),
    row("exists", -2, READ_FAST, ALL, "generic", "1.0.0", "Determines whether one or more keys exist.", Plain(keys::exists)),
    row("expire", -3, WRITE_FAST, ONE, "generic", "1.0.0", "Sets the expiration time of a key in seconds.", Plain(keys::expire)),
    row("expireat", -3, WRITE_FAST, ONE, "generic", "1.2.0", "Sets the expiration time of a key to a Unix timestamp.", Plain(keys::expireat)),
    row("expiretime", 2, READ_FAST, ONE, "generic", "7.0.0", "Returns the expiration time of a key as a Unix timestamp.", Plain(keys::expiretime)),
    row("flushall", -1, WRITE, NONE, "server", "1.0.0", "Removes all keys from all databases.", Plain(keyspace::flush)),
    row("flushdb", -1, WRITE, NONE, "server", "1.0.0", "Removes all keys from the current database.", Plain(keyspace::flush)),
    row("get", 2, READ_FAST, ONE, "string", "1.0.0", "Returns the string value of a key.", Plain(strings::get)),
    row("getbit", 3, READ_FAST, ONE, "bitmap", "2.2.0", "Returns a bit value by offset.", Bounded(bits::getbit)),
    row("getdel", 2, WRITE_FAST, ONE, "string", "6.2.0", "Returns the string value of a key after deleting the key.", Plain(strings::getdel)),
    row("getex", -2, WRITE_FAST, ONE, "string", "6.2.0", "Returns the string value of a key after setting its expiration time.", Plain(strings::getex)),
    row("getrange", 4, &["readonly"], ONE, "string", "2.4.0", "Returns a substring of the string stored at a key.", Plain(strings::getrange)),
    row("getset", 3, STORE_FAST, ONE, "string", "1.0.0", "Returns the previous string value of a key after setting it to a new value.", Plain(strings::getset)),
    row("hello", -1, SESSION_OPEN, NONE, "connection", "6.0.0", "Handshakes with the server.", Plain(connection::hello)),
    row("incr", 2, STORE_FAST, ONE, "string", "1.0.0", "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", Plain(strings::incr)),
    row("incrby", 3, STORE_FAST, ONE, "string", "1.0.0", "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.", Plain(strings::incrby)),
    row("incrbyfloat", 3, STORE_FAST, ONE, "string", "2.6.0", "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.", Plain(strings::incrbyfloat)),
    row("info", -1, SERVER, NONE, "server", "1.0.0", "Returns information and statistics about the server.", Plain(server::info)),
    row("keys", 2, READ, NONE, "generic", "1.0.0", "Returns all key names that match a pattern.", Plain(keyspace::keys)),
    row("lastsave", 1, SERVER_FAST, NONE, "server", "1.0.0", "Returns the Unix timestamp of the last successful save to disk.", Plain(server::lastsave)),
    row("latency", -2, &[], NONE, "server", "2.8.13", "A container for latency diagnostics commands.", Plain(server::latency)),
    row("lcs", -3, &["readonly"], TWO, "string", "7.0.0", "Finds the longest common substring.", Plain(lcs::lcs)),
    row("memory", -2, &[], NONE, "server", "4.0.0", "A container for memory diagnostics commands.", Plain(server::memory)),
    row("mget", -2, READ_FAST, ALL, "string", "1.0.0", "Returns the string values of one or more keys.", Plain(strings::mget)),
    row("module", -2, &[], NONE, "server", "4.0.0", "A container for module commands.", Plain(server::module)),
    row("monitor", 1, ADMIN, NONE, "server", "1.0.0", "Listens for all requests received by the server in real time.", Plain(server::monitor)),
    row("mset", -3, STORE, PAIRS, "string", "1.0.1", "Sets the string values of one or more keys.", Plain(strings::mset)),
    row("msetnx", -3, STORE, PAIRS, "string", "1.0.1", "Atomically modifies the string values of one or more keys only when all keys don't exist.", Plain(strings::msetnx)),
    row("multi", 1, TRANSACTION, NONE, "transactions", "1.2.0", "Starts a transaction.", Plain(transaction::multi)),
    row("object", -2, &[], NONE, "generic", "2.2.3", "A container for object introspection commands.", Plain(keys::object)),
    row("persist", 2, WRITE_FAST, ONE, "generic", "2.2.0", "Removes the expiration time of a key.", Plain(keys::persist)),
    row("pexpire", -3, WRITE_FAST, ONE, "generic", "2.6.0", "Sets the expiration time of a key in milliseconds.", Plain(keys::pexpire)),
    row("pexpireat", -3, WRITE_FAST, ONE, "generic", "2.6.0", "Sets the expiration time of a key to a Unix milliseconds timestamp.", Plain(keys::pexpireat)),
    row("pexpiretime", 2, READ_FAST, ONE, "generic", "7.0.0", "Returns the expiration time of a key as a Unix milliseconds timestamp.", Plain(keys::pexpiretime)),
    row("ping", -1, &["fast"], NONE, "connection", "1.0.0", "Returns the server's liveliness response.", Plain(connection::ping)),
    row("proxy", -2, SERVER, NONE, "server", "7.0.0", "A container for commands about the shards behind the proxy.", Plain(server::proxy)),
    row("psetex", 4, STORE, ONE, "string", "2.6.0", "Sets both string value and expiration time in milliseconds of a key.", Plain(strings::psetex)),
    row("psubscribe", -2, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Listens for messages published to channels that match one or more patterns.", Plain(pubsub::psubscribe)),
    row("pttl", 2, READ_FAST, ONE, "generic", "2.6.0", "Returns the expiration time in milliseconds of a key.", Plain(keys::pttl)),
    row("publish", 3, PUBLISH, NONE, "pubsub", "2.0.0", "Posts a message to a channel.", Plain(pubsub::publish)),
    row("pubsub", -2, &[], NONE, "pubsub", "2.8.0", "A container for Pub/Sub commands.", Plain(pubsub::pubsub)),
    row("punsubscribe", -1, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Stops listening to messages published to channels that match one or more patterns.", Plain(pubsub::punsubscribe)),
    row("quit", -1, SESSION_OPEN, NONE, "connection", "1.0.0", "Closes the connection.", Plain(connection::quit)),
    row("randomkey", 1, READ, NONE, "generic", "1.0.0", "Returns a random key name from the database.", Plain(keyspace::randomkey)),
    row("readonly", 1, SERVER_FAST, NONE, "cluster", "3.0.0", "Enables read-only queries for a connection to a Redis Cluster replica node.", Plain(server::readonly)),
    row("readwrite", 1, SERVER_FAST, NONE, "cluster", "3.0.0", "Enables read-write queries for a connection to a Redis Cluster replica node.", Plain(server::readwrite)),
    row("rename", 3, WRITE, TWO, "generic", "1.0.0", "Renames a key and overwrites the destination.", Plain(keys::rename)),
    row("renamenx", 3, WRITE_FAST, TWO, "generic", "1.0.0", "Renames a key only when the target key name doesn't exist.", Plain(keys::renamenx)),
    row("reset", 1, SESSION_OPEN, NONE, "connection", "6.2.0", "Resets the connection.", Plain(connection::reset)),
    row("role", 1, ROLE, NONE, "server", "2.8.12", "Returns the replication role.", Plain(server::role)),
    row("scan", -2, READ, NONE, "generic", "2.8.0", "Iterates over the key names in the database.", Plain(keyspace::scan)),
    row("select", 2, &["loading", "stale", "fast"], NONE, "connection", "1.0.0", "Changes the selected database.", Plain(connection::select)),
    row("set", -3, STORE, ONE, "string", "1.0.0", "Sets the string value of a key, ignoring its type.", Plain(strings::set)),
    row("setbit", 4, STORE, ONE, "bitmap", "2.2.0", "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.", Bounded(bits::setbit)),
    row("setex", 4, STORE, ONE, "string", "2.0.0", "Sets the string value and expiration time of a key.", Plain(strings::setex)),
    row("setnx", 3, STORE_FAST, ONE, "string", "1.0.0", "Set the string value of a key only when the key doesn't exist.", Plain(strings::setnx)),
    row("setrange", 4, STORE, ONE, "string", "2.2.0", "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.", Plain(strings::setrange)),
    row("slowlog", -2, &[], NONE, "server", "2.2.12", "A container for slow log commands.", Plain(server::slowlog)),
    row("spublish", 3, PUBLISH, ONE, "pubsub", "7.0.0", "Posts a message to a shard channel.", Plain(pubsub::spublish)),
    row("ssubscribe", -2, SUBSCRIBE, ALL, "pubsub", "7.0.0", "Listens for messages published to shard channels.", Plain(pubsub::ssubscribe)),
    row("strlen", 2, READ_FAST, ONE, "string", "2.2.0", "Returns the length of a string value.", Plain(strings::strlen)),
    row("subscribe", -2, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Listens for messages published to channels.", Plain(pubsub::subscribe)),
    row("substr", 4, &["readonly"], ONE, "string", "1.0.0", "Returns a substring from a string value.", Plain(strings::getrange)),
    row("sunsubscribe", -1, SUBSCRIBE, ALL, "pubsub", "7.0.0", "Stops listening to messages posted to shard channels.", Plain(pubsub::sunsubscribe)),
    row("time", 1, SERVER_FAST, NONE, "server", "2.6.0", "Returns the server time.", Plain(server::time)),
    row("touch", -2, READ_FAST, ALL, "generic", "3.2.1", "Returns the number of existing keys out of those specified after updating the time they were last accessed.", Plain(keys::exists)),
    row("ttl", 2, READ_FAST, ONE, "generic", "1.0.0", "Returns the expiration time in seconds of a key.", Plain(keys::ttl)),
    row("type", 2, READ_FAST, ONE, "generic", "1.0.0", "Determines the type of value stored at a key.", Plain(keys::kind)),
    row("unlink", -2, WRITE_FAST, ALL, "generic", "4.0.0", "Deletes one or more keys.", Plain(keys::delete)),
    row("unsubscribe", -1, SUBSCRIBE, NONE, "pubsub", "2.0.0", "Stops listening to messages posted to channels.", Plain(pubsub::unsubscribe)),
    row("unwatch", 1, TRANSACTION, NONE, "transactions", "2.2.0", "Forgets about watched keys of a transaction.", Plain(transaction::unwatch)),
    row("wait", 3, WAIT, NONE, "generic", "3.0.0", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.", Plain(server::wait)),
    row("watch", -2, TRANSACTION, ALL, "transactions", "2.2.0", "Monitors changes to keys to determine the execution of a transaction.", Plain(transaction::watch)),
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
