//! Sizes: from empty to the limit and beyond, of values and of keys, on both ports.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::harness::{Setup, args, both_backends, encode, shard_of};

both_backends!(
    values_of_every_size_up_to_16_mib_are_kept,
    a_value_over_the_limit_is_refused_and_the_connection_goes_on,
    an_oversized_value_in_a_pipeline_is_answered_in_its_place,
    the_limit_is_configurable_and_exact_on_both_ports,
    every_command_that_writes_obeys_the_limit,
    sixteen_mib_pass_over_http,
    keys_of_512_bytes_and_of_64_kib_are_keys_like_others,
    long_keys_that_differ_at_the_end_are_different_keys,
    long_keys_are_listed_whole_whatever_made_them,
);

const MIB: usize = 1 << 20;

/// Bytes of every kind, without a period that block sizes share.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at + seed) * 31 % 251) as u8 ^ (at >> 12) as u8)
        .collect()
}

fn values_of_every_size_up_to_16_mib_are_kept(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for size in [
        0,
        1,
        100,
        8191,
        8192,
        65_535,
        65_536,
        MIB + 1,
        5 * MIB,
        16 * MIB,
    ] {
        let value = bytes(size, size);
        conn.set("key", &value);
        for _ in 0..2 {
            assert!(conn.get("key").unwrap() == value, "{size} bytes");
        }
        let stored = it.shards().value(shard_of(b"key", 3), b"key").unwrap();
        assert!(stored == value, "{size} bytes in the shard");
    }
}

fn a_value_over_the_limit_is_refused_and_the_connection_goes_on(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("key", "before");
    for size in [16 * MIB + 1, 40 * MIB] {
        let reply = conn.cmd(&args!["SET", "key", vec![b'x'; size]]);
        assert!(reply.error().starts_with("ERR "), "{reply}");
        assert!(
            reply.error().contains("16777216"),
            "the limit is named: {reply}"
        );
        assert_eq!(conn.get("key").unwrap(), b"before");
    }
    conn.set("key", "after");
    assert_eq!(conn.get("key").unwrap(), b"after");
}

fn an_oversized_value_in_a_pipeline_is_answered_in_its_place(setup: Setup) {
    let it = setup.env("MAX_VALUE_SIZE", "1000").start();
    let mut conn = it.conn();
    let oversized = "x".repeat(200_000);
    let packet = [
        encode(&args!["SET", "a", "1"]),
        encode(&args!["SET", "b", oversized]),
        encode(&args!["GET", "a"]),
        encode(&args!["MSET", "a", "2", "b", oversized]),
        encode(&args!["GET", "a"]),
        encode(&args!["PING"]),
    ];
    conn.send(&packet.concat());
    assert_eq!(conn.read(), "+OK");
    assert!(conn.read().error().contains("1000"));
    assert_eq!(conn.read(), "\"1\"");
    assert!(conn.read().error().contains("1000"));
    assert_eq!(conn.read(), "\"1\"", "the refused MSET wrote nothing");
    assert_eq!(conn.read(), "+PONG");
    assert_eq!(conn.run("GET b"), "$-1");
}

fn the_limit_is_configurable_and_exact_on_both_ports(setup: Setup) {
    let it = setup.env("MAX_VALUE_SIZE", "1000").start();
    let (mut conn, http) = (it.conn(), it.http());
    let (largest, too_large) = ("x".repeat(1000), "x".repeat(1001));
    conn.set("resp", &largest);
    assert!(
        conn.cmd(&args!["SET", "resp", too_large])
            .error()
            .contains("1000")
    );
    http.write("http", &largest).expect(200);
    let detail = http.write("http", &too_large).expect_detail(413);
    assert!(detail.contains("1000"), "the limit is named: {detail}");
    assert_eq!(http.value_and_origin("http").0, largest);
    // The value counts, not how JSON or base64 write it.
    let controls = "\u{1}".repeat(1000);
    http.write("escaped", &controls).expect(200);
    assert_eq!(conn.get("escaped").unwrap(), controls.as_bytes());
    let body = |size| {
        json!({"key": "b64", "value": BASE64.encode(bytes(size, 0)), "encoding": "base64"})
            .to_string()
    };
    http.post("/write", body(1000).as_bytes()).expect(200);
    http.post("/write", body(1001).as_bytes())
        .expect_detail(413);
    assert_eq!(conn.get("b64").unwrap(), bytes(1000, 0));
}

fn every_command_that_writes_obeys_the_limit(setup: Setup) {
    let it = setup.env("MAX_VALUE_SIZE", "10").start();
    let mut conn = it.conn();
    let value = "x".repeat(11);
    for command in [
        args!["SET", "k", value].to_vec(),
        args!["SET", "k", value, "NX"].to_vec(),
        args!["SET", "k", value, "GET"].to_vec(),
        args!["SET", "k", value, "EX", "100"].to_vec(),
        args!["MSET", "j", "small", "k", value].to_vec(),
    ] {
        assert!(conn.cmd(&command).is_error());
        assert_eq!(conn.run("EXISTS j k"), ":0");
    }
    // It bounds values, not keys or names.
    conn.set("x".repeat(500), "small");
    assert_eq!(conn.get("x".repeat(500)).unwrap(), b"small");
}

fn sixteen_mib_pass_over_http(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    let text = "0123456789abcdef".repeat(MIB);
    http.write("text", &text).expect(200);
    assert!(conn.get("text").unwrap() == text.as_bytes());
    assert!(http.read("text").expect(200)["value"] == text.as_str());
    let binary = bytes(16 * MIB, 3);
    conn.set("binary", &binary);
    let body = http.read("binary").expect(200);
    assert_eq!(body["encoding"], "base64");
    assert!(BASE64.decode(body["value"].as_str().unwrap()).unwrap() == binary);
    let body = json!({"key": "copy", "value": body["value"], "encoding": "base64"}).to_string();
    http.post("/write", body.as_bytes()).expect(200);
    assert!(conn.get("copy").unwrap() == binary);
    let over = "x".repeat(16 * MIB + 1);
    let detail = http.write("over", &over).expect_detail(413);
    assert!(detail.contains("16777216"), "{detail}");
    assert_eq!(conn.run("GET over"), "$-1");
}

fn keys_of_512_bytes_and_of_64_kib_are_keys_like_others(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for size in [512, 1023, 1024, 1025, 2048, 2704, 8192, 65_536] {
        let key = bytes(size, 1);
        let shard = shard_of(&key, 3);
        assert_eq!(conn.get(&key), None, "{size}");
        conn.set(&key, size.to_string());
        assert_eq!(conn.get(&key).unwrap(), size.to_string().as_bytes());
        assert_eq!(
            conn.get(&key).unwrap(),
            size.to_string().as_bytes(),
            "{size}, cached"
        );
        assert_eq!(it.shards().holding(&key), [shard], "{size}");
        assert_eq!(conn.cmd(&args!["SET", key, "other", "NX"]), "$-1");
        assert_eq!(
            conn.cmd(&args!["SET", key, "other", "EX", "1000", "GET"])
                .string(),
            size.to_string()
        );
        assert_eq!(
            conn.cmd(&args!["MGET", key, "nosuch", key]),
            "[\"other\", $-1, \"other\"]"
        );
        assert_eq!(conn.cmd(&args!["PERSIST", key]), ":1");
        assert_eq!(conn.cmd(&args!["EXISTS", key]), ":1");
        assert_eq!(conn.cmd(&args!["DEL", key]), ":1");
        assert_eq!(conn.get(&key), None);
        assert!(it.shards().holding(&key).is_empty());
    }
    let key = "k".repeat(2000);
    it.http().write(&key, "long").expect(200);
    assert_eq!(it.http().value_and_origin(&key).0, "long");
    assert_eq!(it.http().read(&key).expect(200)["key"], key.as_str());
}

fn long_keys_that_differ_at_the_end_are_different_keys(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let keys: Vec<Vec<u8>> = (0..20)
        .map(|n| [bytes(5000, 0), vec![n]].concat())
        .collect();
    for (n, key) in keys.iter().enumerate() {
        conn.set(key, n.to_string());
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(conn.get(key).unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(it.shards().all_rows(), 20);
    // A key that looks like what stands for a long one is not that one.
    for key in it.shards().keys(0) {
        assert!(keys.contains(&key));
    }
}

fn long_keys_are_listed_whole_whatever_made_them(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for write in [
        vec!["SET", "KEY", "1"],
        vec!["SET", "KEY", "1", "NX"],
        vec!["SET", "KEY", "1", "GET"],
        vec!["INCR", "KEY"],
        vec!["APPEND", "KEY", "1"],
    ] {
        assert_eq!(conn.run("FLUSHALL"), "+OK");
        let key = "k".repeat(3000);
        let words: Vec<&[u8]> = write
            .iter()
            .map(|word| if *word == "KEY" { &key } else { *word }.as_bytes())
            .collect();
        assert!(!conn.cmd(&words).is_error());
        let keys = conn.run("KEYS *").array();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].string(), key, "{write:?}");
    }
}
