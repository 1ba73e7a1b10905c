//! GET, SET with its options, DEL, UNLINK, EXISTS, MGET, MSET: as Redis answers them.

use crate::harness::{Setup, args, with_reference};

with_reference!(
    a_value_that_was_set_is_read_back,
    a_key_that_was_never_set_is_null,
    a_second_set_replaces_the_value,
    a_deleted_key_is_gone,
    del_and_unlink_count_the_keys_that_were_there,
    exists_counts_each_mention_of_a_key,
    mget_answers_in_the_order_of_its_keys_with_nulls_for_absent_ones,
    mset_sets_every_key_and_the_last_mention_wins,
    set_nx_writes_only_an_absent_key,
    set_xx_writes_only_a_present_key,
    set_get_answers_the_old_value,
    set_get_with_nx_or_xx_answers_the_old_value_and_obeys_the_condition,
    options_may_come_in_any_order_and_case,
    commands_are_known_in_any_case,
    options_that_do_not_go_together_are_syntax_errors,
    a_repeated_option_counts_once,
    a_refused_set_changes_nothing,
    dbsize_counts_the_keys_that_exist,
    flushing_removes_every_key,
    keys_and_values_are_any_bytes,
);

fn a_value_that_was_set_is_read_back(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.cmd(&args!["SET", "user:123", "John Doe"]), "+OK");
    assert_eq!(conn.run("GET user:123"), "\"John Doe\"");
    assert_eq!(
        it.conn().run("GET user:123"),
        "\"John Doe\"",
        "another connection sees it too"
    );
}

fn a_key_that_was_never_set_is_null(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("GET nosuch"), "$-1");
    assert_eq!(conn.run("GET nosuch"), "$-1", "the second time as well");
    assert_eq!(conn.run("EXISTS nosuch"), ":0");
    conn.set("nosuch", "now there is");
    assert_eq!(
        conn.run("GET nosuch"),
        "\"now there is\"",
        "that it was absent is not remembered"
    );
}

fn a_second_set_replaces_the_value(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for value in ["one", "two", "", "four"] {
        conn.set("key", value);
        assert_eq!(conn.get("key").unwrap(), value.as_bytes());
        assert_eq!(conn.get("key").unwrap(), value.as_bytes(), "read again");
    }
}

fn a_deleted_key_is_gone(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in ["DEL", "UNLINK"] {
        conn.set("key", "value");
        assert_eq!(conn.run("GET key"), "\"value\"");
        assert_eq!(conn.cmd(&args![command, "key"]), ":1");
        assert_eq!(conn.run("GET key"), "$-1");
        assert_eq!(conn.run("EXISTS key"), ":0");
        assert_eq!(conn.cmd(&args![command, "key"]), ":0");
    }
}

fn del_and_unlink_count_the_keys_that_were_there(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in ["DEL", "UNLINK"] {
        assert_eq!(conn.run("MSET a 1 b 2 c 3 d 4 e 5"), "+OK");
        assert_eq!(
            conn.run(&format!("{command} a b nosuch a c")),
            ":3",
            "each key once"
        );
        assert_eq!(conn.run("MGET a b c d e"), "[$-1, $-1, $-1, \"4\", \"5\"]");
    }
}

fn exists_counts_each_mention_of_a_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("MSET a 1 b 2"), "+OK");
    assert_eq!(conn.run("EXISTS a b nosuch a a"), ":4");
}

fn mget_answers_in_the_order_of_its_keys_with_nulls_for_absent_ones(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("MSET a 1 b 2 c 3 d 4"), "+OK");
    let expected = "[\"4\", $-1, \"1\", \"4\", \"2\", $-1, \"3\"]";
    assert_eq!(conn.run("MGET d x a d b y c"), expected);
    assert_eq!(
        conn.run("MGET d x a d b y c"),
        expected,
        "from the cache as well"
    );
    // Over all shards, some cached and some not.
    let keys: Vec<String> = (0..200).map(|n| format!("many:{n}")).collect();
    let mut mset: Vec<&[u8]> = vec![b"MSET"];
    for key in &keys {
        mset.extend([key.as_bytes(), key.as_bytes()]);
    }
    assert_eq!(conn.cmd(&mset), "+OK");
    conn.get(&keys[7]);
    let mut mget: Vec<&[u8]> = vec![b"MGET"];
    mget.extend(keys.iter().map(String::as_bytes));
    let values = conn.cmd(&mget).array();
    assert_eq!(values.len(), keys.len());
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(value.value().unwrap(), key.as_bytes());
    }
}

fn mset_sets_every_key_and_the_last_mention_wins(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.cmd(&args!["SET", "a", "old", "EX", "1000"]);
    conn.get("a");
    assert_eq!(conn.run("MSET a 1 b 2 a 3"), "+OK");
    assert_eq!(conn.run("MGET a b"), "[\"3\", \"2\"]");
    assert_eq!(
        conn.run("TTL a"),
        ":-1",
        "MSET takes an expiry away, as SET does"
    );
}

fn set_nx_writes_only_an_absent_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key first NX"), "+OK");
    assert_eq!(conn.run("SET key second NX"), "$-1");
    assert_eq!(conn.run("GET key"), "\"first\"");
    conn.run("DEL key");
    assert_eq!(conn.run("SET key third NX"), "+OK");
    assert_eq!(conn.run("GET key"), "\"third\"");
}

fn set_xx_writes_only_a_present_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key first XX"), "$-1");
    assert_eq!(conn.run("GET key"), "$-1");
    conn.set("key", "second");
    assert_eq!(conn.run("SET key third XX"), "+OK");
    assert_eq!(conn.run("GET key"), "\"third\"");
}

fn set_get_answers_the_old_value(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key first GET"), "$-1");
    assert_eq!(conn.run("SET key second GET"), "\"first\"");
    assert_eq!(conn.run("SET key third GET EX 1000"), "\"second\"");
    assert_eq!(conn.run("GET key"), "\"third\"");
    conn.assert_ttl("key", 1000);
}

fn set_get_with_nx_or_xx_answers_the_old_value_and_obeys_the_condition(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(
        conn.run("SET key one NX GET"),
        "$-1",
        "it was absent, and is written"
    );
    assert_eq!(conn.run("GET key"), "\"one\"");
    assert_eq!(
        conn.run("SET key two NX GET"),
        "\"one\"",
        "it was there, and is kept"
    );
    assert_eq!(conn.run("GET key"), "\"one\"");
    assert_eq!(conn.run("SET key three XX GET"), "\"one\"");
    assert_eq!(conn.run("GET key"), "\"three\"");
    assert_eq!(conn.run("SET absent four XX GET"), "$-1");
    assert_eq!(conn.run("GET absent"), "$-1");
}

fn options_may_come_in_any_order_and_case(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key one px 1000000 nx"), "+OK");
    assert_eq!(conn.run("SET key two Get eX 500 Xx"), "\"one\"");
    assert_eq!(conn.run("SET key three xx keepttl get"), "\"two\"");
    conn.assert_ttl("key", 500);
    assert_eq!(conn.run("GET key"), "\"three\"");
}

fn commands_are_known_in_any_case(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("set key value"), "+OK");
    assert_eq!(conn.run("gEt key"), "\"value\"");
    assert_eq!(conn.run("mGet key KEY"), "[\"value\", $-1]");
    assert_eq!(conn.run("eXiSTS key"), ":1");
    assert_eq!(conn.run("dEL key"), ":1");
}

fn options_that_do_not_go_together_are_syntax_errors(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in [
        "SET key value foo",
        "SET key value NX XX",
        "SET key value XX NX",
        "SET key value EX",
        "SET key value PX",
        "SET key value NX EX",
        "SET key value EX 10 PX 10",
        "SET key value EXAT 99999999999 PXAT 99999999999999",
        "SET key value EX 10 KEEPTTL",
        "SET key value KEEPTTL EX 10",
        "SET key value KEEPTTL PXAT 99999999999999",
        "SET key value EX 0 foo",
        "SET key value EX 10 NX XX",
        "SET key value 10",
    ] {
        assert_eq!(conn.run(command), "-ERR syntax error", "{command}");
    }
    assert_eq!(conn.run("GET key"), "$-1");
}

fn a_repeated_option_counts_once(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("SET key one EX 10 EX 500"), "+OK");
    conn.assert_ttl("key", 500);
    assert_eq!(conn.run("SET key two NX NX"), "$-1");
    assert_eq!(conn.run("SET key three GET GET KEEPTTL KEEPTTL"), "\"one\"");
    conn.assert_ttl("key", 500);
}

fn a_refused_set_changes_nothing(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET key value EX 500");
    for command in [
        "SET key other EX 0",
        "SET key other EX abc",
        "SET key other NX XX",
        "SET key other NX",
        "SET key",
    ] {
        conn.run(command);
        assert_eq!(conn.run("GET key"), "\"value\"", "{command}");
        conn.assert_ttl("key", 500);
    }
}

fn dbsize_counts_the_keys_that_exist(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("DBSIZE"), ":0");
    assert_eq!(conn.run("MSET a 1 b 2 c 3 d 4 e 5 f 6"), "+OK");
    assert_eq!(conn.run("DBSIZE"), ":6");
    conn.run("SET a again");
    conn.run("DEL b nosuch");
    assert_eq!(conn.run("DBSIZE"), ":5");
}

fn flushing_removes_every_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let mut other = it.conn();
    for command in [
        "FLUSHDB",
        "FLUSHALL",
        "FLUSHDB ASYNC",
        "FLUSHDB SYNC",
        "FLUSHALL async",
        "flushall SYNC",
    ] {
        assert_eq!(conn.run("MSET a 1 b 2 c 3 d 4 e 5 f 6"), "+OK");
        assert_eq!(
            other.run("MGET a b c"),
            "[\"1\", \"2\", \"3\"]",
            "now in the cache"
        );
        assert_eq!(conn.run(command), "+OK", "{command}");
        assert_eq!(
            other.run("MGET a b c d e f"),
            "[$-1, $-1, $-1, $-1, $-1, $-1]",
            "{command}"
        );
        assert_eq!(conn.run("DBSIZE"), ":0", "{command}");
        assert_eq!(conn.run("SET a 1 NX"), "+OK", "{command}");
    }
}

fn keys_and_values_are_any_bytes(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let every_byte: Vec<u8> = (0..=255).collect();
    let samples: [&[u8]; 10] = [
        b"",
        b"\0",
        b"\r\n",
        b"a\0b",
        b"*1\r\n$4\r\nPING\r\n",
        "ключ: ключ".as_bytes(),
        "🗝️".as_bytes(),
        b"\xff\xfe\x80",
        b"key with spaces and {braces}",
        &every_byte,
    ];
    for (number, key) in samples.iter().enumerate() {
        let value = [
            &number.to_le_bytes()[..],
            samples[samples.len() - 1 - number],
        ]
        .concat();
        conn.set(key, &value);
        assert_eq!(conn.get(key).unwrap(), value, "{}", key.escape_ascii());
    }
    for (number, key) in samples.iter().enumerate() {
        let value = [
            &number.to_le_bytes()[..],
            samples[samples.len() - 1 - number],
        ]
        .concat();
        assert_eq!(
            conn.get(key).unwrap(),
            value,
            "{} after all were set",
            key.escape_ascii()
        );
        conn.set(key, b"");
        assert_eq!(conn.get(key).unwrap(), b"", "an empty value is a value");
        assert_eq!(conn.cmd(&args!["EXISTS", key]), ":1");
    }
    assert_eq!(conn.run("DBSIZE").int(), samples.len() as i64);
}
