//! Rows that somebody else keeps locked: their shard's other keys are served as ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Conn, Setup, args, pg};

/// How long a client may wait to be told that a key is locked.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

const REFUSED: &str = "-SHARDERR shard_0 refused the operation, nothing was changed: the key is locked by another transaction";

/// `write` is run by clients of their own on keys of their own, while another keeps writing to the key
/// that `lock` has locked.
fn others_write_beside(lock: &str, locked_key: &'static str, write: &[&'static str]) {
    let it = Setup::postgres().shards(1).start();
    it.conn().set("locked", "old");
    let mut holder = pg(&it.urls()[0]).unwrap();
    let mut holding = holder.transaction().unwrap();
    holding.batch_execute(lock).unwrap();
    let addr = it.resp_addr();
    let is_over = AtomicBool::new(false);
    let (refused, written) = std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            let mut conn = Conn::open(&addr);
            let mut refused = 0;
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let reply = conn.cmd(&args!["SET", locked_key, "new"]);
                assert!(reply.error().starts_with(&REFUSED[1..]), "{reply}");
                assert!(begun.elapsed() < TOLD_WITHIN, "{:?}", begun.elapsed());
                refused += 1;
            }
            refused
        });
        let others: Vec<_> = (0..8)
            .map(|client| {
                let (addr, is_over) = (&addr, &is_over);
                scope.spawn(move || {
                    let mut conn = Conn::open(addr);
                    let mut written = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        for command in write {
                            let key = format!("key:{client}:{}", written % 10);
                            let reply = conn.cmd(&args![command, key, "value"]);
                            assert!(!reply.is_error(), "{command}: {reply}");
                        }
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(7));
        is_over.store(true, Ordering::Relaxed);
        let written: Vec<i32> = others.into_iter().map(|it| it.join().unwrap()).collect();
        (refused.join().unwrap(), written)
    });
    // Once it is known to be locked it is not waited for.
    assert!(refused > 10, "{refused}");
    assert!(written.iter().all(|written| *written > 10), "{written:?}");
    holding.rollback().unwrap();
    let mut conn = it.conn();
    conn.set(locked_key, "at last");
    assert_eq!(conn.get(locked_key).unwrap(), b"at last");
}

const LOCK: &str = "update respgres_rows set value = 'x' where key = 'locked'";

#[test]
fn others_set_beside_a_locked_row() {
    others_write_beside(LOCK, "locked", &["SET"]);
}

#[test]
fn others_transact_beside_a_locked_row() {
    others_write_beside(LOCK, "locked", &["APPEND", "SETNX"]);
}

/// It can't be seen, only waited for.
#[test]
fn others_write_beside_a_row_that_is_being_inserted() {
    let insert = "insert into respgres_rows (key, value) values ('to come', 'x')";
    others_write_beside(insert, "to come", &["SET", "APPEND"]);
}

/// A transaction of a client is a whole, also where only one of its keys is locked, and what the
/// client sends after it comes after it.
#[test]
fn what_needs_a_locked_key_is_not_done_in_part_and_the_order_stays() {
    let it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    for key in ["locked", "beside"] {
        conn.set(key, "old");
    }
    let mut holder = pg(&it.urls()[0]).unwrap();
    let mut holding = holder.transaction().unwrap();
    holding.batch_execute(LOCK).unwrap();
    conn.send(b"MSET locked 1 beside 1\r\nAPPEND beside 2\r\nSET other 3\r\n");
    let reply = conn.read();
    assert!(reply.error().starts_with(&REFUSED[1..]), "{reply}");
    assert_eq!(conn.read(), ":4");
    assert_eq!(conn.read(), "+OK");
    assert_eq!(conn.get("beside").unwrap(), b"old2");
    holding.rollback().unwrap();
    assert_eq!(conn.run("MSET locked 6 beside 6"), "+OK");
    assert_eq!(conn.get("locked").unwrap(), b"6");
}

/// A lock that goes away soon is waited for, and what waits keeps its order.
#[test]
fn a_lock_that_is_given_back_soon_is_waited_for() {
    let it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    conn.set("locked", "old");
    let mut holder = pg(&it.urls()[0]).unwrap();
    let mut holding = holder.transaction().unwrap();
    holding.batch_execute(LOCK).unwrap();
    let mut pipeline = b"SET beside 0\r\n".to_vec();
    for number in 1..=3 {
        pipeline.extend(
            format!("SET locked {number}\r\nMSET locked {number}a beside {number}a\r\n").bytes(),
        );
    }
    pipeline.extend(b"APPEND beside b\r\n");
    conn.send(&pipeline);
    // Longer than a statement waits for it.
    std::thread::sleep(Duration::from_millis(1500));
    holding.rollback().unwrap();
    for _ in 0..7 {
        assert_eq!(conn.read(), "+OK");
    }
    assert_eq!(conn.read(), ":3");
    assert_eq!(conn.get("locked").unwrap(), b"3a");
    assert_eq!(conn.get("beside").unwrap(), b"3ab");
}

/// Who has the table is waited for as long as a statement may take.
#[test]
fn a_lock_on_the_table_is_waited_for() {
    let it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    conn.set("key", "old");
    for mode in ["share", "access exclusive"] {
        let mut holder = pg(&it.urls()[0]).unwrap();
        let mut holding = holder.transaction().unwrap();
        holding
            .batch_execute(&format!("lock table respgres_rows in {mode} mode"))
            .unwrap();
        conn.send(b"SET key new\r\nGET absent\r\n");
        std::thread::sleep(Duration::from_millis(2500));
        holding.rollback().unwrap();
        assert_eq!(conn.read(), "+OK", "{mode}");
        assert_eq!(conn.read(), "$-1", "{mode}");
    }
}

#[test]
fn an_expired_row_that_is_locked_is_no_matter_to_the_other_keys() {
    let it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    for key in ["locked", "expired", "here"] {
        conn.set(key, "old");
    }
    let mut holder = pg(&it.urls()[0]).unwrap();
    holder
        .batch_execute(
            "update respgres_kv set expires_at = now() + interval '1 s' where key <> 'here'",
        )
        .unwrap();
    let mut holding = holder.transaction().unwrap();
    // As a transaction that makes it stay, if it is committed.
    holding
        .batch_execute("update respgres_rows set expires_at = null where key = 'locked'")
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    for round in 0..3 {
        // None of them is in the cache. One flight for all.
        let begun = Instant::now();
        conn.send(
            format!("GET locked\r\nGET expired\r\nGET here\r\nGET absent:{round}\r\n").as_bytes(),
        );
        let reply = conn.read();
        assert!(
            reply.error().contains("has expired, and is locked"),
            "{reply}"
        );
        assert_eq!(conn.read(), "$-1");
        assert_eq!(conn.read(), "\"old\"");
        assert_eq!(conn.read(), "$-1");
        assert!(begun.elapsed() < TOLD_WITHIN);
    }
    holding.commit().unwrap();
    assert_eq!(conn.get("locked").unwrap(), b"old");
}
