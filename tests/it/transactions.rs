//! MULTI, EXEC and WATCH among many clients, several proxies, failures: all or nothing, one after the other.

use std::sync::Barrier;

use crate::harness::{Conn, Reply, Setup, args, encode, eventually, key_on, with_reference};

with_reference!(
    what_is_queued_is_done_at_exec_and_not_before,
    counters_lose_nothing_under_many_clients,
    money_that_is_moved_under_watch_stays_the_same,
    two_keys_of_a_transaction_never_differ,
    a_queued_mistake_discards_the_transaction,
    a_step_that_fails_leaves_the_others_done,
    exec_does_nothing_once_a_watched_key_was_written_by_anyone,
    a_watched_key_that_expires_counts_as_written,
    reset_and_discard_forget_what_is_queued_and_watched,
    transactions_may_be_pipelined,
);

/// Keys that are on one shard of three.
fn keys(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| key_on(1, 3, &format!("key{number}")))
        .collect()
}

/// Runs a function in so many threads, each with a connection of its own.
fn at_once(addr: &str, clients: usize, run: impl Fn(usize, &mut Conn) + Sync) {
    let start = Barrier::new(clients);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (start, run) = (&start, &run);
            scope.spawn(move || {
                let mut conn = Conn::open(addr);
                start.wait();
                run(client, &mut conn);
            });
        }
    });
}

fn what_is_queued_is_done_at_exec_and_not_before(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    let keys = keys(2);
    let (a, b, absent) = (&keys[0], &keys[1], key_on(1, 3, "nosuch"));
    assert_eq!(conn.run("MULTI"), "+OK");
    assert_eq!(conn.cmd(&args!["SET", a, "1"]), "+QUEUED");
    assert_eq!(conn.cmd(&args!["INCR", a]), "+QUEUED");
    assert_eq!(conn.cmd(&args!["GET", a]), "+QUEUED");
    assert_eq!(conn.cmd(&args!["MSET", a, "7", b, "8"]), "+QUEUED");
    assert_eq!(conn.cmd(&args!["MGET", b, a, absent]), "+QUEUED");
    assert_eq!(conn.run("PING"), "+QUEUED");
    assert_eq!(conn.cmd(&args!["DEL", b, b]), "+QUEUED");
    assert_eq!(other.cmd(&args!["GET", a]), "$-1", "not yet");
    assert_eq!(conn.cmd(&args!["EXISTS", a, b]), "+QUEUED");
    assert_eq!(
        conn.run("EXEC"),
        "[+OK, :2, \"2\", +OK, [\"8\", \"7\", $-1], +PONG, :1, :1]"
    );
    assert_eq!(other.cmd(&args!["GET", a]), "\"7\"");
    assert_eq!(conn.run("PING"), "+PONG", "the transaction is over");
}

fn counters_lose_nothing_under_many_clients(setup: Setup) {
    let it = setup.start();
    const CLIENTS: usize = 20;
    const ROUNDS: usize = 25;
    at_once(&it.resp_addr(), CLIENTS, |_, conn| {
        for _ in 0..ROUNDS {
            assert!(!conn.run("INCR counter").is_error());
            assert!(!conn.run("INCRBYFLOAT sum 0.5").is_error());
            assert!(!conn.run("APPEND text x").is_error());
        }
    });
    let total = CLIENTS * ROUNDS;
    let mut conn = it.conn();
    assert_eq!(conn.run("GET counter"), &*format!("\"{total}\""));
    assert_eq!(conn.run("GET sum"), &*format!("\"{}\"", total / 2));
    assert_eq!(conn.run("STRLEN text"), Reply::Int(total as i64));
}

/// Moves one from one account to the other if nobody else has touched them; until it comes about.
fn move_one(conn: &mut Conn, from: &str, to: &str) {
    loop {
        assert_eq!(conn.cmd(&args!["WATCH", from, to]), "+OK");
        let number = |reply: Option<Vec<u8>>| -> i64 {
            String::from_utf8(reply.unwrap()).unwrap().parse().unwrap()
        };
        let (has, other) = (number(conn.get(from)), number(conn.get(to)));
        assert_eq!(conn.run("MULTI"), "+OK");
        conn.cmd(&args!["SET", from, (has - 1).to_string()]);
        conn.cmd(&args!["SET", to, (other + 1).to_string()]);
        match conn.run("EXEC") {
            Reply::Null(_) => {}
            reply => return assert_eq!(reply, "[+OK, +OK]"),
        }
    }
}

fn money_that_is_moved_under_watch_stays_the_same(setup: Setup) {
    let it = setup.start();
    let keys = keys(2);
    let (a, b) = (&*keys[0], &*keys[1]);
    it.conn().cmd(&args!["MSET", a, "100", b, "100"]);
    at_once(&it.resp_addr(), 8, |client, conn| {
        for _ in 0..5 {
            if client % 2 == 0 {
                move_one(conn, a, b);
            } else {
                move_one(conn, b, a);
            }
        }
        if client == 0 {
            move_one(conn, a, b);
        }
    });
    assert_eq!(it.conn().cmd(&args!["MGET", a, b]), "[\"99\", \"101\"]");
}

fn two_keys_of_a_transaction_never_differ(setup: Setup) {
    let it = setup.start();
    let keys = keys(2);
    let (a, b) = (&*keys[0], &*keys[1]);
    at_once(&it.resp_addr(), 8, |client, conn| {
        for number in 0..20 {
            let value = format!("{client}:{number}");
            conn.run("MULTI");
            if client % 2 == 0 {
                conn.cmd(&args!["SET", a, value]);
                conn.cmd(&args!["SET", b, value]);
            } else {
                conn.cmd(&args!["GET", a]);
                conn.cmd(&args!["GET", b]);
            }
            let replies = conn.run("EXEC").array();
            assert_eq!(replies[0], replies[1]);
        }
    });
}

fn a_queued_mistake_discards_the_transaction(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("MULTI");
    assert_eq!(conn.run("SET key 1"), "+QUEUED");
    assert!(
        conn.run("NOSUCH")
            .error()
            .starts_with("ERR unknown command")
    );
    assert_eq!(conn.run("SET key 2"), "+QUEUED");
    assert_eq!(
        conn.run("EXEC"),
        "-EXECABORT Transaction discarded because of previous errors."
    );
    assert_eq!(conn.run("GET key"), "$-1");
    assert_eq!(conn.run("EXEC"), "-ERR EXEC without MULTI");
    assert_eq!(conn.run("DISCARD"), "-ERR DISCARD without MULTI");
    conn.run("MULTI");
    assert_eq!(conn.run("MULTI"), "-ERR MULTI calls can not be nested");
    assert_eq!(
        conn.run("WATCH key"),
        "-ERR WATCH inside MULTI is not allowed"
    );
    assert_eq!(conn.run("EXEC"), "[]", "neither of them discards it");
}

fn a_step_that_fails_leaves_the_others_done(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let keys = keys(2);
    let (a, b) = (&*keys[0], &*keys[1]);
    conn.set(a, "text");
    conn.run("MULTI");
    conn.cmd(&args!["INCR", a]);
    conn.cmd(&args!["SET", b, "1", "NX", "XX"]);
    conn.cmd(&args!["INCR", b]);
    assert_eq!(
        conn.run("EXEC"),
        "[-ERR value is not an integer or out of range, -ERR syntax error, :1]"
    );
    assert_eq!(conn.cmd(&args!["MGET", a, b]), "[\"text\", \"1\"]");
}

fn exec_does_nothing_once_a_watched_key_was_written_by_anyone(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    conn.set("key", "1");
    for (write, by_itself) in [
        ("SET key 1", false),
        ("SET key 1", true),
        ("DEL key", false),
        ("EXPIRE key 100", true),
    ] {
        conn.set("key", "1");
        assert_eq!(conn.run("WATCH key"), "+OK");
        let writer = if by_itself { &mut conn } else { &mut other };
        writer.run(write);
        conn.run("MULTI");
        conn.run("SET key lost");
        assert_eq!(conn.run("EXEC"), "*-1", "{write}");
        assert_ne!(conn.run("GET key"), "\"lost\"");
        conn.run("MULTI");
        conn.run("SET key done");
        assert_eq!(conn.run("EXEC"), "[+OK]", "nothing is watched any more");
    }
    assert_eq!(conn.run("WATCH nosuch"), "+OK");
    other.set("nosuch", "there it is");
    conn.run("MULTI");
    conn.run("GET nosuch");
    assert_eq!(conn.run("EXEC"), "*-1");
}

fn a_watched_key_that_expires_counts_as_written(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    // On a busy machine the key may be gone before it is watched.
    let mut is_watched = |millis: u64| {
        conn.run("UNWATCH");
        conn.run(&format!("SET key 1 PX {millis}"));
        conn.run("WATCH key");
        conn.run("EXISTS key") == ":1"
    };
    let mut lifetimes = (0..10).map(|doublings| 50 << doublings);
    assert!(lifetimes.any(&mut is_watched));
    eventually("it has expired", || {
        (other.run("EXISTS key") == ":0").then_some(())
    });
    conn.run("MULTI");
    conn.run("SET key 2");
    assert_eq!(conn.run("EXEC"), "*-1");
}

fn reset_and_discard_forget_what_is_queued_and_watched(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    for forget in ["RESET", "DISCARD"] {
        conn.run("WATCH key");
        conn.run("MULTI");
        conn.run("SET key lost");
        assert!(!conn.run(forget).is_error());
        other.set("key", "other");
        conn.run("MULTI");
        conn.run("GET key");
        assert_eq!(conn.run("EXEC"), "[\"other\"]", "after {forget}");
    }
    conn.run("WATCH key");
    conn.run("UNWATCH");
    other.set("key", "another");
    conn.run("MULTI");
    conn.run("GET key");
    assert_eq!(conn.run("EXEC"), "[\"another\"]");
}

fn transactions_may_be_pipelined(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let mut packet = Vec::new();
    for number in 0..100 {
        packet.extend(encode(&args!["GET", "key"]));
        packet.extend(encode(&args!["MULTI"]));
        packet.extend(encode(&args!["SET", "key", number.to_string()]));
        packet.extend(encode(&args!["GET", "key"]));
        packet.extend(encode(&args!["EXEC"]));
    }
    conn.send(&packet);
    for number in 0..100 {
        let before = conn.read();
        if number == 0 {
            assert_eq!(before, "$-1");
        } else {
            assert_eq!(
                before,
                &*format!("\"{}\"", number - 1),
                "a read before sees the one before"
            );
        }
        for queued in ["+OK", "+QUEUED", "+QUEUED"] {
            assert_eq!(conn.read(), queued);
        }
        assert_eq!(conn.read(), &*format!("[+OK, \"{number}\"]"));
    }
}

#[test]
fn transactions_hold_through_two_proxies() {
    let it = Setup::postgres().start();
    let second = it.builder().start();
    let keys = keys(2);
    let (a, b) = (&*keys[0], &*keys[1]);
    it.conn().cmd(&args!["MSET", a, "50", b, "50"]);
    let addrs = [it.resp_addr(), second.resp_addr().to_owned()];
    std::thread::scope(|scope| {
        for client in 0..6 {
            let addr = &addrs[client % 2];
            scope.spawn(move || {
                let mut conn = Conn::open(addr);
                for _ in 0..5 {
                    if client < 3 {
                        move_one(&mut conn, a, b);
                    } else {
                        move_one(&mut conn, b, a);
                    }
                    conn.run("INCR counter");
                }
            });
        }
    });
    for addr in &addrs {
        let mut conn = Conn::open(addr);
        assert_eq!(conn.cmd(&args!["MGET", a, b]), "[\"50\", \"50\"]");
        assert_eq!(conn.run("GET counter"), "\"30\"");
    }
}
