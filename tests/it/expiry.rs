//! Expiry: SET's options, EXPIRE, PERSIST, TTL and PTTL as Redis answers them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{Conn, Setup, args, eventually, pg, with_reference};

with_reference!(
    ttl_tells_an_absent_key_from_one_without_expiry,
    ex_px_exat_and_pxat_set_the_expiry,
    a_plain_set_takes_the_expiry_away_and_keepttl_keeps_it,
    expiry_times_that_can_not_be_are_refused,
    the_farthest_expiry_times_are_kept,
    expire_sets_replaces_and_reports,
    expire_obeys_nx_xx_gt_and_lt,
    expire_options_that_do_not_go_together_are_refused,
    expire_with_no_time_left_deletes,
    set_with_a_moment_in_the_past_leaves_nothing,
    persist_takes_the_expiry_away,
    a_value_ends_at_its_time,
    every_command_takes_an_expired_key_for_absent,
    a_cached_value_ends_at_its_time,
    an_expiry_that_was_moved_ends_at_the_new_time,
);

/// Seconds of the wall clock.
fn now_s() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap()
}

#[track_caller]
fn wait_until_gone(conn: &mut Conn, key: &str) {
    eventually("the key expires", || conn.get(key).is_none().then_some(()));
}

fn ttl_tells_an_absent_key_from_one_without_expiry(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("TTL key"), ":-2");
    assert_eq!(conn.run("PTTL key"), ":-2");
    conn.set("key", "value");
    assert_eq!(conn.run("TTL key"), ":-1");
    assert_eq!(conn.run("PTTL key"), ":-1");
    conn.run("GET key");
    assert_eq!(conn.run("TTL key"), ":-1", "as well when it is cached");
}

fn ex_px_exat_and_pxat_set_the_expiry(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let in_1000_s = now_s() + 1000;
    for options in [
        "EX 1000".to_owned(),
        "PX 1000000".to_owned(),
        format!("EXAT {in_1000_s}"),
        format!("PXAT {in_1000_s}000"),
        format!("pxat {in_1000_s}000"),
    ] {
        assert_eq!(
            conn.run(&format!("SET key value {options}")),
            "+OK",
            "{options}"
        );
        conn.assert_ttl("key", 1000);
        conn.run("GET key");
        conn.assert_ttl("key", 1000);
        conn.run("DEL key");
    }
}

fn a_plain_set_takes_the_expiry_away_and_keepttl_keeps_it(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET key one EX 1000");
    assert_eq!(conn.run("SET key two KEEPTTL"), "+OK");
    assert_eq!(conn.run("GET key"), "\"two\"");
    conn.assert_ttl("key", 1000);
    assert_eq!(conn.run("SET key three"), "+OK");
    assert_eq!(conn.run("TTL key"), ":-1");
    assert_eq!(conn.run("SET key four KEEPTTL"), "+OK");
    assert_eq!(
        conn.run("TTL key"),
        ":-1",
        "what has no expiry keeps having none"
    );
    assert_eq!(conn.run("SET fresh value KEEPTTL"), "+OK");
    assert_eq!(conn.run("TTL fresh"), ":-1");
    conn.run("SET key five EX 1000");
    assert_eq!(conn.run("SET key six XX"), "+OK");
    assert_eq!(conn.run("TTL key"), ":-1");
}

fn expiry_times_that_can_not_be_are_refused(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let invalid = "-ERR invalid expire time in 'set' command";
    let not_a_number = "-ERR value is not an integer or out of range";
    for (options, expected) in [
        ("EX 0", invalid),
        ("EX -1", invalid),
        ("PX 0", invalid),
        ("PX -1", invalid),
        ("EXAT 0", invalid),
        ("EXAT -5", invalid),
        ("PXAT 0", invalid),
        ("PXAT -5", invalid),
        ("EX 9223372036854775807", invalid),
        ("EX 9223372036854775", invalid),
        ("EX 9223372036854774", invalid),
        ("PX 9223372036854775807", invalid),
        ("EXAT 9223372036854775807", invalid),
        ("EX abc", not_a_number),
        ("EX 1.5", not_a_number),
        ("EX +1", not_a_number),
        ("EX 01", not_a_number),
        ("EX 99999999999999999999", not_a_number),
        ("PX 0x10", not_a_number),
        ("PXAT -", not_a_number),
        ("EX 9223372036854775808", not_a_number),
    ] {
        assert_eq!(
            conn.run(&format!("SET key value {options}")),
            expected,
            "{options}"
        );
    }
    assert_eq!(
        conn.cmd(&args!["SET", "key", "value", "EX", " 1"]),
        not_a_number
    );
    assert_eq!(
        conn.cmd(&args!["SET", "key", "value", "EX", ""]),
        not_a_number
    );
    assert_eq!(conn.run("GET key"), "$-1");
    conn.set("key", "value");
    let invalid = "-ERR invalid expire time in 'expire' command";
    for (time, expected) in [
        ("9223372036854775807", invalid),
        ("9223372036854775", invalid),
        ("9223372036854774", invalid),
        ("-9223372036854775808", invalid),
        ("abc", not_a_number),
        ("1.5", not_a_number),
        ("99999999999999999999", not_a_number),
    ] {
        assert_eq!(conn.run(&format!("EXPIRE key {time}")), expected, "{time}");
    }
    assert_eq!(conn.run("TTL key"), ":-1");
}

/// PostgreSQL's and SQLite's ranges of time are not Redis's: what can't be stored must still be answered well.
fn the_farthest_expiry_times_are_kept(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for options in [
        "EXAT 9223372036854775",
        "PXAT 9223372036854775807",
        "EX 100000000000",
        "PX 99999999999999",
    ] {
        assert_eq!(
            conn.run(&format!("SET key value {options}")),
            "+OK",
            "{options}"
        );
        assert_eq!(conn.run("GET key"), "\"value\"", "{options}");
        assert!(conn.run("TTL key").int() > 1_000_000_000, "{options}");
    }
}

fn expire_sets_replaces_and_reports(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("EXPIRE key 1000"), ":0", "there is no such key");
    conn.set("key", "value");
    conn.run("GET key");
    assert_eq!(conn.run("EXPIRE key 1000"), ":1");
    conn.assert_ttl("key", 1000);
    assert_eq!(conn.run("EXPIRE key 5000"), ":1");
    conn.assert_ttl("key", 5000);
    assert_eq!(conn.run("GET key"), "\"value\"");
}

fn expire_obeys_nx_xx_gt_and_lt(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("key", "value");
    // Without an expiry, the time left counts as endless.
    assert_eq!(conn.run("EXPIRE key 1000 XX"), ":0");
    assert_eq!(conn.run("EXPIRE key 1000 GT"), ":0");
    assert_eq!(conn.run("TTL key"), ":-1");
    assert_eq!(conn.run("EXPIRE key 1000 NX"), ":1");
    assert_eq!(conn.run("EXPIRE key 5000 NX"), ":0");
    conn.assert_ttl("key", 1000);
    assert_eq!(conn.run("EXPIRE key 500 GT"), ":0");
    conn.assert_ttl("key", 1000);
    assert_eq!(conn.run("EXPIRE key 5000 gt"), ":1");
    conn.assert_ttl("key", 5000);
    assert_eq!(conn.run("EXPIRE key 9000 LT"), ":0");
    conn.assert_ttl("key", 5000);
    assert_eq!(conn.run("EXPIRE key 2000 Lt"), ":1");
    conn.assert_ttl("key", 2000);
    assert_eq!(conn.run("EXPIRE key 3000 XX"), ":1");
    assert_eq!(conn.run("EXPIRE key 4000 XX GT"), ":1");
    conn.assert_ttl("key", 4000);
    assert_eq!(conn.run("EXPIRE key 3000 LT XX"), ":1");
    conn.assert_ttl("key", 3000);
    conn.set("key", "value");
    assert_eq!(conn.run("EXPIRE key 1000 XX LT"), ":0");
    assert_eq!(conn.run("EXPIRE key 1000 LT"), ":1");
    conn.assert_ttl("key", 1000);
    for option in ["NX", "XX", "GT", "LT"] {
        assert_eq!(conn.run(&format!("EXPIRE nosuch 10 {option}")), ":0");
    }
}

fn expire_options_that_do_not_go_together_are_refused(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("key", "value");
    let nx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    let gt_lt = "-ERR GT and LT options at the same time are not compatible";
    for (options, expected) in [
        ("NX XX", nx),
        ("XX NX", nx),
        ("NX GT", nx),
        ("LT NX", nx),
        ("NX GT LT", nx),
        ("GT LT", gt_lt),
        ("LT GT XX", gt_lt),
        ("FOO", "-ERR Unsupported option FOO"),
        ("foo BAR", "-ERR Unsupported option foo"),
        ("NX foo", "-ERR Unsupported option foo"),
    ] {
        assert_eq!(
            conn.run(&format!("EXPIRE key 10 {options}")),
            expected,
            "{options}"
        );
        assert_eq!(
            conn.run(&format!("EXPIRE nosuch 10 {options}")),
            expected,
            "{options}"
        );
    }
    assert_eq!(conn.run("TTL key"), ":-1");
}

fn expire_with_no_time_left_deletes(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for time in ["0", "-1", "-1000000"] {
        conn.set("key", "value");
        conn.run("GET key");
        assert_eq!(conn.run(&format!("EXPIRE key {time}")), ":1", "{time}");
        assert_eq!(conn.run("GET key"), "$-1", "{time}");
        assert_eq!(conn.run("EXISTS key"), ":0", "{time}");
        assert_eq!(conn.run(&format!("EXPIRE key {time}")), ":0", "{time}");
    }
    conn.set("key", "value");
    assert_eq!(conn.run("EXPIRE key -1 GT"), ":0");
    assert_eq!(conn.run("GET key"), "\"value\"");
}

fn set_with_a_moment_in_the_past_leaves_nothing(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for options in ["PXAT 1", "EXAT 1", "PXAT 1500000000000"] {
        conn.set("key", "value");
        conn.run("GET key");
        assert_eq!(
            conn.run(&format!("SET key other {options}")),
            "+OK",
            "{options}"
        );
        assert_eq!(conn.run("GET key"), "$-1", "{options}");
        assert_eq!(conn.run("TTL key"), ":-2", "{options}");
        assert_eq!(conn.run("SET key other NX"), "+OK", "{options}");
    }
}

fn persist_takes_the_expiry_away(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("PERSIST key"), ":0");
    conn.run("SET key value EX 1000");
    conn.run("GET key");
    assert_eq!(conn.run("PERSIST key"), ":1");
    assert_eq!(conn.run("TTL key"), ":-1");
    assert_eq!(conn.run("PERSIST key"), ":0");
    assert_eq!(conn.run("GET key"), "\"value\"");
}

fn a_value_ends_at_its_time(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET by_ex value EX 1");
    conn.run("SET by_px value PX 400");
    conn.cmd(&args![
        "SET",
        "by_pxat",
        "value",
        "PXAT",
        format!("{}000", now_s() + 2)
    ]);
    conn.run("SET by_expire value");
    assert_eq!(conn.run("EXPIRE by_expire 1"), ":1");
    conn.run("SET stays value EX 1000");
    for key in ["by_ex", "by_px", "by_pxat", "by_expire"] {
        wait_until_gone(&mut conn, key);
        assert_eq!(conn.cmd(&args!["TTL", key]), ":-2", "{key}");
    }
    assert_eq!(conn.run("GET stays"), "\"value\"");
}

fn every_command_takes_an_expired_key_for_absent(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    // A key for each command: the first that looks might remove the row for the next. All have ended once the one that
    // was set last has.
    let cases = [
        ("EXISTS k0", ":0"),
        ("TTL k1", ":-2"),
        ("PTTL k2", ":-2"),
        ("PERSIST k3", ":0"),
        ("EXPIRE k4 100", ":0"),
        ("DEL k5", ":0"),
        ("UNLINK k6", ":0"),
        ("SET k7 other XX", "$-1"),
        ("SET k8 other GET", "$-1"),
        ("SET k9 other KEEPTTL", "+OK"),
        ("SET k10 other NX", "+OK"),
        ("MGET k11 k11", "[$-1, $-1]"),
        ("GET k12", "$-1"),
        ("EXPIRE k13 100 NX", ":0"),
        ("SET k14 other NX GET", "$-1"),
        ("SET k15 other XX GET", "$-1"),
    ];
    for (number, _) in cases.iter().enumerate() {
        conn.run(&format!("SET k{number} value PX 300"));
    }
    conn.run("SET last value PX 300");
    wait_until_gone(&mut conn, "last");
    for (command, expected) in cases {
        assert_eq!(conn.run(command), expected, "{command}");
    }
    assert_eq!(
        conn.run("TTL k9"),
        ":-1",
        "KEEPTTL does not keep what has ended"
    );
    assert_eq!(
        conn.run("MGET k7 k8 k9 k10 k14 k15"),
        "[$-1, \"other\", \"other\", \"other\", \"other\", $-1]"
    );
}

fn a_cached_value_ends_at_its_time(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET key value PX 1500");
    // Reading brings it into the cache; it must not live on there.
    for _ in 0..5 {
        conn.get("key");
    }
    wait_until_gone(&mut conn, "key");
    assert_eq!(conn.run("EXISTS key"), ":0");
    assert_eq!(conn.run("GET key"), "$-1");
}

fn an_expiry_that_was_moved_ends_at_the_new_time(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET sooner value EX 1000");
    conn.run("SET later value PX 3000");
    conn.run("SET never value PX 3000");
    conn.run("SET overwritten value PX 3000");
    conn.run("MGET sooner later never overwritten");
    conn.run("EXPIRE sooner 1");
    assert_eq!(conn.run("EXPIRE later 1000"), ":1");
    assert_eq!(conn.run("PERSIST never"), ":1");
    conn.run("SET overwritten other");
    conn.run("SET measure value PX 3500");
    wait_until_gone(&mut conn, "measure");
    wait_until_gone(&mut conn, "sooner");
    assert_eq!(
        conn.run("MGET later never overwritten"),
        "[\"value\", \"value\", \"other\"]"
    );
}

/// What was answered as expired stays away, also when a command that still found it commits late.
#[test]
fn a_key_that_was_absent_by_expiry_does_not_come_back() {
    let it = Setup::postgres().shards(1).start();
    let slow = "create function slowly() returns trigger language plpgsql as
                    'begin perform pg_sleep(1.5); return new; end';
                create trigger slowly before update on respgres_kv
                    for each row execute function slowly()";
    pg(&it.urls()[0]).unwrap().batch_execute(slow).unwrap();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key value PX 600"), "+OK");
    let mut other = it.conn();
    let persisted = std::thread::spawn(move || other.run("PERSIST key"));
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let seen = conn.get("key");
    let persisted = persisted.join().unwrap();
    assert_eq!(seen, conn.get("key"), "PERSIST answered {persisted}");
}
