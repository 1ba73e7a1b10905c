//! Stopping: a signal drains, SIGKILL loses nothing that was acknowledged, and one data directory has one proxy.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Acknowledged, Deployment, Setup, Writers, args, both_backends, encode, eventually, key_on, pg,
    shard_of,
};

both_backends!(
    sigterm_under_load_loses_no_acknowledged_write,
    sigint_stops_as_sigterm_does,
    an_idle_proxy_with_idle_connections_stops_at_once,
    what_was_read_before_the_signal_is_answered,
    a_half_received_command_is_not_executed_when_the_proxy_stops,
    kill_9_under_load_loses_no_acknowledged_write,
    data_survive_a_restart,
    a_stopped_proxy_accepts_no_connection,
);

/// Looks for every acknowledged write, in the shards by SQL and through a proxy that was started again.
#[track_caller]
fn assert_all_there(it: &mut Deployment, acknowledged: &Acknowledged) {
    let shards = it.shards();
    let stored: Vec<Vec<Vec<u8>>> = (0..3).map(|shard| shards.keys(shard)).collect();
    let stored: std::collections::HashSet<&[u8]> =
        stored.iter().flatten().map(Vec::as_slice).collect();
    let lost: Vec<&String> = acknowledged
        .keys()
        .filter(|key| !stored.contains(key.as_bytes()))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged writes are not stored: {:?}",
        lost.len(),
        acknowledged.len(),
        lost
    );
    it.proxy_mut().start_again();
    let mut conn = it.conn();
    for (key, value) in acknowledged {
        assert_eq!(conn.get(key).as_deref(), Some(value.as_bytes()), "{key}");
    }
}

fn sigterm_under_load_loses_no_acknowledged_write(setup: Setup) {
    let mut it = setup.start();
    let writers = Writers::start(&it.resp_addr(), 10, "load");
    eventually("there is load", || {
        (writers.acknowledged_so_far() > 500).then_some(())
    });
    it.proxy_mut().terminate();
    let exit = it.proxy_mut().wait_exit();
    assert_eq!(exit.code, 0, "{}", exit.output);
    let acknowledged = writers.finish();
    assert!(acknowledged.len() > 500);
    assert_all_there(&mut it, &acknowledged);
}

fn sigint_stops_as_sigterm_does(setup: Setup) {
    let mut it = setup.start();
    it.conn().set("key", "value");
    it.proxy_mut().signal(Signal::SIGINT);
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}

fn an_idle_proxy_with_idle_connections_stops_at_once(setup: Setup) {
    // Nothing keeps it: it must not wait for its limit, which is longer than the tests wait.
    let mut it = setup.env("SHUTDOWN_TIMEOUT_MS", "600000").start();
    let mut idle: Vec<_> = (0..10).map(|_| it.conn()).collect();
    for conn in &mut idle[..5] {
        assert_eq!(conn.run("PING"), "+PONG");
    }
    it.http().health();
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    for conn in &mut idle {
        conn.expect_closed();
    }
}

fn what_was_read_before_the_signal_is_answered(setup: Setup) {
    let mut it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("PING"), "+PONG");
    let count = 300;
    let packet: Vec<u8> = (0..count)
        .flat_map(|n| encode(&args!["SET", format!("key:{n}"), "value"]))
        .collect();
    conn.send(&packet);
    assert_eq!(conn.read(), "+OK");
    it.proxy_mut().terminate();
    // Whatever is answered is done, and the answers end at a command, not in the middle of one.
    let rest = conn.read_to_end();
    assert_eq!(rest.len() % 5, 0, "{}", rest.escape_ascii());
    assert!(
        rest.chunks(5).all(|reply| reply == b"+OK\r\n"),
        "{}",
        rest.escape_ascii()
    );
    let answered = 1 + rest.len() / 5;
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    let stored = it.shards().all_rows();
    assert_eq!(stored, answered as i64, "what was executed was answered");
}

fn a_half_received_command_is_not_executed_when_the_proxy_stops(setup: Setup) {
    let mut it = setup.start();
    let mut conns: Vec<_> = (0..5).map(|_| it.conn()).collect();
    let whole = encode(&args!["SET", "half", "sent"]);
    for (n, conn) in conns.iter_mut().enumerate() {
        conn.send(&encode(&args!["SET", format!("whole:{n}"), "value"]));
        assert_eq!(conn.read(), "+OK");
        conn.send(&whole[..whole.len() - 1 - n]);
    }
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    for conn in &mut conns {
        assert!(!conn.read_to_end().starts_with(b"+OK"));
    }
    assert!(it.shards().holding(b"half").is_empty());
    assert_eq!(it.shards().all_rows(), 5);
}

fn kill_9_under_load_loses_no_acknowledged_write(setup: Setup) {
    let mut it = setup.start();
    for round in 0..3 {
        let writers = Writers::start(&it.resp_addr(), 10, &format!("round:{round}"));
        eventually("there is load", || {
            (writers.acknowledged_so_far() > 300).then_some(())
        });
        it.proxy_mut().kill();
        let acknowledged = writers.finish();
        assert!(acknowledged.len() > 300);
        assert_all_there(&mut it, &acknowledged);
    }
}

fn data_survive_a_restart(setup: Setup) {
    let mut it = setup.start();
    let mut conn = it.conn();
    conn.set(b"\0binary\xff", b"\xff\0");
    conn.run("SET with_expiry value EX 1000");
    conn.set("user:123", "John Doe");
    let before = it.http().read("user:123").expect(200);
    it.proxy_mut().kill();
    it.proxy_mut().start_again();
    let mut conn = it.conn();
    assert_eq!(conn.get(b"\0binary\xff").unwrap(), b"\xff\0");
    assert_eq!(conn.get("user:123").unwrap(), b"John Doe");
    conn.assert_ttl("with_expiry", 1000);
    let after = it.http().read("user:123").expect(200);
    assert_eq!(after["created_at"], before["created_at"]);
    assert_eq!(after["updated_at"], before["updated_at"]);
}

fn a_stopped_proxy_accepts_no_connection(setup: Setup) {
    let mut it = setup.start();
    let (resp, http) = (it.resp_addr(), it.http().addr().to_owned());
    it.proxy_mut().terminate();
    it.proxy_mut().wait_exit();
    assert!(std::net::TcpStream::connect(resp).is_err());
    assert!(std::net::TcpStream::connect(http).is_err());
}

/// PostgreSQL and limits that are longer than the tests wait.
fn patient() -> Setup {
    Setup::postgres()
        .env("DB_QUERY_TIMEOUT_MS", "600000")
        .env("SHUTDOWN_TIMEOUT_MS", "600000")
}

/// A write that waits for a lock in PostgreSQL: what it takes to see a drain that lasts.
struct Stuck {
    locker: ::postgres::Client,
    conn: crate::harness::Conn,
}

fn stuck_write(it: &Deployment) -> Stuck {
    let key = key_on(0, 3, "stuck");
    let mut conn = it.conn();
    conn.set(&key, "before");
    let mut locker = pg(&it.urls()[0]).unwrap();
    locker
        .batch_execute("begin; lock table respgres_kv in access exclusive mode")
        .unwrap();
    conn.send(&encode(&args!["SET", key, "after"]));
    let mut watcher = pg(&it.urls()[0]).unwrap();
    eventually("the write waits for the lock", || {
        let query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                     and datname = current_database()";
        (watcher.query_one(query, &[]).unwrap().get::<_, i64>(0) > 0).then_some(())
    });
    Stuck { locker, conn }
}

#[test]
fn a_drain_waits_for_a_write_that_is_under_way() {
    let mut it = Setup::postgres()
        .env("SHUTDOWN_TIMEOUT_MS", "600000")
        .start();
    let mut stuck = stuck_write(&it);
    it.proxy_mut().terminate();
    let resp = it.resp_addr();
    eventually("it accepts no more connections", || {
        std::net::TcpStream::connect(&resp).is_err().then_some(())
    });
    assert!(it.proxy_mut().is_running());
    stuck.locker.batch_execute("rollback").unwrap();
    assert_eq!(stuck.conn.read(), "+OK");
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let mut it = Setup::postgres()
        .env("SHUTDOWN_TIMEOUT_MS", "600000")
        .start();
    let stuck = stuck_write(&it);
    it.proxy_mut().terminate();
    let resp = it.resp_addr();
    eventually("it accepts no more connections", || {
        std::net::TcpStream::connect(&resp).is_err().then_some(())
    });
    assert!(it.proxy_mut().is_running());
    it.proxy_mut().terminate();
    let exit = it.proxy_mut().wait_exit();
    assert_ne!(exit.code, 0, "it did not end well: {}", exit.output);
    drop(stuck);
}

#[test]
fn a_drain_ends_at_its_limit() {
    let mut it = patient().env("SHUTDOWN_TIMEOUT_MS", "300").start();
    let stuck = stuck_write(&it);
    it.proxy_mut().terminate();
    it.proxy_mut().wait_exit();
    drop(stuck);
}

#[test]
fn a_second_proxy_on_the_same_data_directory_is_refused() {
    let it = Setup::embedded().start();
    it.conn().set("key", "value");
    let words = it.builder().run_refused();
    let data = it.dir().join("data");
    assert!(
        words.contains(data.to_str().unwrap()) || words.contains("DATA_DIR"),
        "{words}"
    );
    assert!(
        words.contains("another") || words.contains("in use") || words.contains("already"),
        "{words}"
    );
    it.conn().set("key", "still works");
    assert_eq!(it.conn().get("key").unwrap(), b"still works");
}

#[test]
fn a_data_directory_is_free_again_after_kill_9() {
    let mut it = Setup::embedded().start();
    for round in 0..3 {
        it.conn().set("key", round.to_string());
        it.proxy_mut().kill();
        it.proxy_mut().start_again();
        assert_eq!(it.conn().get("key").unwrap(), round.to_string().as_bytes());
    }
}

#[test]
fn a_paused_proxy_goes_on_where_it_was() {
    let mut it = Setup::postgres().start();
    let mut conn = it.conn();
    conn.set("key", "before");
    it.proxy_mut().signal(Signal::SIGSTOP);
    conn.send(&encode(&args!["SET", "key", "after"]));
    conn.set_limit(Duration::from_millis(300));
    assert!(conn.try_read().is_err(), "a paused process answers nothing");
    it.proxy_mut().signal(Signal::SIGCONT);
    conn.set_limit(crate::harness::DEADLINE);
    assert_eq!(conn.read(), "+OK");
    assert_eq!(conn.get("key").unwrap(), b"after");
    assert_eq!(
        it.shards().value(shard_of(b"key", 3), b"key").unwrap(),
        b"after"
    );
}
