//! What follows each command's name, for COMMAND DOCS: redis-cli shows it while one types.

/// The arguments, as Redis' documentation writes them; commands that take none are not there. Sorted
/// by name.
#[rustfmt::skip]
const SYNTAX: &[(&str, &str)] = &[
    ("acl", "subcommand [argument ...]"),
    ("append", "key value"),
    ("auth", "[username] password"),
    ("bitcount", "key [start end [BYTE|BIT]]"),
    ("bitfield", "key [GET encoding offset|[OVERFLOW WRAP|SAT|FAIL] SET encoding offset value|INCRBY encoding offset increment ...]"),
    ("bitfield_ro", "key [GET encoding offset ...]"),
    ("bitop", "AND|OR|XOR|NOT destkey key [key ...]"),
    ("bitpos", "key bit [start [end [BYTE|BIT]]]"),
    ("client", "subcommand [argument ...]"),
    ("cluster", "subcommand [argument ...]"),
    ("command", "[subcommand [argument ...]]"),
    ("config", "subcommand [argument ...]"),
    ("copy", "source destination [DB destination-db] [REPLACE]"),
    ("debug", "subcommand [argument ...]"),
    ("decr", "key"),
    ("decrby", "key decrement"),
    ("del", "key [key ...]"),
    ("echo", "message"),
    ("exists", "key [key ...]"),
    ("expire", "key seconds [NX|XX|GT|LT]"),
    ("expireat", "key unix-time-seconds [NX|XX|GT|LT]"),
    ("expiretime", "key"),
    ("flushall", "[ASYNC|SYNC]"),
    ("flushdb", "[ASYNC|SYNC]"),
    ("get", "key"),
    ("getbit", "key offset"),
    ("getdel", "key"),
    ("getex", "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]"),
    ("getrange", "key start end"),
    ("getset", "key value"),
    ("hello", "[protover [AUTH username password] [SETNAME clientname]]"),
    ("incr", "key"),
    ("incrby", "key increment"),
    ("incrbyfloat", "key increment"),
    ("info", "[section [section ...]]"),
    ("keys", "pattern"),
    ("latency", "subcommand [argument ...]"),
    ("lcs", "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]"),
    ("memory", "subcommand [argument ...]"),
    ("mget", "key [key ...]"),
    ("module", "subcommand [argument ...]"),
    ("mset", "key value [key value ...]"),
    ("msetnx", "key value [key value ...]"),
    ("object", "subcommand [key]"),
    ("persist", "key"),
    ("pexpire", "key milliseconds [NX|XX|GT|LT]"),
    ("pexpireat", "key unix-time-milliseconds [NX|XX|GT|LT]"),
    ("pexpiretime", "key"),
    ("ping", "[message]"),
    ("proxy", "subcommand [argument ...]"),
    ("psetex", "key milliseconds value"),
    ("psubscribe", "pattern [pattern ...]"),
    ("pttl", "key"),
    ("publish", "channel message"),
    ("pubsub", "subcommand [argument ...]"),
    ("punsubscribe", "[pattern [pattern ...]]"),
    ("rename", "key newkey"),
    ("renamenx", "key newkey"),
    ("scan", "cursor [MATCH pattern] [COUNT count] [TYPE type]"),
    ("select", "index"),
    ("set", "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]"),
    ("setbit", "key offset value"),
    ("setex", "key seconds value"),
    ("setnx", "key value"),
    ("setrange", "key offset value"),
    ("slowlog", "subcommand [argument ...]"),
    ("spublish", "shardchannel message"),
    ("ssubscribe", "shardchannel [shardchannel ...]"),
    ("strlen", "key"),
    ("subscribe", "channel [channel ...]"),
    ("substr", "key start end"),
    ("sunsubscribe", "[shardchannel [shardchannel ...]]"),
    ("touch", "key [key ...]"),
    ("ttl", "key"),
    ("type", "key"),
    ("unlink", "key [key ...]"),
    ("unsubscribe", "[channel [channel ...]]"),
    ("wait", "numreplicas timeout"),
    ("watch", "key [key ...]"),
];

/// One argument, or a group of them that is optional as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// What stands there.
    pub text: &'static str,
    /// Whether it can be left out.
    pub is_optional: bool,
}

/// The arguments of a command.
pub fn arguments(name: &str) -> Vec<Argument> {
    let Ok(position) = SYNTAX.binary_search_by(|(known, _)| known.cmp(&name)) else {
        return Vec::new();
    };
    let (mut arguments, mut depth, mut start) = (Vec::new(), 0, 0);
    let mut rest = SYNTAX[position].1;
    while let Some(byte) = rest.as_bytes().get(start) {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b' ' if depth == 0 => {
                arguments.push(argument(&rest[..start]));
                rest = &rest[start + 1..];
                start = 0;
                continue;
            }
            _ => {}
        }
        start += 1;
    }
    arguments.push(argument(rest));
    arguments
}

fn argument(text: &'static str) -> Argument {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    Argument {
        text: inner.unwrap_or(text),
        is_optional: inner.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::{COMMANDS, find};

    #[test]
    fn every_command_with_arguments_has_a_syntax() {
        assert!(SYNTAX.is_sorted_by(|a, b| a.0 < b.0));
        for (name, _) in SYNTAX {
            assert!(find(name.as_bytes()).is_some(), "{name}");
        }
        for spec in COMMANDS.iter().filter(|spec| spec.arity.abs() > 1) {
            let needed = spec.arity.unsigned_abs() as usize - 1;
            let arguments = arguments(spec.name);
            let least = arguments.iter().filter(|one| !one.is_optional).count();
            assert_eq!(least, needed, "{}: {arguments:?}", spec.name);
        }
    }

    #[test]
    fn a_group_in_brackets_is_one_argument() {
        let set = arguments("set");
        let texts: Vec<_> = set.iter().map(|one| (one.text, one.is_optional)).collect();
        assert_eq!(
            texts[..4],
            [
                ("key", false),
                ("value", false),
                ("NX|XX", true),
                ("GET", true)
            ]
        );
        assert!(arguments("dbsize").is_empty());
    }
}
