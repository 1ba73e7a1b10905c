//! Each bound on what a client may take.

use std::time::Duration;

use crate::harness::{Conn, Setup, args, both_backends, encode, eventually};

both_backends!(
    one_client_more_than_allowed_is_turned_away,
    who_does_not_log_in_makes_room_for_others,
    clients_that_send_nothing_are_disconnected,
    a_request_over_the_limit_is_refused,
    a_transaction_over_the_limit_is_refused,
    replies_wait_for_a_slow_reader_up_to_the_limit,
    messages_wait_for_a_slow_reader_up_to_the_limit,
);

fn one_client_more_than_allowed_is_turned_away(setup: Setup) {
    let it = setup.env("MAX_CLIENTS", "2").start();
    let (mut first, mut second) = (it.conn(), it.conn());
    assert_eq!(first.run("PING"), "+PONG");
    assert_eq!(second.run("PING"), "+PONG");
    let mut third = it.conn();
    assert_eq!(third.read(), "-ERR max number of clients reached");
    third.expect_closed();
    drop(second);
    eventually("there is room again", || {
        let mut conn = Conn::try_open(&it.resp_addr())?;
        conn.try_send(b"PING\r\n").ok()?;
        (conn.try_read().ok()? == "+PONG").then_some(())
    });
}

fn who_does_not_log_in_makes_room_for_others(setup: Setup) {
    let it = setup.password("sesame").env("MAX_CLIENTS", "3").start();
    let mut known = it.conn_of("default", "sesame");
    let mut silent = it.conn();
    let mut refused = it.conn();
    assert!(refused.run("PING").is_error());
    // They have a moment for their login before they have to go.
    let log_in = || {
        eventually("somebody has made room", || {
            let mut conn = Conn::try_open(&it.resp_addr())?;
            conn.try_send(b"AUTH sesame\r\n").ok()?;
            (conn.try_read().ok()? == "+OK").then_some(conn)
        })
    };
    let mut second = log_in();
    silent.expect_closed();
    let mut third = log_in();
    refused.expect_closed();
    let mut fourth = it.conn();
    assert_eq!(fourth.read(), "-ERR max number of clients reached");
    for conn in [&mut known, &mut second, &mut third] {
        assert_eq!(conn.run("PING"), "+PONG");
    }
}

fn clients_that_send_nothing_are_disconnected(setup: Setup) {
    let it = setup.env("CLIENT_IDLE_TIMEOUT", "1").start();
    let mut idle = it.conn();
    assert_eq!(idle.run("CONFIG GET timeout"), "[\"timeout\", \"1\"]");
    idle.expect_closed();
}

fn a_request_over_the_limit_is_refused(setup: Setup) {
    let it = setup
        .env("MAX_VALUE_SIZE", "1000")
        .env("MAX_REQUEST_SIZE", "2000")
        .start();
    let mut conn = it.conn();
    let value = "x".repeat(900);
    assert_eq!(conn.cmd(&args!["MSET", "a", value, "b", value]), "+OK");
    let reply = conn.cmd(&args!["MSET", "a", "1", "b", value, "c", value, "d", value]);
    assert!(
        reply.error().contains("2000 bytes (MAX_REQUEST_SIZE)"),
        "{reply}"
    );
    assert_eq!(conn.get("a").unwrap(), value.as_bytes(), "nothing was done");
}

fn a_transaction_over_the_limit_is_refused(setup: Setup) {
    let it = setup.env("MAX_QUEUED_COMMANDS", "3").start();
    let mut conn = it.conn();
    conn.run("MULTI");
    for _ in 0..3 {
        assert_eq!(conn.run("INCR key"), "+QUEUED");
    }
    assert_eq!(conn.run("EXEC"), "[:1, :2, :3]");
    conn.run("MULTI");
    for _ in 0..3 {
        assert_eq!(conn.run("INCR key"), "+QUEUED");
    }
    assert_eq!(
        conn.run("INCR key"),
        "-ERR the transaction is over the limit of 3 commands (MAX_QUEUED_COMMANDS); nothing will be done"
    );
    assert_eq!(
        conn.run("EXEC"),
        "-EXECABORT Transaction discarded because of previous errors."
    );
    assert_eq!(conn.get("key").unwrap(), b"3");
}

/// While 64 KiB of replies wait, nothing more is handled.
fn replies_wait_for_a_slow_reader_up_to_the_limit(setup: Setup) {
    let it = setup.env("MAX_OUTPUT_BUFFER", "65536").start();
    let mut conn = it.conn();
    let value = vec![b'x'; 1024 * 1024];
    conn.set("key", &value);
    // More than the sockets of both sides take.
    let count = 64;
    conn.send(&encode(&args!["GET", "key"]).repeat(count));
    let mut other = it.conn();
    // It has begun, and stays before the end for as long as nobody reads.
    eventually("replies were written", || {
        let stats = other.info("stats");
        let written = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_net_output_bytes:"))?;
        (written.parse::<usize>().ok()? > 2 * value.len()).then_some(())
    });
    conn.send(&encode(&args!["SET", "end", "x"]));
    for _ in 0..20 {
        assert_eq!(other.get("end"), None);
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..count {
        assert_eq!(conn.read().value().unwrap().len(), value.len());
    }
    assert_eq!(conn.read(), "+OK");
    assert_eq!(other.get("end").unwrap(), b"x");
}

fn messages_wait_for_a_slow_reader_up_to_the_limit(setup: Setup) {
    let it = setup.env("MAX_OUTPUT_BUFFER", "65536").start();
    let mut slow = it.conn();
    slow.run("SUBSCRIBE channel");
    let mut publisher = it.conn();
    assert_eq!(
        publisher.run("CONFIG GET client-output-buffer-limit"),
        "[\"client-output-buffer-limit\", \"normal 0 0 0 slave 0 0 0 pubsub 65536 16384 60\"]"
    );
    let message = vec![b'x'; 60_000];
    eventually("the one that does not read is disconnected", || {
        let count = publisher.cmd(&args!["PUBLISH", "channel", message]).int();
        (count == 0).then_some(())
    });
    assert_eq!(publisher.run("PING"), "+PONG");
}
