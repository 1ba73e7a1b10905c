//! PROXY: what is behind the proxy; and that every command of Redis is served, or is said not to be.

use std::collections::BTreeSet;

use respgres::command::table::COMMANDS;
use respgres::command::unsupported::UNSUPPORTED;

use crate::harness::{RedisServer, Reply, Setup, both_backends, shard_of};

both_backends!(
    a_key_has_a_shard,
    shards_have_a_state,
    what_is_unsupported_has_a_reason
);

fn a_key_has_a_shard(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let expected = |cached: &str, ttl: i64| {
        let shard = shard_of(b"key", 3);
        format!("[\"shard\", \"shard_{shard}\", \"cached\", \"{cached}\", \"ttl_ms\", :{ttl}]")
    };
    conn.set("key", "value");
    assert_eq!(conn.run("PROXY SHARD key"), expected("no", -1).as_str());
    assert_eq!(conn.run("PROXY SHARD key"), expected("yes", -1).as_str());
    conn.run("DEL key");
    assert_eq!(conn.run("PROXY SHARD key"), expected("no", -2).as_str());
    conn.run("SET key value EX 1000");
    let left = conn.run("PROXY SHARD key").array()[5].int();
    assert!((900_000..=1_000_000).contains(&left), "{left}");
    conn.run("HELLO 3");
    assert!(matches!(conn.run("PROXY SHARD key"), Reply::Map(pairs) if pairs.len() == 3));
    assert_eq!(
        conn.run("PROXY SHARD"),
        "-ERR wrong number of arguments for 'proxy|shard' command"
    );
    assert_eq!(
        conn.run("PROXY foo"),
        "-ERR unknown subcommand 'foo'. Try PROXY HELP."
    );
}

fn shards_have_a_state(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("HELLO 3");
    for n in 0..30 {
        conn.set(format!("key:{n}"), "value");
    }
    let Reply::Map(shards) = conn.run("PROXY SHARDS") else {
        panic!("a map was expected");
    };
    let names: Vec<String> = shards.iter().map(|(name, _)| name.string()).collect();
    assert_eq!(names, ["shard_0", "shard_1", "shard_2"]);
    let mut keys = 0;
    for (_, shard) in shards {
        let Reply::Map(fields) = shard else {
            panic!("a map was expected, not {shard}");
        };
        assert_eq!(fields[0].1, "\"up\"");
        assert_eq!(fields[1].0, "\"keys\"");
        keys += fields[1].1.int();
    }
    assert_eq!(keys, 30);
}

fn what_is_unsupported_has_a_reason(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let all = conn.run("PROXY UNSUPPORTED").array();
    assert_eq!(all.len(), 2 * UNSUPPORTED.len());
    let reply = conn.run("PROXY UNSUPPORTED LPUSH get nosuch").array();
    assert_eq!(reply.len(), 2);
    assert_eq!(reply[0], "\"lpush\"");
    assert!(reply[1].string().contains("lists"), "{}", reply[1]);
    assert!(
        conn.run("LPUSH a b")
            .error()
            .starts_with("ERR unknown command 'LPUSH'")
    );
}

#[test]
fn every_command_of_redis_is_served_or_said_not_to_be() {
    let redis = RedisServer::start();
    let names = redis.conn().run("COMMAND LIST").array();
    // Subcommands are listed too.
    let names: Vec<String> = names
        .iter()
        .map(Reply::string)
        .filter(|name| !name.contains('|'))
        .collect();
    assert!(names.len() > 200, "{}", names.len());
    let served = COMMANDS.iter().map(|spec| spec.name);
    let known: BTreeSet<&str> = served
        .chain(UNSUPPORTED.iter().map(|(name, _)| *name))
        .collect();
    let unknown: Vec<&String> = names
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (name, _) in UNSUPPORTED {
        assert!(
            names.iter().any(|other| other == name),
            "{name} is no command of Redis"
        );
    }
}
