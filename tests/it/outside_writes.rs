//! Rows changed past the proxies, by plain SQL: their cache entries go, whoever drains the outbox.

use std::time::Instant;

use crate::harness::{DEADLINE, Setup, eventually, pg};

/// How often the delay is measured.
const ROUNDS: usize = 50;

/// Plain SQL is seen through every proxy. Prints how long that takes (`--nocapture` shows it).
#[test]
fn an_update_by_sql_is_read_soon_through_every_proxy() {
    let it = Setup::postgres().shards(1).start();
    let other = it.builder().start();
    let mut shard = pg(&it.urls()[0]).unwrap();
    let mut conns = [it.conn(), other.conn()];
    conns[0].set("key", "0");
    let mut delays = Vec::new();
    for round in 1..=ROUNDS {
        let old = (round - 1).to_string();
        let new = round.to_string();
        for conn in &mut conns {
            assert_eq!(conn.get("key").unwrap(), old.as_bytes());
        }
        let update = "update respgres_kv set value = $1 where key = 'key'";
        shard.execute(update, &[&new.as_bytes()]).unwrap();
        let committed = Instant::now();
        // Without a pause between two reads, as the time that it takes is measured.
        loop {
            let value = conns[0].get("key").unwrap();
            if value == new.as_bytes() {
                break;
            }
            assert_eq!(value, old.as_bytes());
            assert!(committed.elapsed() < DEADLINE, "it is never read");
        }
        delays.push(committed.elapsed());
        // One cache, so the other one sees it too, from the same moment on.
        assert_eq!(conns[1].get("key").unwrap(), new.as_bytes());
    }
    delays.sort();
    println!(
        "an update by SQL is read after {:?} (median of {ROUNDS}; the longest {:?})",
        delays[ROUNDS / 2],
        delays[ROUNDS - 1]
    );
    eventually("the outbox is empty", || {
        let notes = shard.query_one("select count(*) from respgres_outbox", &[]);
        (notes.unwrap().get::<_, i64>(0) == 0).then_some(())
    });
}

#[test]
fn rows_inserted_deleted_and_truncated_by_sql_are_seen() {
    let it = Setup::postgres().shards(1).start();
    let mut shard = pg(&it.urls()[0]).unwrap();
    let mut conn = it.conn();
    let keys = ["a", "b", "c"];
    for key in keys {
        // Known to be absent.
        assert_eq!(conn.get(key), None);
        assert_eq!(conn.get(key), None);
    }
    let insert = "insert into respgres_kv (key, value) values ('a', '1'), ('b', '1'), ('c', '1')";
    shard.batch_execute(insert).unwrap();
    for key in keys {
        eventually("it is there", || conn.get(key).is_some().then_some(()));
        assert_eq!(conn.get(key).unwrap(), b"1");
    }
    shard
        .batch_execute("delete from respgres_kv where key = 'a'")
        .unwrap();
    eventually("it is gone", || conn.get("a").is_none().then_some(()));
    assert_eq!(conn.get("b").unwrap(), b"1");
    shard.batch_execute("truncate respgres_kv").unwrap();
    for key in keys {
        eventually("it is gone", || conn.get(key).is_none().then_some(()));
    }
}

#[test]
fn what_was_written_while_no_proxy_ran_is_seen_by_the_next() {
    let mut it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    conn.set("key", "old");
    assert_eq!(conn.get("key").unwrap(), b"old");
    it.proxy_mut().terminate();
    it.proxy_mut().wait_exit();
    let mut shard = pg(&it.urls()[0]).unwrap();
    shard
        .batch_execute("update respgres_kv set value = 'new'")
        .unwrap();
    let next = it.builder().start();
    let mut conn = next.conn();
    eventually("it is read", || {
        (conn.get("key").unwrap() == b"new").then_some(())
    });
}

/// More rows than one round drains.
#[test]
fn a_bulk_load_by_sql_is_seen_to_its_last_row() {
    let it = Setup::postgres().shards(1).start();
    let mut conn = it.conn();
    assert_eq!(conn.get("row:1"), None);
    assert_eq!(conn.get("row:25000"), None);
    let mut shard = pg(&it.urls()[0]).unwrap();
    shard
        .batch_execute(
            "insert into respgres_kv (key, value)
             select convert_to('row:' || n, 'utf8'), 'v' from generate_series(1, 25000) as n",
        )
        .unwrap();
    for key in ["row:1", "row:25000"] {
        eventually("it is there", || conn.get(key).is_some().then_some(()));
    }
    eventually("the outbox is empty", || {
        let notes = shard.query_one("select count(*) from respgres_outbox", &[]);
        (notes.unwrap().get::<_, i64>(0) == 0).then_some(())
    });
}
