//! SCAN, KEYS and RANDOMKEY: all keys of all shards, as Redis answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{
    Conn, PostgresServer, ProxyBuilder, RaiseAtEnd, RedisServer, Scratch, Setup, args,
    both_backends, keys_on_each, with_reference,
};

with_reference!(
    mistakes_have_the_words_of_redis,
    a_scan_answers_every_key,
    what_is_there_throughout_is_answered_while_others_come_and_go,
    types_other_than_strings_have_no_keys,
    patterns_choose_keys,
    the_empty_key_matches_a_lone_star_only,
    an_expired_key_is_not_answered,
    a_random_key_is_one_that_exists,
);

/// What Redis does not promise.
mod beyond_redis {
    use super::*;

    both_backends!(
        a_scan_answers_each_key_once_and_looks_at_count_keys,
        a_scan_goes_on_through_another_process,
        a_cursor_that_was_never_given_out_does_no_harm,
        long_keys_are_answered_whole,
        random_patterns_choose_what_redis_chooses,
    );
}

/// One page: the next cursor and the keys.
#[track_caller]
fn page(conn: &mut Conn, command: &[&[u8]]) -> (String, Vec<Vec<u8>>) {
    let mut reply = conn.cmd(command).array();
    assert_eq!(reply.len(), 2);
    let keys = reply.pop().unwrap().array();
    let cursor = reply.pop().unwrap().value().unwrap();
    let keys = keys.into_iter().map(|key| key.value().unwrap()).collect();
    (String::from_utf8(cursor).unwrap(), keys)
}

/// All pages with these options.
#[track_caller]
fn scan(conn: &mut Conn, options: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let command = [&args!["SCAN", cursor], options].concat();
        let (next, keys) = page(conn, &command);
        all.extend(keys);
        if next == "0" {
            return all;
        }
        cursor = next;
    }
}

#[track_caller]
fn keys(conn: &mut Conn, pattern: impl AsRef<[u8]>) -> BTreeSet<Vec<u8>> {
    let keys = conn.cmd(&args!["KEYS", pattern]).array();
    let count = keys.len();
    let set: BTreeSet<_> = keys.into_iter().map(|key| key.value().unwrap()).collect();
    assert_eq!(set.len(), count, "each once");
    set
}

fn fill(conn: &mut Conn, names: &[String]) {
    for some in names.chunks(1000) {
        let mut mset: Vec<&[u8]> = vec![b"MSET"];
        for name in some {
            mset.extend([name.as_bytes(), b"v"]);
        }
        assert_eq!(conn.cmd(&mset), "+OK");
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn set_of(names: &[String]) -> BTreeSet<Vec<u8>> {
    names.iter().map(|name| name.clone().into_bytes()).collect()
}

fn mistakes_have_the_words_of_redis(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for line in ["SCAN x", "SCAN 18446744073709551616", "SCAN x COUNT y"] {
        assert_eq!(conn.run(line), "-ERR invalid cursor", "{line}");
    }
    for line in [
        "SCAN 0 MATCH",
        "SCAN 0 COUNT 0",
        "SCAN 0 COUNT -1",
        "SCAN 0 FOO bar",
        "SCAN 0 MATCH a TYPE",
    ] {
        assert_eq!(conn.run(line), "-ERR syntax error", "{line}");
    }
    for line in [
        "SCAN 0 COUNT x",
        "SCAN 0 COUNT 10 COUNT 99999999999999999999",
    ] {
        let expected = "-ERR value is not an integer or out of range";
        assert_eq!(conn.run(line), expected, "{line}");
    }
    for (line, name) in [
        ("SCAN", "scan"),
        ("KEYS", "keys"),
        ("KEYS a b", "keys"),
        ("RANDOMKEY a", "randomkey"),
    ] {
        let expected = format!("-ERR wrong number of arguments for '{name}' command");
        assert_eq!(conn.run(line), &expected[..], "{line}");
    }
    assert_eq!(conn.run("SCAN 0"), "[\"0\", []]");
    assert_eq!(conn.cmd(&args!["SCAN", ""]), "[\"0\", []]");
    assert_eq!(conn.run("KEYS *"), "[]");
    assert_eq!(conn.run("RANDOMKEY"), "$-1");
}

fn a_scan_answers_every_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let names = names("key:", 3000);
    fill(&mut conn, &names);
    for count in ["1000", "100000", "7"] {
        let found = scan(&mut conn, &args!["COUNT", count]);
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), set_of(&names));
    }
    assert_eq!(keys(&mut conn, "*"), set_of(&names));
}

fn what_is_there_throughout_is_answered_while_others_come_and_go(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let lasting = names("lasting:", 2000);
    fill(&mut conn, &lasting);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&is_done);
        scope.spawn(|| {
            let mut conn = it.conn();
            for round in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                let passing = names(&format!("passing:{}:", round % 7), 100);
                fill(&mut conn, &passing);
                // An overwrite is not another key.
                fill(&mut conn, &lasting[..500]);
                let mut del: Vec<&[u8]> = vec![b"DEL"];
                del.extend(passing.iter().map(String::as_bytes));
                assert_eq!(conn.cmd(&del), ":100");
            }
        });
        for _ in 0..5 {
            let found = scan(&mut conn, &args!["COUNT", "20", "MATCH", "lasting:*"]);
            let count = found.len();
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), set_of(&lasting));
            assert!(it.is_redis_itself() || count == lasting.len(), "each once");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

fn types_other_than_strings_have_no_keys(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    fill(&mut conn, &names("key:", 30));
    for kind in ["hash", "LIST", "nosuch", ""] {
        assert_eq!(scan(&mut conn, &args!["TYPE", kind]).len(), 0, "{kind}");
    }
    for kind in ["string", "STRING"] {
        assert_eq!(scan(&mut conn, &args!["TYPE", kind]).len(), 30, "{kind}");
    }
    assert_eq!(
        scan(&mut conn, &args!["TYPE", "hash", "TYPE", "string"]).len(),
        30
    );
}

fn patterns_choose_keys(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let all = [
        "hello", "hallo", "hxllo", "hllo", "heello", "h*llo", "user:1", "user:12", "[x]",
    ];
    for key in all {
        conn.set(key, "v");
    }
    for (pattern, expected) in [
        ("h?llo", &["hello", "hallo", "hxllo", "h*llo"][..]),
        (
            "h*llo",
            &["hello", "hallo", "hxllo", "hllo", "heello", "h*llo"],
        ),
        ("h[ae]llo", &["hello", "hallo"]),
        ("h[^e]llo", &["hallo", "hxllo", "h*llo"]),
        ("h[a-b]llo", &["hallo"]),
        ("h\\*llo", &["h*llo"]),
        ("user:?", &["user:1"]),
        ("*:*", &["user:1", "user:12"]),
        ("\\[x]", &["[x]"]),
        ("hello", &["hello"]),
        ("HELLO", &[]),
        ("", &[]),
    ] {
        let expected: BTreeSet<_> = expected.iter().map(|key| key.as_bytes().to_vec()).collect();
        assert_eq!(keys(&mut conn, pattern), expected, "{pattern}");
        let scanned = scan(&mut conn, &args!["MATCH", pattern, "COUNT", "2"]);
        assert_eq!(
            scanned.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{pattern}"
        );
    }
}

fn the_empty_key_matches_a_lone_star_only(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("", "v");
    for (pattern, count) in [("*", 1), ("", 1), ("**", 0), ("?", 0), ("[^a]", 0)] {
        assert_eq!(keys(&mut conn, pattern).len(), count, "{pattern:?}");
        let found = scan(&mut conn, &args!["MATCH", pattern]);
        assert_eq!(found.len(), count, "{pattern:?}");
    }
    assert_eq!(conn.run("RANDOMKEY"), "\"\"");
}

fn an_expired_key_is_not_answered(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let staying = names("staying:", 50);
    fill(&mut conn, &staying);
    for name in names("going:", 50) {
        assert_eq!(conn.cmd(&args!["SET", name, "v", "PX", "1"]), "+OK");
    }
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(keys(&mut conn, "*"), set_of(&staying));
    assert_eq!(scan(&mut conn, &[]).len(), 50);
    for _ in 0..50 {
        let key = conn.run("RANDOMKEY").value().unwrap();
        assert!(key.starts_with(b"staying:"), "{}", key.escape_ascii());
    }
}

fn a_random_key_is_one_that_exists(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("lonely", "v");
    for _ in 0..20 {
        assert_eq!(conn.run("RANDOMKEY"), "\"lonely\"");
    }
    let few = names("key:", 12);
    fill(&mut conn, &few);
    conn.run("DEL lonely");
    // Some are rarer than others, by the gap before them.
    let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for _ in 0..3000 {
        let key = conn.run("RANDOMKEY").value().unwrap();
        *drawn.entry(key).or_default() += 1;
    }
    let drawn: BTreeSet<_> = drawn.into_keys().collect();
    assert!(drawn.is_subset(&set_of(&few)), "{drawn:?}");
    assert!(drawn.len() > 6, "by chance: {drawn:?}");
}

fn a_scan_answers_each_key_once_and_looks_at_count_keys(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let names = names("key:", 500);
    fill(&mut conn, &names);
    let (mut cursor, mut pages, mut all) = ("0".to_owned(), 0, Vec::new());
    loop {
        let (next, keys) = page(&mut conn, &args!["SCAN", cursor, "COUNT", "20"]);
        pages += 1;
        assert!(keys.len() == 20 || next == "0", "{} keys", keys.len());
        all.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    // The last page may be one that finds that there is nothing more.
    assert!((25..=26).contains(&pages), "{pages} pages");
    assert_eq!(all.len(), 500);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), set_of(&names));
    let (_, keys) = page(&mut conn, &args!["SCAN", "0"]);
    assert_eq!(
        keys.len(),
        10,
        "as many as Redis looks at if it is not told"
    );
    let (next, keys) = page(
        &mut conn,
        &args!["SCAN", "0", "COUNT", "9223372036854775807"],
    );
    assert_eq!((&next[..], keys.len()), ("0", 500));
}

fn a_scan_goes_on_through_another_process(setup: Setup) {
    let mut it = setup.start();
    let names = names("key:", 300);
    fill(&mut it.conn(), &names);
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let (next, keys) = page(&mut it.conn(), &args!["SCAN", cursor, "COUNT", "100"]);
        all.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
        it.proxy_mut().kill();
        it.proxy_mut().start_again();
    }
    assert_eq!(all.len(), 300);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), set_of(&names));
}

fn a_cursor_that_was_never_given_out_does_no_harm(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    fill(&mut conn, &names("key:", 100));
    for cursor in [
        "3",
        "281474976710656",
        "844424930131968",
        "-1",
        "9223372036854775808",
    ] {
        let (_, keys) = page(&mut conn, &args!["SCAN", cursor, "COUNT", "1000"]);
        assert!(keys.len() <= 100);
    }
    assert_eq!(
        conn.run("SCAN 844424930131968"),
        "[\"0\", []]",
        "there are three shards"
    );
    assert_eq!(conn.run("SCAN -1"), "[\"0\", []]");
}

fn long_keys_are_answered_whole(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let long: Vec<Vec<u8>> = [1024, 1025, 5000, 100_000]
        .iter()
        .flat_map(|length| (0..3).map(move |n| [&vec![b'k'; *length][..], &[n]].concat()))
        .collect();
    for key in &long {
        conn.set(key, "v");
    }
    let expected: BTreeSet<Vec<u8>> = long.into_iter().collect();
    assert_eq!(keys(&mut conn, "k*"), expected);
    let scanned = scan(&mut conn, &args!["COUNT", "1"]);
    assert_eq!(scanned.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Patterns of the characters that mean something, and some bytes, over keys of the same.
fn random_patterns_choose_what_redis_chooses(setup: Setup) {
    let it = setup.start();
    let redis = RedisServer::start();
    let (mut conn, mut reference) = (it.conn(), Conn::open(&redis.addr()));
    let mut random = fastrand::Rng::with_seed(7);
    let mut word = |alphabet: &[u8], length: usize| -> Vec<u8> {
        (0..random.usize(..=length))
            .map(|_| alphabet[random.usize(..alphabet.len())])
            .collect()
    };
    for _ in 0..300 {
        let key = word(b"abz]-^\\\x00\x7f\x80\xff", 4);
        conn.set(&key, "v");
        reference.set(&key, "v");
    }
    for _ in 0..1500 {
        let pattern = word(b"abz]-^\\\x00\x7f\x80\xff[[[*?", 8);
        let expected = keys(&mut reference, &pattern);
        assert_eq!(
            keys(&mut conn, &pattern),
            expected,
            "{}",
            pattern.escape_ascii()
        );
    }
}

#[test]
fn a_shard_that_is_down_is_named() {
    let mut servers: Vec<PostgresServer> = (0..2).map(|_| PostgresServer::separate()).collect();
    let urls: Vec<String> = servers
        .iter()
        .map(PostgresServer::create_database)
        .collect();
    let dir = Scratch::new("keyspace");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&urls)
        .env("REDIS_URL", "memory:")
        .start();
    let mut conn = proxy.conn();
    for key in keys_on_each(2, "key") {
        conn.set(&key, "v");
    }
    servers[1].crash();
    for command in [
        &args!["KEYS", "*"][..],
        &args!["SCAN", "0"],
        &args!["DBSIZE"],
    ] {
        let reply = conn.cmd(command);
        assert!(reply.error().starts_with("SHARDDOWN shard_1 "), "{reply}");
    }
    let (next, found) = page(&mut conn, &args!["SCAN", "0", "COUNT", "1"]);
    assert_eq!(found.len(), 1, "what is on the first shard is answered");
    let reply = conn.cmd(&args!["SCAN", next]);
    assert!(reply.error().starts_with("SHARDDOWN shard_1 "), "{reply}");
    servers[1].start_again();
    crate::harness::eventually("the shard is back", || {
        let reply = conn.cmd(&args!["KEYS", "*"]);
        (!reply.is_error()).then(|| assert_eq!(reply.array().len(), 2))
    });
}
