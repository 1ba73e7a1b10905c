//! Expired rows: none for any command from their end on, and removed from the shards in the end.

use crate::harness::{Setup, both_backends, eventually, keys_on_each};

both_backends!(
    a_row_that_expired_in_the_shard_is_absent_for_every_command,
    expired_rows_are_removed_from_every_shard_and_others_stay,
);

fn a_row_that_expired_in_the_shard_is_absent_for_every_command(setup: Setup) {
    let it = setup.shards(1).start();
    let (mut conn, http) = (it.conn(), it.http());
    let cases = [
        ("GET k0", "$-1"),
        ("EXISTS k1", ":0"),
        ("TTL k2", ":-2"),
        ("PTTL k3", ":-2"),
        ("PERSIST k4", ":0"),
        ("EXPIRE k5 100", ":0"),
        ("DEL k6", ":0"),
        ("UNLINK k7", ":0"),
        ("SET k8 other XX", "$-1"),
        ("SET k9 other GET", "$-1"),
        ("SET k10 other KEEPTTL", "+OK"),
        ("SET k11 other NX", "+OK"),
        ("MGET k12 k12", "[$-1, $-1]"),
        ("EXPIRE k13 100 NX", ":0"),
    ];
    for (n, (command, expected)) in cases.into_iter().enumerate() {
        conn.run(&format!("SET k{n} value EX 1000"));
        // By the shard's clock it ended long ago; the sweeper may come at any moment, or not.
        it.shards().expire_all(0);
        assert_eq!(conn.run(command), expected, "{command}");
    }
    conn.run("SET http value EX 1000");
    it.shards().expire_all(0);
    http.read("http").expect_detail(404);
    conn.run("FLUSHALL");
    conn.run("MSET a 1 b 2");
    conn.run("SET counted value EX 1000");
    it.shards().expire_all(0);
    assert_eq!(conn.run("DBSIZE"), ":2");
}

fn expired_rows_are_removed_from_every_shard_and_others_stay(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for n in 0..300 {
        conn.run(&format!("SET short:{n} value PX 100"));
    }
    let keep = keys_on_each(3, "keep");
    for key in &keep {
        conn.run(&format!("SET {key} value"));
        conn.run(&format!("SET {key}:long value EX 1000"));
    }
    eventually("the sweeper removes what expired", || {
        (it.shards().all_rows() == 6).then_some(())
    });
    for key in &keep {
        assert_eq!(conn.get(key).unwrap(), b"value");
        assert_eq!(conn.get(format!("{key}:long")).unwrap(), b"value");
    }
}
