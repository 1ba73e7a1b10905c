//! Very many clients at once, and clients that behave badly with much: what it costs, and that nobody else notices.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Barrier;

use crate::harness::{
    Conn, Deployment, Setup, allow_files, args, both_backends, encode, eventually,
};

both_backends!(
    a_thousand_deep_pipelines_are_answered_in_order,
    clients_that_do_not_read_take_bounded_memory_and_disturb_nobody,
    a_pipeline_larger_than_buffers_is_answered_after_the_client_has_finished_sending,
    clients_that_vanish_leave_nothing,
    many_clients_may_send_a_byte_at_a_time,
);

const MIB: usize = 1 << 20;

/// Resident memory of the proxy, in bytes.
fn resident(it: &Deployment) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", it.proxy().pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    1024 * line
        .trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
}

/// Waits until no client but the one that asks is left.
fn wait_alone(conn: &mut Conn) {
    eventually("the other clients are gone", || {
        let info = conn.info("clients");
        info.contains("connected_clients:1\r\n").then_some(())
    });
}

/// One backend: what connections cost does not depend on it, and two of these at once take too many files.
#[test]
fn ten_thousand_clients_are_served_in_little_memory() {
    const CLIENTS: usize = 10_000;
    /// Bytes for each, in the proxy.
    const EACH_MAX: usize = 20 * 1024;
    allow_files(CLIENTS as u64 + 1000);
    let it = Setup::embedded().env("MAX_CLIENTS", "10001").start();
    let mut other = it.conn();
    other.set("key", "value");
    let before = resident(&it);
    let mut clients: Vec<Conn> = Vec::with_capacity(CLIENTS);
    while clients.len() < CLIENTS {
        let mut client = it.conn();
        // Who connects faster than is accepted waits a second for the kernel's next try.
        if clients.len().is_multiple_of(100) {
            assert_eq!(client.run("PING"), "+PONG");
        }
        clients.push(client);
    }
    for round in 0..2 {
        for client in &mut clients {
            client.send(b"PING\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
        }
        other.set("other", round.to_string());
        assert_eq!(other.run("GET other").string(), round.to_string());
        for client in &mut clients {
            assert_eq!(client.read(), "+PONG");
            assert_eq!(client.read(), "\"value\"");
        }
    }
    assert!(
        other
            .info("clients")
            .contains("connected_clients:10001\r\n")
    );
    let each = resident(&it).saturating_sub(before) / CLIENTS;
    assert!(
        each < EACH_MAX,
        "{each} bytes for each of {CLIENTS} clients"
    );
    let mut refused = it.conn();
    assert_eq!(refused.read(), "-ERR max number of clients reached");
    refused.expect_closed();

    drop(clients);
    wait_alone(&mut other);
    let mut again: Vec<Conn> = (0..100).map(|_| it.conn()).collect();
    again
        .iter_mut()
        .for_each(|client| assert_eq!(client.run("PING"), "+PONG"));
}

fn a_thousand_deep_pipelines_are_answered_in_order(setup: Setup) {
    const CLIENTS: usize = 1000;
    const THREADS: usize = 8;
    /// Each is ten commands.
    const ROUNDS: usize = 20;
    let it = setup.start();
    let addr = it.resp_addr();
    let all_have_sent = Barrier::new(THREADS);
    let mut drawn: Vec<i64> = std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let (addr, all_have_sent) = (&addr, &all_have_sent);
            scope.spawn(move || {
                let mine = (0..CLIENTS).filter(|client| client % THREADS == thread);
                let mut clients: Vec<_> = mine.map(|client| (client, Conn::open(addr))).collect();
                for (client, conn) in &mut clients {
                    let rounds = (0..ROUNDS).map(|round| pipeline(*client, round));
                    conn.send(&rounds.collect::<Vec<_>>().concat());
                }
                all_have_sent.wait();
                let drawn = clients.iter_mut().map(|(client, conn)| {
                    (0..ROUNDS)
                        .map(|round| check_replies(conn, *client, round))
                        .collect::<Vec<_>>()
                });
                let drawn: Vec<Vec<i64>> = drawn.collect();
                assert!(
                    drawn.iter().all(|numbers| numbers.is_sorted()),
                    "one client's INCRs are in order"
                );
                drawn.concat()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    drawn.sort_unstable();
    let expected: Vec<i64> = (1..=(CLIENTS * ROUNDS) as i64).collect();
    assert!(drawn == expected, "a number was drawn twice, or never");
}

fn pipeline(client: usize, round: usize) -> Vec<u8> {
    let (key, counter) = (format!("text:{client}"), format!("count:{client}"));
    let value = format!("{client}/{round}");
    [
        encode(&args!["SET", key, value]),
        encode(&args!["GET", key]),
        encode(&args!["INCR", counter]),
        encode(&args!["INCR", "drawn"]),
        encode(&args!["MULTI"]),
        encode(&args!["INCR", counter]),
        encode(&args!["GET", counter]),
        encode(&args!["EXEC"]),
        encode(&args!["APPEND", key, "!"]),
        encode(&args!["MGET", key, counter]),
    ]
    .concat()
}

/// What came of a round; returns the number that it drew.
fn check_replies(conn: &mut Conn, client: usize, round: usize) -> i64 {
    let value = format!("{client}/{round}");
    let count = 2 * round + 1;
    assert_eq!(conn.read(), "+OK", "{value}");
    assert_eq!(conn.read().string(), value);
    assert_eq!(conn.read().int(), count as i64, "{value}");
    let drawn = conn.read().int();
    for expected in ["+OK", "+QUEUED", "+QUEUED"] {
        assert_eq!(conn.read(), expected, "{value}");
    }
    let after = count + 1;
    assert_eq!(
        conn.read().to_string(),
        format!("[:{after}, \"{after}\"]"),
        "{value}"
    );
    assert_eq!(conn.read().int(), value.len() as i64 + 1, "{value}");
    assert_eq!(
        conn.read().to_string(),
        format!("[\"{value}!\", \"{after}\"]")
    );
    drawn
}

fn clients_that_do_not_read_take_bounded_memory_and_disturb_nobody(setup: Setup) {
    const SLOW: usize = 4;
    const KEYS: usize = 128;
    const ROUNDS: usize = 16;
    const SIZE: usize = 64 * 1024;
    /// Of one that does not read: 32 MiB of replies, in a buffer that may have grown to twice that, a last one, and
    /// the values of the keys that are read together.
    const EACH_MAX: usize = 2 * 32 * MIB + KEYS * SIZE + 8 * MIB;
    let it = setup.start();
    let mut other = it.conn();
    let value = |key: usize| vec![b'a' + (key % 26) as u8; SIZE];
    for key in 0..KEYS {
        other.set(format!("large:{key}"), value(key));
        other.get(format!("large:{key}"));
    }
    let gets: Vec<u8> = (0..KEYS)
        .flat_map(|key| encode(&args!["GET", format!("large:{key}")]))
        .collect();
    let before = resident(&it);
    let mut slow: Vec<Conn> = (0..SLOW).map(|_| it.conn()).collect();
    for client in &mut slow {
        client.send(&gets.repeat(ROUNDS));
    }
    // 128 MiB for each, if nothing held it back; others go on meanwhile.
    let mut most = 0;
    for round in 0..500 {
        other.set("other", round.to_string());
        assert_eq!(other.get("other").unwrap(), round.to_string().as_bytes());
        most = most.max(resident(&it).saturating_sub(before));
    }
    assert!(
        most < SLOW * EACH_MAX,
        "{} MiB for {SLOW} clients that do not read",
        most / MIB
    );
    for client in &mut slow {
        client.send(b"PING\r\n");
    }
    std::thread::scope(|scope| {
        for mut client in slow {
            scope.spawn(move || {
                for at in 0..KEYS * ROUNDS {
                    assert!(
                        client.read().value().unwrap() == value(at % KEYS),
                        "reply number {at}"
                    );
                }
                assert_eq!(client.read(), "+PONG");
            });
        }
    });
}

fn a_pipeline_larger_than_buffers_is_answered_after_the_client_has_finished_sending(setup: Setup) {
    const COUNT: usize = 5000;
    let it = setup.start();
    let mut clients: Vec<Conn> = (0..4).map(|_| it.conn()).collect();
    let value = "v".repeat(1000);
    for (number, client) in clients.iter_mut().enumerate() {
        let mut packet = encode(&args!["SET", format!("key:{number}"), value]);
        packet.extend(encode(&args!["GET", format!("key:{number}")]).repeat(COUNT));
        packet.extend(encode(&args!["INCR", "finished"]));
        client.send(&packet);
        client.finish_sending();
    }
    let mut finished: Vec<i64> = clients
        .iter_mut()
        .map(|client| {
            assert_eq!(client.read(), "+OK");
            (0..COUNT).for_each(|_| assert_eq!(client.read().string(), value));
            let finished = client.read().int();
            client.expect_closed();
            finished
        })
        .collect();
    finished.sort_unstable();
    assert_eq!(finished, [1, 2, 3, 4]);
}

fn clients_that_vanish_leave_nothing(setup: Setup) {
    let it = setup.start();
    let mut other = it.conn();
    let half = encode(&args!["SET", "half", vec![b'x'; 100_000]]);
    let open = b"MULTI\r\nSET open 1\r\nINCR count\r\nDEL kept\r\n";
    let watching = b"WATCH kept\r\nMULTI\r\nSET kept 2\r\n";
    other.set("kept", "1");
    let mut clients: Vec<Conn> = (0..300).map(|_| it.conn()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        match number % 4 {
            0 => client.send(&half[..half.len() / 2]),
            1 => {
                client.send(open);
                // With replies that nobody has read, closing resets the connection.
                if number % 8 == 1 {
                    (0..4).for_each(|_| drop(client.read()));
                }
            }
            2 => client.send(watching),
            // Ends within EXEC.
            _ => client.send(b"MULTI\r\nSET open 1\r\n*1\r\n$4\r\nEXE"),
        }
        if number % 3 == 0 {
            client.sender().shutdown(Shutdown::Both).unwrap();
        }
    }
    drop(clients);
    wait_alone(&mut other);
    assert_eq!(other.run("MGET half open count"), "[$-1, $-1, $-1]");
    assert_eq!(other.run("GET kept"), "\"1\"");
}

fn many_clients_may_send_a_byte_at_a_time(setup: Setup) {
    const CLIENTS: usize = 100;
    let it = setup.start();
    let mut clients: Vec<Conn> = (0..CLIENTS).map(|_| it.conn()).collect();
    let packets: Vec<Vec<u8>> = (100..100 + CLIENTS)
        .map(|client| {
            let key = format!("key:{client}");
            let set = encode(&args!["SET", key, format!("\r\n{client}\0")]);
            [
                set,
                format!("GET '{key}'\r\n").into_bytes(),
                encode(&args!["STRLEN", key]),
            ]
            .concat()
        })
        .collect();
    for at in 0..packets[0].len() {
        for (client, packet) in clients.iter_mut().zip(&packets) {
            client.send(&packet[at..=at]);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.read(), "+OK");
        assert_eq!(client.read().string(), format!("\r\n{}\0", 100 + number));
        assert_eq!(client.read(), ":6");
    }
}

/// One backend: nothing of it reaches a shard.
mod queues {
    use super::*;

    const LIMIT: &str =
        "-ERR the transaction is over the limit of 33554432 bytes; nothing will be done";

    #[test]
    fn a_queue_over_the_limit_is_refused_and_its_memory_is_given_back() {
        const CLIENTS: usize = 6;
        let it = Setup::embedded().start();
        it.conn().set("key", "before");
        let before = resident(&it);
        let set = encode(&args!["SET", "key", vec![b'x'; MIB]]);
        let mut refused = Vec::new();
        for client in 0..CLIENTS {
            let mut conn = it.conn();
            assert_eq!(conn.run("MULTI"), "+OK");
            for _ in 0..31 {
                conn.send(&set);
                assert_eq!(conn.read(), "+QUEUED");
            }
            if client == 0 {
                let queued = resident(&it).saturating_sub(before);
                assert!(
                    queued > 24 * MIB,
                    "{} MiB for 31 that are queued",
                    queued / MIB
                );
            }
            conn.send(&set);
            assert_eq!(conn.read(), LIMIT);
            assert_eq!(conn.run("GET key"), "+QUEUED");
            refused.push(conn);
        }
        // The allocator may keep some of it, for the next on each worker.
        let kept = resident(&it).saturating_sub(before);
        assert!(
            kept < CLIENTS * 31 * MIB / 2,
            "{} MiB are kept of what was refused to {CLIENTS} clients",
            kept / MIB
        );
        for mut conn in refused {
            assert!(conn.run("EXEC").error().starts_with("EXECABORT"));
            assert_eq!(conn.get("key").unwrap(), b"before");
        }
    }

    /// What is queued must not keep the buffer into which it was read.
    #[test]
    fn commands_that_come_one_by_one_take_no_more_than_their_size() {
        let it = Setup::embedded().start();
        let mut conn = it.conn();
        let before = resident(&it);
        assert_eq!(conn.run("MULTI"), "+OK");
        for _ in 0..5000 {
            assert_eq!(conn.run("GET k"), "+QUEUED");
        }
        let taken = resident(&it).saturating_sub(before);
        assert!(taken < 6 * MIB, "{} KiB for 5000 commands", taken / 1024);
    }

    #[test]
    fn a_queue_of_small_commands_is_bounded_too() {
        const AT_ONCE: usize = 10_000;
        let it = Setup::embedded().start();
        let mut conn = it.conn();
        let before = resident(&it);
        assert_eq!(conn.run("MULTI"), "+OK");
        let mut sent = 0;
        loop {
            conn.sender()
                .write_all(&b"GET k\r\n".repeat(AT_ONCE))
                .unwrap();
            let replies: Vec<_> = (0..AT_ONCE).map(|_| conn.read()).collect();
            if replies.iter().any(|reply| *reply == LIMIT) {
                break;
            }
            sent += AT_ONCE;
            let taken = resident(&it).saturating_sub(before);
            assert!(taken < 100 * MIB, "{} MiB for {sent} commands", taken / MIB);
        }
        let kept = resident(&it).saturating_sub(before);
        assert!(
            kept < 16 * MIB,
            "{} MiB are kept of what was refused",
            kept / MIB
        );
    }
}
