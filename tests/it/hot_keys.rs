//! `PROXY HOTKEYS`, `PROXY BIGKEYS` and `PROXY SLOWLOG`.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Conn, Reply, Setup, args, both_backends, encode, eventually, pg, shard_of};

both_backends!(
    the_hot_key_comes_first,
    reads_and_writes_are_told_apart,
    the_largest_values_come_first,
    a_long_key_is_shown_in_part,
    the_time_of_a_slow_command_adds_up,
    counts_are_checked,
);

/// The maps of a list, by their names.
#[track_caller]
fn maps(reply: Reply) -> Vec<BTreeMap<String, Reply>> {
    let named = |map: Reply| {
        let fields = map.array();
        let pairs = fields.chunks(2);
        pairs
            .map(|pair| (pair[0].string(), pair[1].clone()))
            .collect()
    };
    reply.array().into_iter().map(named).collect()
}

fn number(reply: &Reply) -> f64 {
    reply.string().parse().unwrap()
}

/// A key with a probability of 1/2, 1/4 and so on: half of all is for the first.
fn draw(random: &mut fastrand::Rng) -> u32 {
    random.u32(1..).trailing_zeros().min(20)
}

fn the_hot_key_comes_first(setup: Setup) {
    let it = setup.start();
    let mut conns = [it.conn(), it.conn()];
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..60 {
        for conn in &mut conns {
            let requests: Vec<u8> = (0..400)
                .flat_map(|_| {
                    let key = format!("key:{}", draw(&mut random));
                    encode(&args!["GET", key])
                })
                .collect();
            conn.send(&requests);
        }
        for conn in &mut conns {
            for _ in 0..400 {
                conn.read();
            }
        }
    }
    let hottest = maps(it.conn().run("PROXY HOTKEYS 4"));
    assert_eq!(hottest.len(), 4);
    let shown: Vec<String> = hottest.iter().map(|hot| hot["key"].string()).collect();
    assert_eq!(shown[..2], ["key:0", "key:1"], "{hottest:?}");
    let percent = number(&hottest[0]["percent"]);
    assert!((35.0..65.0).contains(&percent), "{percent} of 50");
    let rates = [
        "requests_per_second",
        "reads_per_second",
        "writes_per_second",
    ];
    let [all, reads, writes] = rates.map(|rate| number(&hottest[0][rate]));
    assert!(all > 100.0 && all == reads && writes == 0.0, "{hottest:?}");
    let shard = shard_of(b"key:0", 3);
    assert_eq!(hottest[0]["shard"].string(), format!("shard_{shard}"));
    // Ten unless something is said, if so many were seen.
    let usual = maps(it.conn().run("proxy hotkeys")).len();
    assert!((5..=10).contains(&usual), "{usual}");
}

fn reads_and_writes_are_told_apart(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    // Of so few, none is left out.
    conn.run("MSET a 1 b 2");
    for _ in 0..3 {
        conn.run("MGET a c");
        conn.run("INCR b");
    }
    let hottest = maps(conn.run("PROXY HOTKEYS"));
    let mut shown: Vec<(String, bool, bool)> = hottest
        .iter()
        .map(|hot| {
            let is = |rate| number(&hot[rate]) > 0.0;
            (
                hot["key"].string(),
                is("reads_per_second"),
                is("writes_per_second"),
            )
        })
        .collect();
    shown.sort();
    let expected = [("a", true, true), ("b", false, true), ("c", true, false)];
    assert!(
        shown
            .iter()
            .map(|(key, reads, writes)| (key.as_str(), *reads, *writes))
            .eq(expected),
        "{shown:?}"
    );
}

fn the_largest_values_come_first(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("written", "x".repeat(5000));
    conn.cmd(&args!["MSET", "small", "x", "middle", "x".repeat(700)]);
    conn.set("shrunk", "x".repeat(9000));
    conn.set("shrunk", "x");
    for _ in 0..2 {
        conn.run("APPEND grown 0123456789");
    }
    let shown = |conn: &mut Conn| -> Vec<(String, i64)> {
        maps(conn.run("PROXY BIGKEYS 4"))
            .iter()
            .map(|big| {
                assert!(big["seen_seconds_ago"].int() < 60);
                (big["key"].string(), big["bytes"].int())
            })
            .collect()
    };
    let expected = |first: &[(&str, i64)]| -> Vec<(String, i64)> {
        let owned = |(key, bytes): &(&str, i64)| ((*key).to_owned(), *bytes);
        first.iter().map(owned).collect()
    };
    let found = shown(&mut conn);
    assert_eq!(
        found[..3],
        expected(&[("written", 5000), ("middle", 700), ("grown", 20)])
    );
    assert_eq!(found[3].1, 1, "{found:?}");
    // Another proxy wrote it: it is seen when it is read.
    let long = "y".repeat(6000);
    it.http().write("elsewhere", &long);
    conn.get("elsewhere");
    assert_eq!(shown(&mut conn)[0], ("elsewhere".to_owned(), 6000));
}

fn a_long_key_is_shown_in_part(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let key = "k".repeat(1000);
    conn.set(&key, "value");
    let hot = maps(conn.run("PROXY HOTKEYS")).remove(0);
    assert_eq!(hot["key"].string(), key[..256]);
    assert_eq!(hot["key_bytes"].int(), 1000);
    let shard = shard_of(key.as_bytes(), 3);
    assert_eq!(hot["shard"].string(), format!("shard_{shard}"));
}

fn counts_are_checked(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in ["HOTKEYS", "BIGKEYS", "SLOWLOG"] {
        assert_eq!(conn.run(&format!("PROXY {command}")), "[]", "nothing yet");
        for (count, error) in [
            ("0", "ERR value is out of range, must be positive"),
            ("-1", "ERR value is out of range, must be positive"),
            ("x", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(conn.run(&format!("PROXY {command} {count}")).error(), error);
        }
        let error = conn.run(&format!("PROXY {command} 1 2"));
        let name = command.to_ascii_lowercase();
        let expected = format!("ERR wrong number of arguments for 'proxy|{name}' command");
        assert_eq!(error.error(), expected);
    }
}

/// The entries of the slow log whose first word is this.
fn slow(conn: &mut Conn, command: &str) -> Vec<BTreeMap<String, Reply>> {
    let mut entries = maps(conn.run("PROXY SLOWLOG 100"));
    entries.retain(|entry| entry["command"].clone().array()[0].string() == command);
    entries
}

/// Queue, cache, shard, and all.
fn split(entry: &BTreeMap<String, Reply>) -> [Duration; 4] {
    ["queue", "cache", "shard", "micros"]
        .map(|part| Duration::from_micros(u64::try_from(entry[part].int()).unwrap()))
}

fn the_time_of_a_slow_command_adds_up(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    conn.run("CLIENT SETNAME me");
    conn.set("key", "value");
    conn.get("key");
    conn.send(b"GET key\r\nSET other value\r\nGET other\r\n");
    for _ in 0..3 {
        conn.read();
    }
    conn.run("PING");
    let entry = slow(&mut conn, "SET").remove(0);
    let [queue, cache, shard, all] = split(&entry);
    assert!(shard > Duration::ZERO && queue + cache + shard <= all);
    assert_eq!(entry["commands"].int(), 1);
    assert_eq!(entry["name"].string(), "me");
    assert!(entry["client"].string().starts_with("127.0.0.1:"));
    for entry in slow(&mut conn, "GET") {
        let [queue, cache, shard, all] = split(&entry);
        assert!(shard > Duration::ZERO, "a miss: {entry:?}");
        assert!(queue + cache + shard <= all, "{entry:?}");
    }
    let pipelined = slow(&mut conn, "GET").remove(0);
    assert_eq!(pipelined["commands"].int(), 3);
    let ping = slow(&mut conn, "PING").remove(0);
    assert_eq!(split(&ping)[..3], [Duration::ZERO; 3]);
    // Redis' own form is as ever.
    assert_eq!(
        conn.run("SLOWLOG GET 1").array()[0].clone().array().len(),
        6
    );
}

/// Long enough to be told from everything else that takes time here.
const LONG: Duration = Duration::from_millis(300);

/// Waits until the proxy handles the last command of the client of this name.
fn wait_until_handled(conn: &mut Conn, name: &str, command: &str) {
    eventually("the command is handled", || {
        let list = conn.run("CLIENT LIST").string();
        let line = list
            .lines()
            .find(|line| line.contains(&format!(" name={name} ")));
        line?.contains(&format!(" cmd={command} ")).then_some(())
    });
}

fn named(addr: &str, name: &str) -> Conn {
    let mut conn = Conn::open(addr);
    conn.run(&format!("CLIENT SETNAME {name}"));
    conn
}

#[test]
fn the_wait_in_the_queue_is_told_from_that_for_the_shard() {
    let it = Setup::postgres().shards(1).start();
    let addr = it.resp_addr();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    let mut sql = pg(&it.urls()[0]).unwrap();
    let mut holding = sql.transaction().unwrap();
    holding.batch_execute("LOCK respgres_rows").unwrap();
    let [mut first, mut second] = ["first", "second"].map(|name| named(&addr, name));
    first.send(&encode(&[b"SET", b"a", b"1"]));
    eventually("the write waits for the lock", || {
        let waiting = holding.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &[]);
        (waiting.unwrap().get::<_, i64>(0) > 0).then_some(())
    });
    second.send(&encode(&[b"SET", b"b", b"1"]));
    wait_until_handled(&mut conn, "second", "set");
    let since = Instant::now();
    sleep(LONG);
    holding.rollback().unwrap();
    let held = since.elapsed();
    assert_eq!(first.read(), "+OK");
    assert_eq!(second.read(), "+OK");
    let entries = slow(&mut conn, "SET");
    let of = |name: &str| {
        let entry = entries.iter().find(|entry| entry["name"].string() == name);
        split(entry.unwrap())
    };
    let [queue, _, shard, all] = of("first");
    assert!(
        shard >= held.min(LONG) && shard <= all,
        "{shard:?} of {all:?}"
    );
    assert!(queue < LONG, "{queue:?}");
    let [queue, cache, shard, all] = of("second");
    assert!(
        queue >= LONG && queue + cache + shard <= all,
        "{queue:?} of {all:?}"
    );
}

#[test]
fn the_wait_for_the_cache_is_told() {
    let mut it = Setup::postgres().env("REDIS_TIMEOUT_MS", "20000").start();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    conn.set("key", "value");
    conn.get("key");
    let mut reader = named(&it.resp_addr(), "reader");
    it.redis_mut().pause();
    reader.send(&encode(&[b"GET", b"key"]));
    wait_until_handled(&mut conn, "reader", "get");
    sleep(LONG);
    it.redis_mut().resume();
    assert_eq!(reader.read().value().as_deref(), Some(&b"value"[..]));
    let entry = slow(&mut conn, "GET").remove(0);
    assert_eq!(entry["name"].string(), "reader");
    let [queue, cache, shard, all] = split(&entry);
    assert_eq!((queue, shard), (Duration::ZERO, Duration::ZERO));
    assert!(cache >= LONG && cache <= all, "{cache:?} of {all:?}");
}
