//! One process takes over from another on the same ports: no command is lost, and none is done twice.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{
    Conn, Deployment, NoReply, Proxy, RaiseAtEnd, Setup, encode, eventually, redis_benchmark,
};
use crate::libraries::{installed, source};

fn old_proxy(drain_timeout_ms: &str) -> Deployment {
    Setup::postgres()
        .env("REUSE_PORT", "on")
        .env("DRAIN_TIMEOUT_MS", drain_timeout_ms)
        .start()
}

/// A second proxy on the ports of the first.
fn new_proxy(old: &Deployment) -> Proxy {
    old.builder()
        .env("RESP_ADDR", old.resp_addr())
        .env("HTTP_ADDR", old.http().addr())
        .start()
}

/// Counts by a key of its own until `stop`, connecting again when the connection ends. A command that was
/// not answered when it ended must not have been done: it is sent again.
fn count(addr: &str, key: &str, stop: &AtomicBool, counted: &AtomicU64) -> u64 {
    let mut conn = Conn::open(addr);
    let (mut count, mut connections) = (0, 1);
    while !stop.load(Ordering::Relaxed) {
        let sent = conn.try_send(&encode(&[b"INCR", key.as_bytes()]));
        match sent
            .map_err(|_| NoReply::Closed)
            .and_then(|()| conn.try_read())
        {
            Ok(reply) => {
                count += 1;
                counted.fetch_add(1, Ordering::Relaxed);
                assert_eq!(reply, format!(":{count}").as_str(), "{key}");
            }
            Err(NoReply::Closed) => {
                connections += 1;
                conn = Conn::open(addr);
            }
            Err(NoReply::TimedOut) => panic!("no reply to INCR {key}"),
        }
    }
    connections
}

#[test]
fn clients_that_never_pause_notice_a_reconnect_and_nothing_else() {
    const CLIENTS: usize = 8;
    let mut old = old_proxy("1000");
    let addr = old.resp_addr();
    let (stop, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (addr, stop, counted) = (&addr, &stop, &counted);
                scope.spawn(move || count(addr, &format!("counter:{client}"), stop, counted))
            })
            .collect();
        eventually("there is load", || {
            (counted.load(Ordering::Relaxed) > 100).then_some(())
        });
        let new = new_proxy(&old);
        old.proxy_mut().signal(Signal::SIGQUIT);
        let exit = old.proxy_mut().wait_exit();
        assert_eq!(exit.code, 0, "{}", exit.output);
        assert!(
            exit.output.contains("DRAIN_TIMEOUT_MS is over"),
            "{}",
            exit.output
        );
        let before = counted.load(Ordering::Relaxed);
        eventually("the new one serves", || {
            (counted.load(Ordering::Relaxed) > before + 100).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(
                client.join().unwrap() <= 3,
                "it connected once more at each end"
            );
        }
        drop(new);
    });
}

#[test]
fn redis_benchmark_is_served_to_its_end_by_the_old_one() {
    let mut old = old_proxy("600000");
    let addr = old.resp_addr();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            redis_benchmark(
                &addr,
                &[
                    "-c", "20", "-n", "60000", "-t", "set", "-r", "1000", "--csv",
                ],
            )
        });
        let mut conn = old.conn();
        eventually("the benchmark runs", || {
            let info = conn.info("clients");
            (!info.contains("connected_clients:1\r\n")).then_some(())
        });
        let new = new_proxy(&old);
        old.proxy_mut().signal(Signal::SIGQUIT);
        eventually("the old one takes nobody any more", || {
            old.proxy().log().contains("SIGQUIT").then_some(())
        });
        // New connections throughout, one for each command.
        let other = redis_benchmark(
            &addr,
            &["-c", "5", "-n", "500", "-k", "0", "-t", "get", "--csv"],
        );
        assert!(other.contains("\"GET\""), "{other}");
        let first = running.join().unwrap();
        assert!(first.contains("\"SET\""), "{first}");
        // Nobody is left but the one that is quiet.
        assert_eq!(old.proxy_mut().wait_exit().code, 0);
        conn.expect_closed();
        drop(new);
    });
}

#[test]
fn redis_py_counts_through_it_without_an_error() {
    let mut old = old_proxy("1500");
    let addr = old.resp_addr();
    let (host, port) = addr.rsplit_once(':').unwrap();
    let stop = old.dir().path().join("stop");
    let program = Command::new(installed("python/bin/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(source("python").join("handover.py"))
        .args([host, port])
        .arg(&stop)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let counter = |proxy: &mut Conn| {
        let count = proxy.get("handover:redis-py").unwrap_or_default();
        String::from_utf8(count).unwrap().parse().unwrap_or(0)
    };
    let mut conn = old.conn();
    let reached = eventually("it counts", || {
        Some(counter(&mut conn)).filter(|count| *count > 50)
    });
    let new = new_proxy(&old);
    old.proxy_mut().signal(Signal::SIGQUIT);
    assert_eq!(old.proxy_mut().wait_exit().code, 0);
    let mut conn = new.conn();
    let after: u64 = counter(&mut conn);
    assert!(after > reached);
    eventually("it goes on", || {
        (counter(&mut conn) > after + 50).then_some(())
    });
    std::fs::write(&stop, "").unwrap();
    let output = program.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let counted: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    assert_eq!(counter(&mut conn), counted);
}

#[test]
fn who_is_in_the_middle_of_a_transaction_is_waited_for() {
    let mut old = old_proxy("600000");
    let mut in_multi = old.conn();
    assert_eq!(in_multi.run("MULTI"), "+OK");
    assert_eq!(in_multi.run("SET key value"), "+QUEUED");
    let mut quiet = old.conn();
    assert_eq!(quiet.run("PING"), "+PONG");
    old.proxy_mut().signal(Signal::SIGQUIT);
    quiet.expect_closed();
    assert_eq!(in_multi.run("EXEC"), "[+OK]");
    in_multi.expect_closed();
    assert_eq!(old.proxy_mut().wait_exit().code, 0);
}

#[test]
fn a_port_that_is_taken_says_what_reuse_needs() {
    let old = Setup::embedded().start();
    let refusal = Setup::embedded()
        .start()
        .builder()
        .env("RESP_ADDR", old.resp_addr())
        .env("REUSE_PORT", "on")
        .run_refused();
    assert!(
        refusal.contains("REUSE_PORT=on helps only if the process that has the port says so, too"),
        "{refusal}"
    );
}

#[test]
fn sigterm_cuts_a_drain_short() {
    let mut old = old_proxy("600000");
    let mut conn = old.conn();
    assert_eq!(conn.run("MULTI"), "+OK");
    old.proxy_mut().signal(Signal::SIGQUIT);
    eventually("it drains", || {
        old.proxy().log().contains("SIGQUIT").then_some(())
    });
    old.proxy_mut().terminate();
    assert_eq!(old.proxy_mut().wait_exit().code, 0);
}

#[test]
fn a_request_that_is_arriving_is_waited_for() {
    let mut old = old_proxy("600000");
    let mut conn = old.conn();
    let request = encode(&[b"SET", b"slow", &vec![b'x'; 3000]]);
    conn.send(&request[..100]);
    old.proxy_mut().signal(Signal::SIGQUIT);
    // Longer than a quiet client is kept, in pieces.
    for piece in request[100..].chunks(500) {
        thread::sleep(std::time::Duration::from_millis(400));
        conn.send(piece);
    }
    assert_eq!(conn.read(), "+OK");
    assert_eq!(old.proxy_mut().wait_exit().code, 0);
}

#[test]
fn a_process_that_can_t_start_takes_no_connection() {
    let old = old_proxy("1000");
    let addr = old.resp_addr();
    let (stop, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let connecting = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(Conn::open(&addr).run("PING"), "+PONG");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..5 {
            let refusal = old
                .builder()
                .env("RESP_ADDR", addr.clone())
                .env("HTTP_ADDR", old.http().addr())
                .env("SHARD_1_URL", old.urls()[0].clone())
                .run_refused();
            assert!(refusal.contains("SHARD_1_URL"), "{refusal}");
        }
        stop.store(true, Ordering::Relaxed);
        connecting.join().unwrap();
    });
    assert!(counted.load(Ordering::Relaxed) > 5);
}
