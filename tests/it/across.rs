//! Transactions over several shards: all or nothing, at one instant, whoever dies in the middle.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    Conn, PostgresServer, Proxy, ProxyBuilder, RedisServer, Reply, Scratch, Setup, args, encode,
    eventually, key_on, keys_on_each, pg, with_reference,
};

with_reference!(
    commands_on_two_keys_do_not_care_where_they_are,
    a_transaction_answers_as_on_one_shard,
    a_watched_key_that_was_written_stops_it,
    a_pipeline_keeps_its_order_around_them,
    sums_over_all_shards_stay_the_same,
);

/// How long the keys of a dead proxy's transaction may stay locked.
const LOCKED_MAX: Duration = Duration::from_secs(8);

/// Keys on the shards 0, 1 and 2.
fn keys() -> Vec<String> {
    keys_on_each(3, "key")
}

fn values(conn: &mut Conn, keys: &[String]) -> Vec<Option<String>> {
    keys.iter()
        .map(|key| conn.get(key).map(|value| String::from_utf8(value).unwrap()))
        .collect()
}

/// MULTI, a SET of each key, EXEC, as one pipeline.
fn multi_set(keys: &[String], value: &str) -> Vec<u8> {
    let mut pipeline = encode(&args!["MULTI"]);
    for key in keys {
        pipeline.extend(encode(&args!["SET", key, value]));
    }
    pipeline.extend(encode(&args!["EXEC"]));
    pipeline
}

/// Reads the replies to `multi_set`; the last one.
#[track_caller]
fn multi_reply(conn: &mut Conn, keys: &[String]) -> Reply {
    for _ in 0..=keys.len() {
        let reply = conn.read();
        assert!(!reply.is_error(), "{reply}");
    }
    conn.read()
}

fn commands_on_two_keys_do_not_care_where_they_are(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let (a, b, c) = (&keys()[0], &keys()[1], &keys()[2]);
    conn.cmd(&args!["SET", a, "value", "EX", "1000"]);
    conn.get(a);
    conn.get(b);
    assert_eq!(conn.cmd(&args!["RENAME", a, b]), "+OK");
    assert_eq!(conn.get(a), None);
    assert_eq!(conn.get(b).unwrap(), b"value");
    conn.assert_ttl(b, 1000);
    assert_eq!(conn.cmd(&args!["RENAME", a, c]), "-ERR no such key");
    assert_eq!(conn.cmd(&args!["COPY", b, a]), ":1");
    assert_eq!(conn.cmd(&args!["COPY", b, a]), ":0");
    conn.assert_ttl(a, 1000);
    assert_eq!(conn.cmd(&args!["RENAMENX", a, b]), ":0");
    assert_eq!(conn.cmd(&args!["RENAMENX", a, c]), ":1");
    assert_eq!(conn.cmd(&args!["MSETNX", a, "1", b, "2"]), ":0");
    assert_eq!(conn.get(a), None);
    assert_eq!(conn.cmd(&args!["DEL", b, c]), ":2");
    assert_eq!(conn.cmd(&args!["MSETNX", a, "1", b, "2", c, "4"]), ":1");
    assert_eq!(conn.cmd(&args!["BITOP", "OR", a, b, c]), ":1");
    assert_eq!(conn.get(a).unwrap(), b"6");
    // Nothing is reserved or prepared any more.
    if !it.is_redis_itself() {
        assert_eq!(it.shards().all_rows(), 3);
    }
    for url in it.urls() {
        assert_eq!(prepared(url), 0);
    }
}

fn a_transaction_answers_as_on_one_shard(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let (a, b, c) = (&keys()[0], &keys()[1], &keys()[2]);
    conn.set(b, "text");
    assert_eq!(conn.run("MULTI"), "+OK");
    for command in [
        &args!["INCR", a][..],
        &args!["INCR", b],
        &args!["SET", c, "1"],
        &args!["MGET", a, b, c],
        &args!["PING"],
        &args!["DEL", b, c],
    ] {
        assert_eq!(conn.cmd(command), "+QUEUED");
    }
    let expected = "[:1, -ERR value is not an integer or out of range, +OK, \
                    [\"1\", \"text\", \"1\"], +PONG, :2]";
    assert_eq!(conn.run("EXEC"), expected);
    assert_eq!(values(&mut conn, &keys()), [Some("1".into()), None, None]);
}

fn a_watched_key_that_was_written_stops_it(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    let keys = keys();
    let [a, b, c] = &keys[..] else { panic!() };
    assert_eq!(conn.cmd(&args!["WATCH", a, c]), "+OK");
    other.set(c, "other");
    conn.send(&multi_set(&keys, "mine"));
    assert_eq!(multi_reply(&mut conn, &keys), "*-1");
    assert_eq!(values(&mut conn, &keys), [None, None, Some("other".into())]);
    assert_eq!(conn.cmd(&args!["WATCH", a, c]), "+OK");
    other.set(b, "not watched");
    conn.send(&multi_set(&keys, "mine"));
    assert_eq!(multi_reply(&mut conn, &keys), "[+OK, +OK, +OK]");
    assert_eq!(values(&mut conn, &keys), vec![Some("mine".to_owned()); 3]);
}

fn a_pipeline_keeps_its_order_around_them(setup: Setup) {
    let it = setup.start();
    let (a, b, c) = (&keys()[0], &keys()[1], &keys()[2]);
    for _ in 0..20 {
        let mut conn = it.conn();
        let mut pipeline = Vec::new();
        for command in [
            &args!["SET", a, "1"][..],
            &args!["RENAME", a, b],
            &args!["SET", a, "2"],
            &args!["GET", b],
            &args!["COPY", a, c, "REPLACE"],
            &args!["APPEND", c, "3"],
            &args!["MGET", a, b, c],
        ] {
            pipeline.extend(encode(command));
        }
        conn.send(&pipeline);
        for expected in [
            "+OK",
            "+OK",
            "+OK",
            "\"1\"",
            ":1",
            ":2",
            "[\"2\", \"1\", \"23\"]",
        ] {
            assert_eq!(conn.read(), expected);
        }
    }
}

/// Money is moved between accounts on all shards, through two proxies; whoever looks at all of them at one
/// instant sees the same sum.
fn sums_over_all_shards_stay_the_same(setup: Setup) {
    let it = setup.start();
    let is_shared = !it.is_embedded() && !it.is_redis_itself();
    let other = is_shared.then(|| it.builder().start());
    let accounts: Vec<String> = (0..6)
        .map(|n| key_on(n % 3, 3, &format!("account{n}")))
        .collect();
    for account in &accounts {
        it.conn().set(account, "100");
    }
    let (is_done, moved) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4_usize {
            let (accounts, is_done, moved) = (&accounts, &is_done, &moved);
            let mut conn = match &other {
                Some(other) if number % 2 == 0 => other.conn(),
                _ => it.conn(),
            };
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                while !is_done.load(Ordering::Relaxed) {
                    let from = &accounts[random.usize(..6)];
                    let to = &accounts[random.usize(..6)];
                    let has_looked = random.bool();
                    if move_one(&mut conn, from, to, has_looked) {
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Also if this fails.
        let _done = Done(&is_done);
        let mut conn = it.conn();
        let mut pipeline = encode(&args!["MULTI"]);
        for account in &accounts {
            pipeline.extend(encode(&args!["GET", account]));
        }
        pipeline.extend(encode(&args!["EXEC"]));
        let mut looked = 0;
        let begun = Instant::now();
        eventually("much was moved while one looked", || {
            conn.send(&pipeline);
            if let Some(found) = unless_too_busy(multi_reply(&mut conn, &accounts)) {
                let sum: i64 = found
                    .array()
                    .into_iter()
                    .map(|value| text(value.value()).parse::<i64>().unwrap())
                    .sum();
                assert_eq!(sum, 600);
                looked += 1;
            }
            let is_enough = looked > 20 && moved.load(Ordering::Relaxed) > 20;
            (is_enough && begun.elapsed() > Duration::from_secs(2)).then_some(())
        });
    });
    let sum: i64 = accounts
        .iter()
        .map(|key| text(it.conn().get(key)).parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, 600);
}

/// Says that something is done, however it ended.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Moves one from an account to another; false if that was not done. As a client does that has to look first, or not.
fn move_one(conn: &mut Conn, from: &str, to: &str, looks: bool) -> bool {
    let mut pipeline = encode(&args!["MULTI"]);
    if looks {
        assert_eq!(conn.cmd(&args!["WATCH", from, to]), "+OK");
        let mut amount = |key: &str| {
            let found = unless_too_busy(conn.cmd(&args!["GET", key]))?;
            Some(text(found.value()).parse::<i64>().unwrap())
        };
        let amounts = amount(from).zip(amount(to));
        let Some((have, has)) = amounts.filter(|_| from != to) else {
            conn.run("UNWATCH");
            return false;
        };
        pipeline.extend(encode(&args!["SET", from, (have - 1).to_string()]));
        pipeline.extend(encode(&args!["SET", to, (has + 1).to_string()]));
    } else {
        pipeline.extend(encode(&args!["DECRBY", from, "1"]));
        pipeline.extend(encode(&args!["INCRBY", to, "1"]));
    }
    pipeline.extend(encode(&args!["EXEC"]));
    conn.send(&pipeline);
    for _ in 0..3 {
        conn.read();
    }
    unless_too_busy(conn.read()).is_some_and(|reply| reply != "*-1")
}

/// A reply, unless it says that locks were not had in time, as happens on a busy machine, and that nothing was done.
#[track_caller]
fn unless_too_busy(reply: Reply) -> Option<Reply> {
    if !reply.is_error() {
        return Some(reply);
    }
    let words = reply.error();
    let is_harmless = words.starts_with("BUSY ") || words.starts_with("SHARDERR ");
    assert!(is_harmless, "{words}");
    None
}

fn text(value: Option<Vec<u8>>) -> String {
    String::from_utf8(value.unwrap()).unwrap()
}

#[test]
fn without_prepared_transactions_the_error_names_the_shards_and_nothing_is_done() {
    let servers: Vec<PostgresServer> = (0..2)
        .map(|_| PostgresServer::separate())
        .chain([PostgresServer::preparing()])
        .collect();
    let it = Cluster::over(servers);
    let (mut conn, keys) = (it.proxy.conn(), keys());
    conn.send(&multi_set(&keys, "new"));
    let reply = multi_reply(&mut conn, &keys);
    let words = reply.error();
    assert!(words.starts_with("CROSSSHARD "), "{words}");
    for part in [
        "(shard_0, shard_1, shard_2)",
        "shard_0 and shard_1 are on",
        "max_prepared_transactions",
        "HASH_TAGS",
    ] {
        assert!(words.contains(part), "{part} in: {words}");
    }
    assert_eq!(values(&mut conn, &keys), [None, None, None]);
    // One that can't is enough: it decides.
    for pair in [[0, 2], [1, 2]] {
        let pair = pair.map(|shard| keys[shard].clone());
        conn.send(&multi_set(&pair, "new"));
        assert_eq!(multi_reply(&mut conn, &pair), "[+OK, +OK]");
    }
    assert_eq!(values(&mut conn, &keys), vec![Some("new".to_owned()); 3]);
}

#[test]
fn files_and_servers_do_not_go_together() {
    let dir = Scratch::new("across");
    let server = PostgresServer::preparing();
    let file = |n| format!("sqlite:{}", dir.join(&format!("s{n}.db")).display());
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&[file(0), server.create_database(), file(2)])
        .start();
    let (mut conn, keys) = (proxy.conn(), keys());
    let reply = conn.cmd(&args!["MSETNX", keys[0], "1", keys[1], "2"]);
    assert!(reply.error().starts_with("CROSSSHARD "), "{reply}");
    assert!(
        reply
            .error()
            .contains("shard_0 is in SQLite, the others in PostgreSQL"),
        "{reply}"
    );
    assert_eq!(values(&mut conn, &keys), [None, None, None]);
    assert_eq!(conn.cmd(&args!["MSETNX", keys[0], "1", keys[2], "2"]), ":1");
}

/// The embedded shards: their process dies at `point`, and the next one finds all or nothing.
fn dies_embedded(point: &str, expected: &str) {
    let mut it = Setup::embedded().start();
    let keys = keys();
    for key in &keys {
        it.conn().set(key, "old");
    }
    it.proxy_mut().kill();
    let mut victim = it.builder().env("RESPGRES_DIE_AT", point).start();
    let mut conn = victim.conn();
    conn.send(&multi_set(&keys, "new"));
    let exit = victim.wait_exit();
    assert_eq!(exit.code, 128 + Signal::SIGABRT as i32, "{exit:?}");
    it.proxy_mut().start_again();
    let mut conn = it.conn();
    assert_eq!(
        values(&mut conn, &keys),
        vec![Some(expected.to_owned()); 3],
        "{point}"
    );
    conn.send(&multi_set(&keys, "next"));
    assert_eq!(multi_reply(&mut conn, &keys), "[+OK, +OK, +OK]");
    it.proxy_mut().kill();
    it.proxy_mut().start_again();
    assert_eq!(
        values(&mut it.conn(), &keys),
        vec![Some("next".to_owned()); 3]
    );
}

#[test]
fn the_embedded_proxy_may_die_at_each_step() {
    for (point, expected) in [
        ("across:written", "old"),
        ("across:some-prepared", "old"),
        ("across:prepared", "old"),
        ("across:decided", "new"),
        ("across:some-committed", "new"),
        ("across:committed", "new"),
        ("across:fin", "new"),
    ] {
        dies_embedded(point, expected);
    }
}

/// A part that could not be finished at once, as on a full disk, here made by SQL: nothing is written to the file
/// before it is finished, and then the cache does not have what was there before.
#[test]
fn an_unfinished_part_in_a_file_is_finished_before_anything_is_written() {
    let it = Setup::embedded().start();
    let (mut conn, keys) = (it.conn(), keys());
    for key in &keys {
        conn.set(key, "old");
        assert_eq!(conn.get(key).unwrap(), b"old");
    }
    let file = |n| {
        rusqlite::Connection::open(it.dir().join("data").join(format!("shard_{n}.db"))).unwrap()
    };
    let query = "select deployment_id from respgres_identity";
    let deployment: String = file(0).query_row(query, [], |row| row.get(0)).unwrap();
    let gid = format!("respgres:{deployment}:0:test:1");
    let sql = format!("insert into respgres_decisions values ('{gid}', 'commit', '1', 1)");
    file(0).execute_batch(&sql).unwrap();
    let sql = format!(
        "begin;
         insert into respgres_prepared values
            ('{gid}', null, null, unixepoch() * 1000000, null, null, null),
            ('{gid}', cast('{}' as blob), cast('new' as blob), 1, 1, null, 7);
         commit",
        keys[1]
    );
    file(1).execute_batch(&sql).unwrap();
    let mut refused = 0;
    eventually("it is finished", || {
        let reply = conn.cmd(&args!["APPEND", keys[1], "er"]);
        if reply.is_error() {
            assert!(
                reply.error().contains("has still to be finished"),
                "{reply}"
            );
            refused += 1;
            return None;
        }
        Some(())
    });
    assert!(refused > 0);
    assert_eq!(
        values(&mut conn, &keys),
        ["old", "newer", "old"].map(|v| Some(v.to_owned()))
    );
}

/// A shard that refuses one of the rows.
fn refuse_row(url: &str, key: &str) {
    let sql = format!(
        "alter table respgres_kv add constraint refused check (key <> '{key}' or value <> 'refused')"
    );
    pg(url).unwrap().batch_execute(&sql).unwrap();
}

#[test]
fn what_one_shard_refuses_happens_on_none() {
    let it = Setup::postgres().env("ATOMIC_MSET", "on").start();
    let (mut conn, keys) = (it.conn(), keys());
    refuse_row(&it.urls()[2], &keys[2]);
    let mset = args![
        "MSET", keys[0], "refused", keys[1], "refused", keys[2], "refused"
    ];
    for _ in 0..3 {
        let reply = conn.cmd(&mset);
        assert!(reply.error().starts_with("SHARDERR shard_2 "), "{reply}");
        conn.send(&multi_set(&keys, "refused"));
        let reply = multi_reply(&mut conn, &keys);
        assert!(reply.error().starts_with("SHARDERR shard_2 "), "{reply}");
        assert_eq!(values(&mut conn, &keys), [None, None, None]);
    }
    assert_eq!(
        conn.cmd(&args!["MSET", keys[0], "1", keys[1], "2", keys[2], "3"]),
        "+OK"
    );
    let mut unasked = it.builder().env("ATOMIC_MSET", "off").start();
    let reply = unasked.conn().cmd(&mset);
    assert!(
        reply.error().contains("the other shards did theirs"),
        "{reply}"
    );
    unasked.terminate();
}

/// Transactions that are prepared in a database.
fn prepared(url: &str) -> i64 {
    let query = "select count(*) from pg_prepared_xacts where database = current_database()";
    pg(url).unwrap().query_one(query, &[]).unwrap().get(0)
}

/// Two proxies on three servers, and a Redis.
struct Cluster {
    proxy: Proxy,
    builder: ProxyBuilder,
    servers: Vec<PostgresServer>,
    urls: Vec<String>,
    _redis: RedisServer,
    _dir: Scratch,
}

impl Cluster {
    fn start() -> Cluster {
        Cluster::over((0..3).map(|_| PostgresServer::preparing()).collect())
    }

    fn over(servers: Vec<PostgresServer>) -> Cluster {
        let urls: Vec<String> = servers
            .iter()
            .map(PostgresServer::create_database)
            .collect();
        let redis = RedisServer::start();
        let dir = Scratch::new("across");
        let builder = ProxyBuilder::new(dir.path())
            .shard_urls(&urls)
            .env("REDIS_URL", redis.url());
        Cluster {
            proxy: builder.clone().start(),
            builder,
            servers,
            urls,
            _redis: redis,
            _dir: dir,
        }
    }

    /// Writes and caches `old` everywhere.
    fn cache_old(&self) {
        let http = self.proxy.http();
        for key in keys() {
            self.proxy.conn().set(&key, "old");
            eventually("it is cached", || {
                http.value_and_origin(&key).1.then_some(())
            });
        }
    }

    /// Waits until all keys have the same one of `old` and `new`, nothing is prepared, and all can be written.
    #[track_caller]
    fn settled(&self) -> String {
        let (mut conn, keys) = (self.proxy.conn(), keys());
        let since = Instant::now();
        eventually("nothing is in doubt", || {
            let is_open = |url: &String| {
                pg(url).is_ok_and(|mut sql| {
                let query = "select count(*) from pg_prepared_xacts where database = current_database()";
                sql.query_one(query, &[]).is_ok_and(|row| row.get::<_, i64>(0) == 0)
            })
            };
            self.urls.iter().all(is_open).then_some(())
        });
        let query = "select convert_from(value, 'UTF8') from respgres_kv where key = $1";
        let stored = |shard: usize| -> String {
            let mut sql = pg(&self.urls[shard]).unwrap();
            sql.query_one(query, &[&keys[shard].as_bytes()])
                .unwrap()
                .get(0)
        };
        let found = stored(0);
        for shard in 1..3 {
            assert_eq!(stored(shard), found, "shard {shard} beside shard 0");
        }
        // What was committed and not acknowledged may be hidden by the cache for a moment.
        for key in &keys {
            eventually("the caches know", || {
                let reply = conn.cmd(&args!["GET", key]);
                (!reply.is_error() && reply.value().unwrap() == found.as_bytes()).then_some(())
            });
        }
        for key in &keys {
            let written = eventually("it can be written", || {
                let reply = conn.cmd(&args!["APPEND", key, ""]);
                (!reply.is_error()).then_some(reply)
            });
            assert_eq!(written, ":3");
        }
        assert!(since.elapsed() < LOCKED_MAX, "{:?}", since.elapsed());
        found
    }
}

/// A proxy dies at `point`; then everything is as it is said to be.
fn dies(point: &str, expected: &str) {
    let it = Cluster::start();
    it.cache_old();
    let mut victim = it.builder.clone().env("RESPGRES_DIE_AT", point).start();
    let mut conn = victim.conn();
    conn.send(&multi_set(&keys(), "new"));
    let exit = victim.wait_exit();
    assert_eq!(exit.code, 128 + Signal::SIGABRT as i32, "{exit:?}");
    assert_eq!(it.settled(), expected);
    // And it stays so.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        values(&mut it.proxy.conn(), &keys()),
        vec![Some(expected.to_owned()); 3]
    );
}

#[test]
fn dead_before_anything_is_prepared_nothing_happens() {
    dies("across:written", "old");
}

#[test]
fn dead_when_some_is_prepared_nothing_happens() {
    dies("across:some-prepared", "old");
}

#[test]
fn dead_when_all_is_prepared_nothing_happens() {
    dies("across:prepared", "old");
}

#[test]
fn dead_when_it_is_decided_everything_happens() {
    dies("across:decided", "new");
}

#[test]
fn dead_when_some_is_committed_everything_happens() {
    dies("across:some-committed", "new");
}

#[test]
fn dead_when_all_is_committed_the_caches_are_told() {
    dies("across:committed", "new");
}

#[test]
fn dead_before_the_acknowledgement_the_new_values_are_read() {
    dies("across:fin", "new");
}

/// A server is killed while the proxy stands still at `point`; both go on, and everything is as it is said.
fn server_dies(point: &str, shard: usize, check: impl Fn(&crate::harness::Reply, &str)) {
    let mut it = Cluster::start();
    it.cache_old();
    let mut victim = it.builder.clone().env("RESPGRES_STOP_AT", point).start();
    let mut conn = victim.conn();
    conn.set_limit(Duration::from_secs(40));
    conn.send(&multi_set(&keys(), "new"));
    let status = format!("/proc/{}/stat", victim.pid());
    eventually("it stands still", || {
        let status = std::fs::read_to_string(&status).unwrap();
        status
            .rsplit(") ")
            .next()
            .unwrap()
            .starts_with('T')
            .then_some(())
    });
    it.servers[shard].kill();
    it.servers[shard].start_again();
    victim.signal(Signal::SIGCONT);
    let reply = multi_reply(&mut conn, &keys());
    let found = it.settled();
    check(&reply, &found);
}

#[test]
fn the_deciding_server_dies_before_the_decision() {
    server_dies("across:prepared", 0, |reply, found| {
        assert!(reply.is_error(), "{reply}");
        assert_eq!(found, "old");
    });
}

#[test]
fn another_server_dies_before_it_is_prepared() {
    server_dies("across:written", 1, |reply, found| {
        assert!(reply.error().starts_with("SHARDDOWN shard_1 "), "{reply}");
        assert_eq!(found, "old");
    });
}

#[test]
fn another_server_dies_when_it_is_prepared() {
    server_dies("across:prepared", 2, |reply, found| {
        // It is up again, and has what was prepared.
        assert_eq!(*reply, "[+OK, +OK, +OK]");
        assert_eq!(found, "new");
    });
}

#[test]
fn another_server_dies_when_it_is_decided() {
    server_dies("across:decided", 1, |reply, found| {
        assert_eq!(*reply, "[+OK, +OK, +OK]");
        assert_eq!(found, "new");
    });
}

/// The proxy stands still, and is not dead: nobody fences off what it left in the cache. What others finish for it, they
/// tell the cache.
#[test]
fn others_finish_what_stands_still_and_tell_the_cache() {
    let it = Cluster::start();
    it.cache_old();
    let point = ("RESPGRES_STOP_AT", "across:decided");
    let mut victim = it.builder.clone().env(point.0, point.1).start();
    let mut conn = victim.conn();
    conn.send(&multi_set(&keys(), "new"));
    // It gets there when it gets there; the decision stays for a minute.
    eventually("it is decided", || {
        let mut sql = pg(&it.urls[0]).ok()?;
        let query = "select count(*) from respgres_decisions where verdict = 'commit'";
        let decided: i64 = sql.query_one(query, &[]).ok()?.get(0);
        (decided == 1).then_some(())
    });
    assert_eq!(it.settled(), "new");
    assert!(!it.proxy.log().contains("ended without signing off"));
    assert!(
        it.proxy
            .log()
            .contains("left behind; its part here is finished")
    );
    victim.signal(Signal::SIGCONT);
    assert_eq!(multi_reply(&mut conn, &keys()), "[+OK, +OK, +OK]");
    assert_eq!(values(&mut conn, &keys()), vec![Some("new".to_owned()); 3]);
}

#[test]
fn what_is_in_doubt_waits_for_the_shard_that_decided() {
    let mut it = Cluster::start();
    it.cache_old();
    let mut victim = it
        .builder
        .clone()
        .env("RESPGRES_DIE_AT", "across:decided")
        .start();
    let mut conn = victim.conn();
    // The decision is on the shard that is lost with the proxy.
    conn.send(&multi_set(&keys(), "new"));
    victim.wait_exit();
    it.servers[0].kill();
    let begun = Instant::now();
    eventually("it says so", || {
        it.proxy
            .log()
            .contains("can't be finished yet")
            .then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(prepared(&it.urls[1]) + prepared(&it.urls[2]), 2);
    it.servers[0].start_again();
    assert_eq!(it.settled(), "new");
}

#[test]
fn a_decision_is_kept_as_long_as_a_branch_of_it_is_prepared() {
    let it = Setup::postgres().start();
    let (mut conn, keys) = (it.conn(), keys());
    conn.send(&multi_set(&keys, "new"));
    assert_eq!(multi_reply(&mut conn, &keys), "[+OK, +OK, +OK]");
    let mut decider = pg(&it.urls()[0]).unwrap();
    let decisions = |sql: &mut ::postgres::Client| -> i64 {
        let query = "select count(*) from respgres_decisions where verdict = 'commit'";
        sql.query_one(query, &[]).unwrap().get(0)
    };
    assert_eq!(decisions(&mut decider), 1);
    let query = "select deployment_id from respgres_identity";
    let deployment: String = decider.query_one(query, &[]).unwrap().get(0);
    // Nobody can finish it: there is no such shard.
    let gid = format!("respgres:{deployment}:999:{}", fastrand::u64(..));
    let mut other = pg(&it.urls()[1]).unwrap();
    other
        .batch_execute(&format!(
            "begin; select txid_current(); prepare transaction '{gid}:1'"
        ))
        .unwrap();
    let insert = format!(
        "insert into respgres_decisions values ('{gid}', 'commit', '{{1,2}}');
        update respgres_decisions set decided_at = now() - interval '2 minutes'"
    );
    decider.batch_execute(&insert).unwrap();
    eventually("the one that nobody needs is forgotten", || {
        (decisions(&mut decider) == 1).then_some(())
    });
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(decisions(&mut decider), 1);
    other
        .batch_execute(&format!("rollback prepared '{gid}:1'"))
        .unwrap();
    eventually("then the other one", || {
        (decisions(&mut decider) == 0).then_some(())
    });
}
