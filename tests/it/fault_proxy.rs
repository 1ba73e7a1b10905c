//! The fault proxy of the harness: each fault is the one that it says, and it heals.

use std::time::{Duration, Instant};

use crate::harness::{
    Conn, Cut, Direction, FaultProxy, RedisServer, Silence, args, encode, eventually,
};

/// Longer than an answer takes on a loaded machine, as far as that can be said.
const SILENT: Duration = Duration::from_millis(500);

fn ping(conn: &mut Conn) -> bool {
    conn.try_send(&encode(&args!["PING"])).is_ok()
        && conn.try_read().is_ok_and(|reply| reply == "+PONG")
}

fn is_silent(conn: &mut Conn, command: &str) -> bool {
    let start = Instant::now();
    conn.set_limit(SILENT);
    let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    conn.send(&encode(&words));
    conn.try_read().is_err() && start.elapsed() >= SILENT
}

#[test]
fn cut_connections_are_gone_and_new_ones_work() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(&redis.addr());
    for cut in [Cut::Close, Cut::Reset] {
        let mut conn = Conn::open(&proxy.addr());
        assert!(ping(&mut conn));
        proxy.cut(cut);
        eventually("the connection is gone", || {
            (!ping(&mut conn)).then_some(())
        });
        assert!(ping(&mut Conn::open(&proxy.addr())));
    }
}

#[test]
fn new_connections_are_refused_until_it_is_healed() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(&redis.addr());
    let mut conn = Conn::open(&proxy.addr());
    assert!(ping(&mut conn));
    proxy.refuse();
    eventually("connections are refused", || {
        Conn::try_open(&proxy.addr()).is_none().then_some(())
    });
    assert!(ping(&mut conn), "the old one goes on");
    proxy.heal();
    eventually("connections are accepted", || Conn::try_open(&proxy.addr()));
}

#[test]
fn each_direction_is_delayed_by_itself() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(&redis.addr());
    let mut conn = Conn::open(&proxy.addr());
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.delay(direction, Duration::from_millis(200));
        let start = Instant::now();
        assert!(ping(&mut conn));
        assert!(start.elapsed() >= Duration::from_millis(200));
        proxy.heal();
    }
    let quick = || {
        let start = Instant::now();
        let mut conn = Conn::open(&proxy.addr());
        (ping(&mut conn) && start.elapsed() < Duration::from_millis(200)).then_some(())
    };
    eventually("it is quick again", quick);
}

#[test]
fn held_bytes_arrive_late() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(&redis.addr());
    for (direction, arrived) in [(Direction::ToServer, ":0"), (Direction::ToClient, ":1")] {
        redis.conn().run("DEL held");
        let mut conn = Conn::open(&proxy.addr());
        assert!(ping(&mut conn));
        proxy.silence(direction, Silence::Hold);
        assert!(is_silent(&mut conn, "SET held 1"));
        assert_eq!(redis.conn().run("EXISTS held"), arrived);
        proxy.heal();
        conn.set_limit(Duration::from_secs(60));
        assert_eq!(conn.read(), "+OK");
        assert_eq!(redis.conn().run("EXISTS held"), ":1");
    }
}

#[test]
fn swallowed_bytes_are_lost_with_their_connection() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(&redis.addr());
    for (direction, arrived) in [(Direction::ToServer, ":0"), (Direction::ToClient, ":1")] {
        redis.conn().run("DEL lost");
        let mut conn = Conn::open(&proxy.addr());
        let mut idle = Conn::open(&proxy.addr());
        assert!(ping(&mut conn) && ping(&mut idle));
        proxy.silence(direction, Silence::Swallow);
        assert!(is_silent(&mut conn, "SET lost 1"));
        proxy.heal();
        eventually("the connection is reset", || {
            (!ping(&mut conn)).then_some(())
        });
        assert!(ping(&mut idle), "who lost nothing goes on");
        assert_eq!(redis.conn().run("EXISTS lost"), arrived);
    }
}

#[test]
fn redirected_connections_reach_the_other_server() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    let proxy = FaultProxy::start(&one.addr());
    let mut conn = Conn::open(&proxy.addr());
    conn.set("who", "one");
    proxy.redirect(&other.addr());
    assert_eq!(conn.get("who").unwrap(), b"one", "the old one goes on");
    assert_eq!(Conn::open(&proxy.addr()).get("who"), None);
}
