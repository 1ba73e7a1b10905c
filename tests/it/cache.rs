//! The cache: the second read is a hit, a write ends what was cached, on both ports and through every proxy.

use crate::harness::{Setup, args, both_backends, key_on, pg};

both_backends!(
    the_first_read_after_a_write_misses_and_the_second_hits,
    a_value_written_on_one_port_is_read_on_the_other,
    a_read_on_one_port_is_a_hit_on_the_other,
    every_kind_of_write_ends_what_was_cached,
    an_absent_key_is_seen_as_soon_as_it_is_written,
    hits_and_misses_of_both_ports_are_counted,
    a_hit_does_not_ask_the_shard_again,
    mget_fills_the_cache_and_is_served_from_it,
    a_cached_value_ends_after_cache_ttl,
);

fn the_first_read_after_a_write_misses_and_the_second_hits(setup: Setup) {
    let it = setup.start();
    let http = it.http();
    for value in ["one", "two", "three"] {
        http.write("key", value).expect(200);
        assert_eq!(http.value_and_origin("key"), (value.to_owned(), false));
        assert_eq!(http.value_and_origin("key"), (value.to_owned(), true));
        assert_eq!(http.value_and_origin("key"), (value.to_owned(), true));
    }
}

fn a_value_written_on_one_port_is_read_on_the_other(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    http.write("user:123", "John Doe").expect(200);
    assert_eq!(conn.run("GET user:123"), "\"John Doe\"");
    conn.set("user:123", "Jane Doe");
    assert_eq!(
        http.value_and_origin("user:123"),
        ("Jane Doe".to_owned(), false)
    );
    http.write("user:123", "Jim Doe").expect(200);
    assert_eq!(conn.run("GET user:123"), "\"Jim Doe\"");
    assert_eq!(conn.run("DEL user:123"), ":1");
    http.read("user:123").expect_detail(404);
}

fn a_read_on_one_port_is_a_hit_on_the_other(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    conn.set("key", "value");
    assert_eq!(conn.run("GET key"), "\"value\"");
    assert_eq!(http.value_and_origin("key"), ("value".to_owned(), true));
}

fn every_kind_of_write_ends_what_was_cached(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    for (command, value) in [
        ("SET key a", Some("a")),
        ("SET key b XX", Some("b")),
        ("SET key c GET", Some("c")),
        ("SET key d EX 1000", Some("d")),
        ("SET key e KEEPTTL", Some("e")),
        ("MSET other x key f", Some("f")),
        ("EXPIRE key 1000", Some("f")),
        ("PERSIST key", Some("f")),
        ("EXPIRE key -1", None),
        ("SET key g NX", Some("g")),
        ("DEL key", None),
        ("SET key h", Some("h")),
        ("UNLINK key", None),
        ("SET key i", Some("i")),
        ("FLUSHALL", None),
        ("SET key j", Some("j")),
        ("FLUSHDB", None),
    ] {
        conn.run(command);
        for _ in 0..2 {
            assert_eq!(
                conn.get("key").as_deref(),
                value.map(str::as_bytes),
                "after {command}"
            );
        }
        match value {
            Some(value) => assert_eq!(http.value_and_origin("key").0, value, "after {command}"),
            None => drop(http.read("key").expect_detail(404)),
        }
    }
}

fn an_absent_key_is_seen_as_soon_as_it_is_written(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    for n in 0..5 {
        let key = format!("key:{n}");
        http.read(&key).expect_detail(404);
        assert_eq!(conn.get(&key), None);
        assert_eq!(conn.get(&key), None);
        conn.set(&key, "now");
        assert_eq!(http.value_and_origin(&key).0, "now");
    }
}

fn hits_and_misses_of_both_ports_are_counted(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    let counters = || {
        let stats = http.stats();
        (
            stats["cache_hits"].as_u64().unwrap(),
            stats["cache_misses"].as_u64().unwrap(),
        )
    };
    assert_eq!(counters(), (0, 0));
    conn.set("key", "value");
    assert_eq!(counters(), (0, 0), "writes count as neither");
    conn.get("key");
    assert_eq!(counters(), (0, 1));
    conn.get("key");
    assert_eq!(counters(), (1, 1));
    http.read("key");
    assert_eq!(counters(), (2, 1));
    http.write("key", "other");
    http.read("key");
    assert_eq!(counters(), (2, 2));
    conn.get("key");
    assert_eq!(counters(), (3, 2));
    conn.run("MGET key key2");
    let (hits, misses) = counters();
    assert_eq!((hits, misses), (4, 3), "each key of MGET counts");
    let stats = http.stats();
    assert_eq!(stats["cache_hit_rate"], 57.1, "4 of 7, in percent");
}

fn a_hit_does_not_ask_the_shard_again(setup: Setup) {
    let it = setup.start();
    if it.is_embedded() {
        // The cache is in the process there; that a hit counts as one is tested above.
        return;
    }
    let mut conn = it.conn();
    let key = key_on(1, 3, "key");
    conn.set(&key, "cached");
    conn.get(&key);
    let mut shard = pg(&it.urls()[1]).unwrap();
    // Behind the proxy's back, as one of them, so that it is not noted: a row that says otherwise is not looked at as
    // long as the cache has the key.
    shard.batch_execute("set respgres.proxy = 'on'").unwrap();
    shard
        .execute(
            "update respgres_kv set value = 'changed'::bytea where key = $1",
            &[&key.as_bytes()],
        )
        .unwrap();
    assert_eq!(conn.get(&key).unwrap(), b"cached");
    conn.set(&key, "fresh");
    assert_eq!(conn.get(&key).unwrap(), b"fresh");
}

fn mget_fills_the_cache_and_is_served_from_it(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    conn.run("MSET a 1 b 2 c 3");
    assert_eq!(conn.run("MGET a b c"), "[\"1\", \"2\", \"3\"]");
    for key in ["a", "b", "c"] {
        assert!(http.value_and_origin(key).1, "{key} is in the cache");
    }
    let hits = http.stats()["cache_hits"].as_u64().unwrap();
    assert_eq!(conn.run("MGET c a b"), "[\"3\", \"1\", \"2\"]");
    assert_eq!(http.stats()["cache_hits"].as_u64().unwrap(), hits + 3);
}

fn a_cached_value_ends_after_cache_ttl(setup: Setup) {
    let it = setup.env("CACHE_TTL", "1").start();
    let http = it.http();
    http.write("key", "value").expect(200);
    http.read("key").expect(200);
    crate::harness::eventually("the entry ends and the row is read again", || {
        let (value, cached) = http.value_and_origin("key");
        assert_eq!(value, "value");
        (!cached).then_some(())
    });
}

#[test]
fn two_proxies_on_one_redis_see_each_others_writes_at_once() {
    let it = Setup::postgres().start();
    let other = it.builder().start();
    let (mut here, mut there) = (it.conn(), other.conn());
    for n in 0..300 {
        let key = format!("key:{}", n % 7);
        let value = format!("value {n}");
        let (writer, reader) = if n % 2 == 0 {
            (&mut here, &mut there)
        } else {
            (&mut there, &mut here)
        };
        writer.set(&key, &value);
        assert_eq!(reader.get(&key).unwrap(), value.as_bytes());
        assert_eq!(writer.get(&key).unwrap(), value.as_bytes());
        assert_eq!(reader.get(&key).unwrap(), value.as_bytes());
        if n % 10 == 0 {
            assert_eq!(reader.cmd(&args!["DEL", key]), ":1");
            assert_eq!(writer.get(&key), None);
        }
    }
}

#[test]
fn what_one_proxy_cached_is_a_hit_for_another() {
    let it = Setup::postgres().start();
    let other = it.builder().start();
    it.conn().set("key", "value");
    assert_eq!(
        it.http().value_and_origin("key"),
        ("value".to_owned(), false)
    );
    assert_eq!(
        other.http().value_and_origin("key"),
        ("value".to_owned(), true)
    );
}

#[test]
fn entries_in_redis_have_the_products_prefix_and_end_with_the_key() {
    let it = Setup::postgres().start();
    let mut conn = it.conn();
    let keys: [&[u8]; 4] = [b"user:123", b"\0\xff\r\n", "ключ".as_bytes(), b"with space"];
    for key in keys {
        conn.set(key, "value");
        conn.get(key);
    }
    let names = it.redis().conn().run("KEYS *").array();
    let names: Vec<Vec<u8>> = names
        .into_iter()
        .map(|name| name.value().unwrap())
        .collect();
    for key in keys {
        assert!(
            names.iter().any(|name| name.ends_with(key)),
            "{} in {names:?}",
            key.escape_ascii()
        );
    }
    assert!(
        names.iter().all(|name| name.starts_with(b"respgres:")),
        "{names:?}"
    );
}

#[test]
fn emptying_redis_loses_nothing() {
    let it = Setup::postgres().start();
    let mut conn = it.conn();
    for n in 0..50 {
        conn.set(format!("key:{n}"), n.to_string());
        conn.get(format!("key:{n}"));
    }
    assert_eq!(it.redis().conn().run("FLUSHALL"), "+OK");
    for n in 0..50 {
        assert_eq!(
            conn.get(format!("key:{n}")).unwrap(),
            n.to_string().as_bytes()
        );
    }
    assert_eq!(
        it.http().value_and_origin("key:7"),
        ("7".to_owned(), true),
        "cached again"
    );
}

#[test]
fn entries_of_others_in_the_same_redis_are_left_alone() {
    let it = Setup::postgres().start();
    let mut redis = it.redis().conn();
    redis.set("of another program", "untouched");
    let mut conn = it.conn();
    conn.set("of another program", "mine");
    conn.get("of another program");
    assert_eq!(conn.run("FLUSHALL"), "+OK");
    assert_eq!(redis.get("of another program").unwrap(), b"untouched");
    assert_eq!(conn.get("of another program"), None);
}

/// The commands that Redis got, by name, but for those that ask who it is and whether it is there.
fn commands_since(redis: &crate::harness::RedisServer, act: impl FnOnce()) -> Vec<(String, u64)> {
    let mut conn = redis.conn();
    assert_eq!(conn.run("CONFIG RESETSTAT"), "+OK");
    act();
    let stats = conn.info("commandstats");
    let mut counts: Vec<(String, u64)> = stats
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().ok()?;
            let is_own = !matches!(name, "info" | "ping" | "config|resetstat");
            is_own.then(|| (name.to_owned(), calls))
        })
        .collect();
    counts.sort();
    counts
}

/// In round trips: a hit is one, a write one more than the commit, a miss two more than the look at the cache.
#[test]
fn a_hit_costs_redis_one_command_and_no_script() {
    let it = Setup::postgres().start();
    let mut conn = it.conn();
    let count = |name: &str| (name.to_owned(), 1);
    let writing = commands_since(it.redis(), || conn.set("key", "value"));
    assert_eq!(writing, [count("unlink")]);
    let missing = commands_since(it.redis(), || drop(conn.get("key")));
    // The script does its own reading and writing: an MGET and a SET.
    assert_eq!(
        missing,
        [
            count("evalsha"),
            count("getex"),
            count("mget"),
            ("set".to_owned(), 2)
        ]
    );
    let hitting = commands_since(it.redis(), || drop(conn.get("key")));
    assert_eq!(hitting, [count("getex")]);
}
