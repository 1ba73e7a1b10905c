//! Redis gone, absent or hanging: everything works from the shards, and the cache comes back by itself, never stale.

use crate::harness::{
    Deployment, Proxy, ProxyBuilder, RedisServer, Scratch, blank_databases, eventually,
};

/// A proxy over blank databases, with a Redis that the test handles.
fn start(redis: &RedisServer) -> (Scratch, Proxy) {
    let dir = Scratch::new("outage");
    let builder = ProxyBuilder::new(dir.path())
        .shard_urls(&blank_databases(3))
        .env("REDIS_URL", redis.url());
    let proxy = builder.start();
    // The proxy goes first: its log is in the directory.
    (dir, proxy)
}

/// Reads and writes on both ports, as they work with or without a cache.
#[track_caller]
fn check_that_everything_works(proxy: &Proxy, phase: &str) {
    let (mut conn, http) = (proxy.conn(), proxy.http());
    for n in 0..20 {
        let (key, value) = (format!("key:{n}"), format!("{phase} {n}"));
        conn.set(&key, &value);
        assert_eq!(conn.get(&key).unwrap(), value.as_bytes());
        assert_eq!(http.value_and_origin(&key).0, value);
        http.write(&key, "by http").expect(200);
        assert_eq!(conn.get(&key).unwrap(), b"by http");
        conn.set(&key, &value);
    }
    assert_eq!(conn.run("MSET a 1 b 2 c 3"), "+OK");
    assert_eq!(conn.run("MGET a b c nosuch"), "[\"1\", \"2\", \"3\", $-1]");
    assert_eq!(conn.run("DEL a b nosuch"), ":2");
    assert_eq!(conn.run("SET a 1 NX"), "+OK");
    assert_eq!(conn.run("EXPIRE a 1000"), ":1");
    assert_eq!(conn.run("EXISTS a b c"), ":2");
    http.read("nosuch").expect_detail(404);
}

/// Waits until reads are served from the cache.
#[track_caller]
fn wait_for_hits(proxy: &Proxy) {
    let http = proxy.http();
    http.write("probe", "value").expect(200);
    eventually("a read is a hit again", || {
        http.value_and_origin("probe").1.then_some(())
    });
    eventually("health tells it", || {
        (http.health().1["cache"] == "healthy").then_some(())
    });
    assert_eq!(http.stats()["cache_available"], true);
}

/// Waits until health calls the cache down, which takes no more than a probe.
#[track_caller]
fn wait_for_degraded(proxy: &Proxy) {
    let http = proxy.http();
    let body = eventually("health tells it", || {
        let (status, body) = http.health();
        assert_eq!(status, 200, "it still serves: {body}");
        (body["status"] == "degraded").then_some(body)
    });
    assert_ne!(body["cache"], "healthy");
    assert_eq!(body["shards"]["shard_0"], "healthy");
    assert_eq!(http.stats()["cache_available"], false);
}

/// Fills the cache with values that must not be seen once they have been overwritten.
fn cache_old_values(proxy: &Proxy) {
    let mut conn = proxy.conn();
    for n in 0..20 {
        conn.set(format!("key:{n}"), "old");
        conn.get(format!("key:{n}"));
        assert_eq!(conn.get(format!("key:{n}")).unwrap(), b"old");
    }
}

#[track_caller]
fn assert_no_old_value(proxy: &Proxy, phase: &str) {
    let mut conn = proxy.conn();
    for _ in 0..3 {
        for n in 0..20 {
            let value = conn.get(format!("key:{n}")).unwrap();
            assert_eq!(String::from_utf8(value).unwrap(), format!("{phase} {n}"));
        }
    }
}

#[test]
fn redis_killed_and_started_again() {
    let mut redis = RedisServer::start();
    let (_dir, proxy) = start(&redis);
    check_that_everything_works(&proxy, "before");
    wait_for_hits(&proxy);
    cache_old_values(&proxy);
    redis.crash();
    check_that_everything_works(&proxy, "during");
    wait_for_degraded(&proxy);
    assert_no_old_value(&proxy, "during");
    redis.start_again();
    assert_no_old_value(&proxy, "during");
    wait_for_hits(&proxy);
    assert_no_old_value(&proxy, "during");
    check_that_everything_works(&proxy, "after");
    assert_no_old_value(&proxy, "after");
}

#[test]
fn redis_down_at_start() {
    let mut redis = RedisServer::down();
    let (_dir, proxy) = start(&redis);
    check_that_everything_works(&proxy, "without");
    wait_for_degraded(&proxy);
    redis.start_again();
    wait_for_hits(&proxy);
    assert_no_old_value(&proxy, "without");
    check_that_everything_works(&proxy, "with");
}

#[test]
fn redis_hanging() {
    let mut redis = RedisServer::start();
    let (_dir, proxy) = start(&redis);
    wait_for_hits(&proxy);
    cache_old_values(&proxy);
    redis.pause();
    check_that_everything_works(&proxy, "during");
    wait_for_degraded(&proxy);
    assert_no_old_value(&proxy, "during");
    redis.resume();
    // What the paused process still holds is old.
    assert_no_old_value(&proxy, "during");
    wait_for_hits(&proxy);
    assert_no_old_value(&proxy, "during");
    check_that_everything_works(&proxy, "after");
}

#[test]
fn redis_hanging_while_clients_are_reading_and_writing() {
    let mut redis = RedisServer::start();
    let (_dir, proxy) = start(&redis);
    wait_for_hits(&proxy);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (proxy, done) = (&proxy, &done);
            scope.spawn(move || {
                let mut conn = proxy.conn();
                let mut number = 0_u32;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    number += 1;
                    let (key, value) = (format!("client:{client}"), number.to_string());
                    conn.set(&key, &value);
                    for _ in 0..3 {
                        assert_eq!(String::from_utf8(conn.get(&key).unwrap()).unwrap(), value);
                    }
                }
                assert!(number > 3);
            });
        }
        // Not a blip, which would be over before the view is changed.
        let outage = std::time::Duration::from_secs(1);
        redis.pause();
        wait_for_degraded(&proxy);
        std::thread::sleep(outage);
        redis.resume();
        wait_for_hits(&proxy);
        redis.crash();
        wait_for_degraded(&proxy);
        std::thread::sleep(outage);
        redis.start_again();
        wait_for_hits(&proxy);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_redis_that_refuses_its_password_is_a_cache_that_is_down() {
    let it: Deployment = crate::harness::Setup::postgres().start();
    assert_eq!(
        it.redis().conn().run("CONFIG SET requirepass secret"),
        "+OK"
    );
    let mut other = it.builder().start();
    check_that_everything_works(&other, "without the password");
    wait_for_degraded(&other);
    // While it is there nobody uses the cache: what it writes it could not remove.
    wait_for_degraded(it.proxy());
    other.terminate();
    other.wait_exit();
    let url = it.redis().url().replace("redis://", "redis://:secret@");
    let third = it.builder().env("REDIS_URL", url).start();
    wait_for_hits(&third);
    assert!(!third.log().contains("secret"), "{}", third.log());
}

/// The longest time that a command took while `disturb` ran, and how often one took more than a tenth of a second.
fn stalls(proxy: &Proxy, disturb: impl FnOnce()) -> (std::time::Duration, usize) {
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut longest = std::time::Duration::ZERO;
    let mut long = 0;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let done = &done;
                scope.spawn(move || {
                    let mut conn = proxy.conn();
                    let mut took = Vec::new();
                    let mut number = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        number += 1;
                        let key = format!("client:{client}:{}", number % 10);
                        let start = std::time::Instant::now();
                        // None of them may fail.
                        conn.set(&key, number.to_string());
                        took.push(start.elapsed());
                        let start = std::time::Instant::now();
                        assert_eq!(conn.get(&key).unwrap(), number.to_string().as_bytes());
                        took.push(start.elapsed());
                    }
                    took
                })
            })
            .collect();
        disturb();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for client in clients {
            let took = client.join().unwrap();
            longest = longest.max(*took.iter().max().unwrap());
            let is_long = |took: &&std::time::Duration| took.as_millis() > 100;
            long = long.max(took.iter().filter(is_long).count());
        }
    });
    (longest, long)
}

/// An outage costs each client one stall, and no error. Prints how long it is (`--nocapture` shows it).
#[test]
fn an_outage_costs_a_stall_and_no_error() {
    let mut redis = RedisServer::start();
    let (_dir, proxy) = start(&redis);
    wait_for_hits(&proxy);
    for hangs in [false, true] {
        let (longest, long) = stalls(&proxy, || {
            if hangs {
                redis.pause();
            } else {
                redis.crash();
            }
            wait_for_degraded(&proxy);
            std::thread::sleep(std::time::Duration::from_secs(2));
        });
        println!(
            "Redis hangs: {hangs}; longest command {longest:?}, commands over 100 ms of one client: {long}"
        );
        assert!(long > 0, "there was no outage");
        // Some 1.5 s; the rest is for a machine that is out of breath.
        assert!(longest < std::time::Duration::from_secs(10));
        if hangs {
            redis.resume();
        } else {
            redis.start_again();
        }
        let (longest, long) = stalls(&proxy, || wait_for_hits(&proxy));
        println!(
            "Redis back; longest command {longest:?}, commands over 100 ms of one client: {long}"
        );
    }
}
