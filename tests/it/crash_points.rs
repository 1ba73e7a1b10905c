//! A proxy dies at each step of the write path, of the read path and of a change of view. The other one
//! reads a right value at once, and what was committed within 5 seconds, cached or not.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    Proxy, ProxyBuilder, RedisServer, Scratch, args, blank_databases, eventually,
};

/// How long what was committed by a dead proxy may be hidden behind an older entry.
const HIDDEN_MAX: Duration = Duration::from_secs(5);

/// Two proxies on the same shards and the same Redis. One is to die at a point.
struct Pair {
    survivor: Proxy,
    victim: Proxy,
    redis: RedisServer,
    builder: ProxyBuilder,
    _dir: Scratch,
}

impl Pair {
    fn start(point: &str) -> Pair {
        let dir = Scratch::new("crash");
        let redis = RedisServer::start();
        let builder = ProxyBuilder::new(dir.path())
            .shard_urls(&blank_databases(1))
            .env("REDIS_URL", redis.url());
        let survivor = builder.clone().start();
        let victim = builder.clone().env("RESPGRES_DIE_AT", point).start();
        Pair {
            survivor,
            victim,
            redis,
            builder,
            _dir: dir,
        }
    }

    /// Puts `key` into the cache, so that it would be a hit.
    fn cache(&self, key: &str, value: &str) {
        self.survivor.conn().set(key, value);
        let http = self.survivor.http();
        eventually("it is cached", || {
            let (found, from_cache) = http.value_and_origin(key);
            assert_eq!(found, value);
            from_cache.then_some(())
        });
    }

    /// Sends a command that the victim dies of.
    #[track_caller]
    fn die_of(&mut self, command: &[&[u8]]) {
        let mut conn = self.victim.conn();
        conn.send(&crate::harness::encode(command));
        self.wait_death();
        assert!(conn.try_read().is_err(), "it died before it could answer");
    }

    #[track_caller]
    fn wait_death(&mut self) {
        let exit = self.victim.wait_exit();
        assert_eq!(exit.code, 128 + Signal::SIGABRT as i32, "{exit:?}");
    }

    /// Reads `key` through the survivor: first `old` or `new`, from some moment on, which must be
    /// soon, only `new`.
    #[track_caller]
    fn expect(&self, key: &str, old: &str, new: &str) {
        let died = Instant::now();
        let mut conn = self.survivor.conn();
        loop {
            let value = String::from_utf8(conn.get(key).unwrap()).unwrap();
            if value == new {
                break;
            }
            assert_eq!(value, old);
            let hidden = died.elapsed();
            assert!(hidden < HIDDEN_MAX, "{key} is still {old} after {hidden:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..100 {
            assert_eq!(conn.get(key).unwrap(), new.as_bytes());
        }
    }
}

#[test]
fn dead_before_the_commit_nothing_has_happened() {
    let mut it = Pair::start("write:before-commit");
    it.cache("key", "old");
    it.die_of(&args!["SET", "key", "new"]);
    it.expect("key", "old", "old");
    // And nothing will: the dead proxy has no session that could still commit.
    eventually("it is retired", || {
        it.survivor
            .log()
            .contains("a proxy ended without signing off")
            .then_some(())
    });
    it.expect("key", "old", "old");
}

#[test]
fn dead_between_the_commit_and_the_fin_the_old_value_is_not_hidden_for_long() {
    let mut it = Pair::start("write:committed");
    it.cache("key", "old");
    it.die_of(&args!["SET", "key", "new"]);
    it.expect("key", "old", "new");
}

#[test]
fn a_deletion_is_not_hidden_for_long_either() {
    let mut it = Pair::start("write:committed");
    it.cache("key", "old");
    it.die_of(&args!["DEL", "key"]);
    let died = Instant::now();
    let mut conn = it.survivor.conn();
    eventually("the key is gone", || {
        conn.get("key").is_none().then_some(())
    });
    assert!(died.elapsed() < HIDDEN_MAX, "{:?}", died.elapsed());
    assert_eq!(conn.get("key"), None);
}

#[test]
fn dead_between_the_fin_and_the_acknowledgement_the_new_value_is_read_at_once() {
    let mut it = Pair::start("write:fin");
    it.cache("key", "old");
    it.die_of(&args!["SET", "key", "new"]);
    it.expect("key", "new", "new");
}

#[test]
fn a_single_proxy_that_starts_again_fences_off_what_it_left_itself() {
    let mut it = Pair::start("write:committed");
    it.cache("key", "old");
    it.survivor.terminate();
    it.survivor.wait_exit();
    it.die_of(&args!["SET", "key", "new"]);
    it.survivor = it.builder.clone().start();
    it.expect("key", "old", "new");
}

/// Dies while it reads a key that is not cached; then the survivor reads, writes and caches it.
fn dead_while_reading(point: &str) {
    let mut it = Pair::start(point);
    it.survivor.conn().set("key", "one");
    it.die_of(&args!["GET", "key"]);
    it.expect("key", "one", "one");
    it.survivor.conn().set("key", "two");
    it.expect("key", "two", "two");
    it.cache("key", "three");
}

#[test]
fn dead_after_the_lease_others_read_and_write_past_it() {
    dead_while_reading("read:leased");
}

#[test]
fn dead_after_the_shards_answer_others_read_and_write_past_it() {
    dead_while_reading("read:shard-answered");
}

#[test]
fn dead_after_the_fill_others_read_it() {
    dead_while_reading("read:filled");
}

/// Dies while it takes a lost Redis out of the view, and the other one can't do that for it.
fn dead_while_changing_the_view(point: &str) {
    let mut it = Pair::start(point);
    it.cache("key", "old");
    it.survivor.signal(Signal::SIGSTOP);
    it.redis.crash();
    it.wait_death();
    it.survivor.signal(Signal::SIGCONT);
    let mut conn = it.survivor.conn();
    assert_eq!(conn.get("key").unwrap(), b"old");
    conn.set("key", "new");
    it.expect("key", "new", "new");
    it.redis.start_again();
    it.expect("key", "new", "new");
    it.cache("key", "newest");
}

#[test]
fn dead_before_a_change_of_view_another_proxy_makes_it() {
    dead_while_changing_the_view("change:before");
}

#[test]
fn dead_after_a_change_of_view_another_proxy_learns_it() {
    dead_while_changing_the_view("change:after");
}

/// Dies while it retires another dead proxy. The one that is left retires both.
fn dead_while_retiring(point: &str) {
    let mut it = Pair::start(point);
    it.cache("key", "old");
    let mut first = it
        .builder
        .clone()
        .env("RESPGRES_DIE_AT", "write:committed")
        .start();
    it.survivor.signal(Signal::SIGSTOP);
    let mut conn = first.conn();
    conn.send(&crate::harness::encode(&args!["SET", "key", "new"]));
    first.wait_exit();
    it.wait_death();
    it.survivor.signal(Signal::SIGCONT);
    it.expect("key", "old", "new");
    eventually("the last one retires the retiring one", || {
        it.survivor
            .log()
            .contains("a proxy ended without signing off")
            .then_some(())
    });
    it.expect("key", "new", "new");
}

#[test]
fn dead_before_it_retires_a_dead_proxy_another_does() {
    dead_while_retiring("retire:before");
}

#[test]
fn dead_after_it_retired_a_dead_proxy_nothing_is_hidden() {
    dead_while_retiring("retire:after");
}

/// A read and a write stand still in views that are over. What the read then finds at the shard, the entry does not have
/// yet: it must not be answered before the cache has been told.
#[test]
fn a_read_that_stood_still_until_the_view_was_another_starts_over() {
    let mut it = Pair::start("nowhere");
    it.redis.crash();
    it.survivor.conn().set("key", "old");
    // With the view off: placed, and not sent to the shard yet.
    let reader = it.builder.clone().env("RESPGRES_STOP_AT", "read:leaving");
    let mut reader = reader.start();
    let mut reading = reader.conn();
    reading.send(&crate::harness::encode(&args!["GET", "key"]));
    wait_until_stopped(&reader);
    it.redis.start_again();
    it.cache("key", "old");
    // Committed, and the entry not removed yet.
    let writer = it
        .builder
        .clone()
        .env("RESPGRES_STOP_AT", "write:committed");
    let mut writer = writer.start();
    let mut writing = writer.conn();
    writing.send(&crate::harness::encode(&args!["SET", "key", "new"]));
    wait_until_stopped(&writer);

    reader.signal(Signal::SIGCONT);
    let first = reading.read().value().unwrap();
    let second = it.survivor.conn().get("key").unwrap();
    assert!(
        first == b"old" || second == b"new",
        "what was read first is newer than what was read after it"
    );
    writer.signal(Signal::SIGCONT);
    assert_eq!(writing.read(), "+OK");
    it.expect("key", "new", "new");
}

/// Waits until the process stands still.
fn wait_until_stopped(proxy: &Proxy) {
    let status = format!("/proc/{}/stat", proxy.pid());
    eventually("it stands still", || {
        let status = std::fs::read_to_string(&status).unwrap();
        // After the name, which is in brackets.
        let state = status.rsplit(") ").next().unwrap();
        state.starts_with('T').then_some(())
    });
}
