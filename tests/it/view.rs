//! Redis restored, replaced, demoted or cut off from one proxy, and proxies that stand still: nobody reads what has
//! been overwritten, and the cache is in use again afterwards.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Cut, Direction, FaultProxy, PostgresServer, Proxy, ProxyBuilder, RedisServer, Scratch, Silence,
    args, blank_databases, eventually, pg,
};

/// Longer than a lease on a view, and than a change of it.
const PAUSE: Duration = Duration::from_millis(2500);

/// Two proxies on the same shard; each has its own way to the same Redis.
struct Pair {
    one: Proxy,
    other: Proxy,
    way_of_other: FaultProxy,
    redis: RedisServer,
    urls: Vec<String>,
    builder: ProxyBuilder,
    _dir: Scratch,
}

impl Pair {
    fn start() -> Pair {
        let dir = Scratch::new("view");
        let redis = RedisServer::start();
        let way_of_other = FaultProxy::start(&redis.addr());
        let urls = blank_databases(1);
        let builder = ProxyBuilder::new(dir.path())
            .shard_urls(&urls)
            // A statement may wait for a lock for as long as a test takes.
            .env("DB_QUERY_TIMEOUT_MS", "60000");
        let one = builder.clone().env("REDIS_URL", redis.url()).start();
        let url = format!("redis://{}", way_of_other.addr());
        let other = builder.clone().env("REDIS_URL", url).start();
        Pair {
            one,
            other,
            way_of_other,
            redis,
            urls,
            builder,
            _dir: dir,
        }
    }

    /// Writes `key` and puts it into the cache, for both.
    #[track_caller]
    fn cache(&self, key: &str, value: &str) {
        self.one.conn().set(key, value);
        for proxy in [&self.one, &self.other] {
            wait_until_cached(proxy, key, value);
        }
    }

    /// Reads `key` through both, again and again.
    #[track_caller]
    fn expect(&self, key: &str, value: &str) {
        let mut conns = [self.one.conn(), self.other.conn()];
        for _ in 0..50 {
            for conn in &mut conns {
                let found = conn.get(key).unwrap();
                assert_eq!(String::from_utf8_lossy(&found), value);
            }
        }
    }
}

/// Reads `key`, which must be `value`, until it comes from the cache.
#[track_caller]
fn wait_until_cached(proxy: &Proxy, key: &str, value: &str) {
    let http = proxy.http();
    eventually("it is cached", || {
        let (found, from_cache) = http.value_and_origin(key);
        assert_eq!(found, value);
        from_cache.then_some(())
    });
}

#[test]
fn entries_that_come_back_from_a_snapshot_are_not_read() {
    let mut it = Pair::start();
    it.cache("key", "old");
    it.redis.save();
    it.one.conn().set("key", "new");
    it.redis.crash();
    it.redis.start_again();
    // The entry is there; its name has the epoch of another process.
    assert!(it.redis.conn().run("DBSIZE").int() > 0);
    it.expect("key", "new");
    it.cache("key", "newest");
}

#[test]
fn what_is_written_during_an_outage_is_read_after_it() {
    let mut it = Pair::start();
    it.cache("key", "old");
    it.redis.save();
    it.redis.crash();
    it.other.conn().set("key", "new");
    it.expect("key", "new");
    it.redis.start_again();
    it.expect("key", "new");
    it.cache("key", "newest");
}

#[test]
fn a_proxy_that_is_cut_off_from_redis_writes_and_the_other_reads_it() {
    let it = Pair::start();
    it.cache("key", "old");
    it.way_of_other.refuse();
    it.way_of_other.cut(Cut::Close);
    it.other.conn().set("key", "new");
    it.expect("key", "new");
    it.one.conn().set("key", "newer");
    it.expect("key", "newer");
    it.way_of_other.heal();
    it.cache("key", "newest");
}

#[test]
fn a_proxy_that_hears_nothing_from_redis_writes_and_the_other_reads_it() {
    for direction in [Direction::ToClient, Direction::ToServer] {
        let it = Pair::start();
        it.cache("key", "old");
        it.way_of_other.silence(direction, Silence::Hold);
        it.other.conn().set("key", "new");
        it.expect("key", "new");
        // What was held arrives in a view that is over.
        it.way_of_other.heal();
        it.expect("key", "new");
        it.cache("key", "newest");
    }
}

#[test]
fn connections_that_are_reset_and_made_again_at_once_cost_no_change_of_view() {
    let it = Pair::start();
    it.cache("key", "old");
    let mut shard = pg(&it.urls[0]).unwrap();
    let mut epoch = || {
        let row = shard.query_one("select epoch from respgres_view", &[]);
        row.unwrap().get::<_, i64>(0)
    };
    // On a machine that is out of breath it may take too long, but not each time.
    eventually("a reset costs no change", || {
        let before = epoch();
        it.way_of_other.cut(Cut::Reset);
        it.other.conn().set("key", "new");
        it.expect("key", "new");
        if epoch() != before {
            it.cache("key", "old");
            return None;
        }
        Some(())
    });
    it.cache("key", "newest");
}

#[test]
fn a_proxy_that_stood_still_reads_what_was_written_meanwhile() {
    let mut it = Pair::start();
    it.cache("key", "old");
    it.redis.save();
    it.other.signal(Signal::SIGSTOP);
    it.redis.crash();
    it.one.conn().set("key", "new");
    it.redis.start_again();
    std::thread::sleep(PAUSE);
    let mut conn = it.other.conn();
    conn.send(&crate::harness::encode(&args!["GET", "key"]));
    it.other.signal(Signal::SIGCONT);
    assert_eq!(conn.read(), "\"new\"");
    it.expect("key", "new");
    it.cache("key", "newest");
}

#[test]
fn a_write_that_stood_still_is_not_hidden_by_what_was_read_meanwhile() {
    let mut it = Pair::start();
    it.cache("key", "old");
    // The commit waits for this lock; then its proxy stands still until the views have changed.
    let url = it.urls[0].clone();
    let mut lock = pg(&url).unwrap();
    lock.batch_execute("begin; select from respgres_kv where key = 'key' for update")
        .unwrap();
    let mut conn = it.other.conn();
    conn.send(&crate::harness::encode(&args!["SET", "key", "new"]));
    wait_for_a_lock(&url);
    it.other.signal(Signal::SIGSTOP);
    it.redis.crash();
    it.redis.start_again();
    wait_until_cached(&it.one, "key", "old");
    lock.batch_execute("commit").unwrap();
    // Committed, and unacknowledged: both values are right.
    let mut reader = it.one.conn();
    assert!(reader.get("key").is_some());
    it.other.signal(Signal::SIGCONT);
    assert_eq!(conn.read(), "+OK");
    it.expect("key", "new");
}

#[test]
fn a_demoted_redis_is_not_read_and_neither_is_what_it_copied() {
    let it = Pair::start();
    let second = RedisServer::start();
    let port = |server: &RedisServer| server.addr().rsplit(':').next().unwrap().to_owned();
    it.cache("key", "old");
    second
        .conn()
        .run(&format!("REPLICAOF 127.0.0.1 {}", port(&it.redis)));
    eventually("the second one has copied the entries", || {
        (second.conn().run("DBSIZE").int() > 0
            && second.conn().info("replication").contains("link_status:up"))
        .then_some(())
    });
    second.conn().run("REPLICAOF NO ONE");
    it.one.conn().set("key", "new");
    it.redis
        .conn()
        .run(&format!("REPLICAOF 127.0.0.1 {}", port(&second)));
    it.expect("key", "new");
    eventually("the first one has the old entries again", || {
        (it.redis.conn().run("DBSIZE").int() > 0
            && it
                .redis
                .conn()
                .info("replication")
                .contains("link_status:up"))
        .then_some(())
    });
    it.expect("key", "new");
    it.one.conn().set("key", "newer");
    it.expect("key", "newer");
    it.redis.conn().run("REPLICAOF NO ONE");
    it.expect("key", "newer");
    it.cache("key", "newest");
}

#[test]
fn two_masters_each_seen_by_one_proxy_are_not_used() {
    let it = Pair::start();
    let second = RedisServer::start();
    it.cache("key", "old");
    it.way_of_other.redirect(&second.addr());
    it.way_of_other.cut(Cut::Close);
    for round in 0..20 {
        let (writer, value) = if round % 2 == 0 {
            (&it.one, format!("one {round}"))
        } else {
            (&it.other, format!("other {round}"))
        };
        writer.conn().set("key", &value);
        it.expect("key", &value);
    }
    it.way_of_other.redirect(&it.redis.addr());
    it.way_of_other.cut(Cut::Close);
    it.cache("key", "newest");
}

#[test]
fn flushall_by_an_administrator_forgets_and_nothing_else() {
    let it = Pair::start();
    it.cache("key", "old");
    assert_eq!(it.redis.conn().run("FLUSHALL"), "+OK");
    it.expect("key", "old");
    it.other.conn().set("key", "new");
    it.expect("key", "new");
}

#[test]
fn flushall_through_a_proxy_is_seen_through_the_other() {
    let it = Pair::start();
    it.cache("key", "old");
    assert_eq!(it.other.conn().run("FLUSHALL"), "+OK");
    assert_eq!(it.one.conn().get("key"), None);
    assert_eq!(it.other.conn().get("key"), None);
}

/// What `one` writes is read through the other, and the reverse, from the first moment on.
#[track_caller]
fn assert_coherent(one: &Proxy, other: &Proxy) {
    for round in 0..10 {
        for (writer, reader) in [(one, other), (other, one)] {
            let value = format!("{round} by {}", writer.pid());
            writer.conn().set("key", &value);
            for proxy in [reader, writer, reader] {
                assert_eq!(proxy.http().value_and_origin("key").0, value);
            }
        }
    }
}

#[test]
fn proxies_with_caches_of_their_own_use_none_and_say_so() {
    let dir = Scratch::new("alone");
    let builder = ProxyBuilder::new(dir.path())
        .shard_urls(&blank_databases(1))
        .env("REDIS_URL", "memory:");
    let one = builder.clone().start();
    one.conn().set("key", "old");
    wait_until_cached(&one, "key", "old");
    let other = builder.start();
    assert_coherent(&one, &other);
    for proxy in [&one, &other] {
        eventually("it says what is wrong", || {
            let log = proxy.log();
            log.contains("the proxies do not reach the same one")
                .then_some(())
        });
        assert!(!proxy.http().value_and_origin("key").1);
    }
}

#[test]
fn a_proxy_that_was_started_without_redis_does_not_write_behind_the_others_back() {
    let it = Pair::start();
    it.cache("key", "old");
    let third = it.builder.clone().env("REDIS_URL", "memory:").start();
    third.conn().set("key", "new");
    it.expect("key", "new");
    assert_coherent(&it.one, &third);
}

/// With Redis, then without, then with it again, one proxy after the other; in the end it has the old entry still.
fn with_and_without_redis(shard_url: &str, dir: &Scratch) {
    let redis = RedisServer::start();
    let builder = ProxyBuilder::new(dir.path()).shard_urls(&[shard_url]);
    let with_redis = builder.clone().env("REDIS_URL", redis.url());
    let mut proxy = with_redis.clone().start();
    proxy.conn().set("key", "old");
    wait_until_cached(&proxy, "key", "old");
    for (builder, value) in [
        (builder.env("REDIS_URL", "memory:"), "new"),
        (with_redis, "newest"),
    ] {
        proxy.terminate();
        proxy.wait_exit();
        proxy = builder.start();
        assert_ne!(redis.conn().run("DBSIZE").int(), 0);
        if value == "newest" {
            assert_eq!(proxy.http().value_and_origin("key").0, "new");
        }
        proxy.conn().set("key", value);
        assert_eq!(proxy.http().value_and_origin("key").0, value);
    }
}

#[test]
fn what_was_written_without_redis_is_read_with_it_again() {
    let dir = Scratch::new("with");
    with_and_without_redis(&blank_databases(1)[0], &dir);
}

#[test]
fn what_was_written_to_a_file_without_redis_is_read_with_it_again() {
    let dir = Scratch::new("with");
    let url = format!("sqlite:{}", dir.join("shard.db").display());
    with_and_without_redis(&url, &dir);
}

/// A proxy with a shard that the test kills, or stops; `how` is READS_WHEN_SHARD_DOWN.
fn with_a_dead_shard(how: &str, hangs: bool, check: impl FnOnce(&Proxy)) {
    let mut server = PostgresServer::separate();
    let redis = RedisServer::start();
    let dir = Scratch::new("reads");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&[server.create_database()])
        .env("REDIS_URL", redis.url())
        .env("READS_WHEN_SHARD_DOWN", how)
        .start();
    proxy.conn().set("key", "value");
    let http = proxy.http();
    wait_until_cached(&proxy, "key", "value");
    if hangs {
        server.pause();
    } else {
        server.crash();
    }
    eventually("the shard is known to be down", || {
        (http.health().1["shards"]["shard_0"] != "healthy").then_some(())
    });
    check(&proxy);
    if hangs {
        server.resume();
    } else {
        server.start_again();
    }
    eventually("the shard is back", || {
        (proxy.conn().run("SET key again") == "+OK").then_some(())
    });
    assert_eq!(proxy.conn().run("GET key"), "\"again\"");
}

#[test]
fn cached_keys_of_a_dead_shard_are_errors_after_a_second() {
    with_a_dead_shard("error", false, |proxy| {
        eventually("the lease has ended", || {
            let reply = proxy.conn().run("GET key");
            (reply != "\"value\"").then(|| {
                assert!(reply.error().starts_with("SHARDDOWN shard_0 "), "{reply}");
            })
        });
        assert!(proxy.conn().run("GET key").is_error());
    });
}

#[test]
fn cached_keys_of_a_dead_shard_are_answered_where_that_is_asked_for() {
    for hangs in [false, true] {
        with_a_dead_shard("cached", hangs, |proxy| {
            std::thread::sleep(PAUSE);
            assert_eq!(proxy.conn().run("GET key"), "\"value\"");
            assert!(proxy.conn().run("GET nosuch").is_error());
            assert!(proxy.conn().run("SET key new").is_error());
        });
    }
}

/// Waits until a statement in this database waits for a lock.
fn wait_for_a_lock(url: &str) {
    let mut client = pg(url).unwrap();
    eventually("a statement waits for a lock", || {
        let row = client.query_one(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            &[],
        );
        (row.unwrap().get::<_, i64>(0) > 0).then_some(())
    });
}
