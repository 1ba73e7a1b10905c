//! The subcommands of containers, each with the ACL categories that Redis gives it: rights are given
//! for them one by one.

use super::table::COMMANDS;

/// One subcommand.
#[derive(Debug)]
pub struct Subcommand {
    /// The command that it belongs to, in lower case.
    pub container: &'static str,
    /// Its own name, in lower case.
    pub name: &'static str,
    /// Its ACL categories, in Redis' order.
    pub categories: &'static [&'static str],
}

const fn row(
    container: &'static str,
    name: &'static str,
    categories: &'static [&'static str],
) -> Subcommand {
    Subcommand {
        container,
        name,
        categories,
    }
}

const SLOW: &[&str] = &["@slow"];
const ADMIN: &[&str] = &["@admin", "@slow", "@dangerous"];
const CONNECTION: &[&str] = &["@slow", "@connection"];
const CONNECTION_ADMIN: &[&str] = &["@admin", "@slow", "@dangerous", "@connection"];
const READ: &[&str] = &["@read", "@slow"];
const KEYSPACE: &[&str] = &["@keyspace", "@slow"];
const KEYSPACE_READ: &[&str] = &["@keyspace", "@read", "@slow"];
const PUBSUB: &[&str] = &["@pubsub", "@slow"];

/// Every subcommand, also of those that are refused; sorted by container and name.
#[rustfmt::skip]
pub const SUBCOMMANDS: &[Subcommand] = &[
    row("acl", "cat", SLOW),
    row("acl", "deluser", ADMIN),
    row("acl", "dryrun", ADMIN),
    row("acl", "genpass", SLOW),
    row("acl", "getuser", ADMIN),
    row("acl", "help", SLOW),
    row("acl", "list", ADMIN),
    row("acl", "load", ADMIN),
    row("acl", "log", ADMIN),
    row("acl", "save", ADMIN),
    row("acl", "setuser", ADMIN),
    row("acl", "users", ADMIN),
    row("acl", "whoami", SLOW),
    row("client", "caching", CONNECTION),
    row("client", "getname", CONNECTION),
    row("client", "getredir", CONNECTION),
    row("client", "help", CONNECTION),
    row("client", "id", CONNECTION),
    row("client", "info", CONNECTION),
    row("client", "kill", CONNECTION_ADMIN),
    row("client", "list", CONNECTION_ADMIN),
    row("client", "no-evict", CONNECTION_ADMIN),
    row("client", "no-touch", CONNECTION),
    row("client", "pause", CONNECTION_ADMIN),
    row("client", "reply", CONNECTION),
    row("client", "setinfo", CONNECTION),
    row("client", "setname", CONNECTION),
    row("client", "tracking", CONNECTION),
    row("client", "trackinginfo", CONNECTION),
    row("client", "unblock", CONNECTION_ADMIN),
    row("client", "unpause", CONNECTION_ADMIN),
    row("cluster", "addslots", ADMIN),
    row("cluster", "addslotsrange", ADMIN),
    row("cluster", "bumpepoch", ADMIN),
    row("cluster", "count-failure-reports", ADMIN),
    row("cluster", "countkeysinslot", SLOW),
    row("cluster", "delslots", ADMIN),
    row("cluster", "delslotsrange", ADMIN),
    row("cluster", "failover", ADMIN),
    row("cluster", "flushslots", ADMIN),
    row("cluster", "forget", ADMIN),
    row("cluster", "getkeysinslot", SLOW),
    row("cluster", "help", SLOW),
    row("cluster", "info", SLOW),
    row("cluster", "keyslot", SLOW),
    row("cluster", "links", SLOW),
    row("cluster", "meet", ADMIN),
    row("cluster", "myid", SLOW),
    row("cluster", "nodes", SLOW),
    row("cluster", "replicas", ADMIN),
    row("cluster", "replicate", ADMIN),
    row("cluster", "reset", ADMIN),
    row("cluster", "saveconfig", ADMIN),
    row("cluster", "set-config-epoch", ADMIN),
    row("cluster", "setslot", ADMIN),
    row("cluster", "shards", SLOW),
    row("cluster", "slaves", ADMIN),
    row("cluster", "slots", SLOW),
    row("command", "count", CONNECTION),
    row("command", "docs", CONNECTION),
    row("command", "getkeys", CONNECTION),
    row("command", "getkeysandflags", CONNECTION),
    row("command", "help", CONNECTION),
    row("command", "info", CONNECTION),
    row("command", "list", CONNECTION),
    row("config", "get", ADMIN),
    row("config", "help", SLOW),
    row("config", "resetstat", ADMIN),
    row("config", "rewrite", ADMIN),
    row("config", "set", ADMIN),
    row("latency", "doctor", ADMIN),
    row("latency", "graph", ADMIN),
    row("latency", "help", SLOW),
    row("latency", "histogram", ADMIN),
    row("latency", "history", ADMIN),
    row("latency", "latest", ADMIN),
    row("latency", "reset", ADMIN),
    row("memory", "doctor", SLOW),
    row("memory", "help", SLOW),
    row("memory", "malloc-stats", SLOW),
    row("memory", "purge", SLOW),
    row("memory", "stats", SLOW),
    row("memory", "usage", READ),
    row("module", "help", SLOW),
    row("module", "list", ADMIN),
    row("module", "load", ADMIN),
    row("module", "loadex", ADMIN),
    row("module", "unload", ADMIN),
    row("object", "encoding", KEYSPACE_READ),
    row("object", "freq", KEYSPACE_READ),
    row("object", "help", KEYSPACE),
    row("object", "idletime", KEYSPACE_READ),
    row("object", "refcount", KEYSPACE_READ),
    row("proxy", "bigkeys", ADMIN),
    row("proxy", "help", SLOW),
    row("proxy", "hotkeys", ADMIN),
    row("proxy", "shard", READ),
    row("proxy", "shards", ADMIN),
    row("proxy", "slowlog", ADMIN),
    row("proxy", "unsupported", SLOW),
    row("pubsub", "channels", PUBSUB),
    row("pubsub", "help", SLOW),
    row("pubsub", "numpat", PUBSUB),
    row("pubsub", "numsub", PUBSUB),
    row("pubsub", "shardchannels", PUBSUB),
    row("pubsub", "shardnumsub", PUBSUB),
    row("slowlog", "get", ADMIN),
    row("slowlog", "help", SLOW),
    row("slowlog", "len", ADMIN),
    row("slowlog", "reset", ADMIN),
];

/// For each of [`COMMANDS`], where its subcommands begin in [`SUBCOMMANDS`], and where they end.
const RANGES: [(usize, usize); COMMANDS.len()] = {
    let mut ranges = [(0, 0); COMMANDS.len()];
    let mut at = 0;
    while at < SUBCOMMANDS.len() {
        let mut command = 0;
        while !is_same(COMMANDS[command].name, SUBCOMMANDS[at].container) {
            command += 1;
        }
        if ranges[command].1 == 0 {
            ranges[command].0 = at;
        }
        at += 1;
        ranges[command].1 = at;
    }
    ranges
};

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The places in [`SUBCOMMANDS`] of the subcommands that the command at this place in [`COMMANDS`] has; none
/// if it is no container.
pub fn of(command: usize) -> std::ops::Range<usize> {
    let (from, to) = RANGES.get(command).copied().unwrap_or_default();
    from..to
}

/// The place in [`SUBCOMMANDS`] of a container's subcommand, by its name in any case.
pub fn position(command: usize, name: &[u8]) -> Option<usize> {
    of(command).find(|at| name.eq_ignore_ascii_case(SUBCOMMANDS[*at].name.as_bytes()))
}

/// Whether a command has subcommands.
pub fn is_container(name: &str) -> bool {
    SUBCOMMANDS
        .binary_search_by(|row| row.container.cmp(name))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn the_table_is_sorted_and_belongs_to_commands() {
        assert!(SUBCOMMANDS.is_sorted_by_key(|row| (row.container, row.name)));
        let of_commands: usize = (0..COMMANDS.len()).map(|at| of(at).len()).sum();
        assert_eq!(of_commands, SUBCOMMANDS.len());
    }

    /// A subcommand without a row is nobody's but of those who may do everything.
    #[test]
    fn every_subcommand_that_help_names_has_a_row() {
        use crate::command::help;
        for (container, lines) in [
            ("acl", help::ACL),
            ("client", help::CLIENT),
            ("command", help::COMMAND),
            ("config", help::CONFIG),
            ("latency", help::LATENCY),
            ("memory", help::MEMORY),
            ("module", help::MODULE),
            ("object", help::OBJECT),
            ("proxy", help::PROXY),
            ("pubsub", help::PUBSUB),
            ("slowlog", help::SLOWLOG),
        ] {
            let command = table::position(container.as_bytes()).unwrap();
            for line in &lines[1..] {
                let name = line.split(' ').next().unwrap();
                if !name.is_empty() && !name.starts_with('(') {
                    assert!(
                        position(command, name.as_bytes()).is_some(),
                        "{container} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn subcommands_are_found_in_any_case() {
        let config = table::position(b"config").unwrap();
        let found = position(config, b"ReSeTsTaT").unwrap();
        assert_eq!(SUBCOMMANDS[found].name, "resetstat");
        assert_eq!(position(config, b"usage"), None);
        assert!(of(table::position(b"get").unwrap()).is_empty());
        assert!(is_container("proxy") && !is_container("get"));
    }
}
