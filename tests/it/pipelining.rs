//! Many commands in one packet: in order, each seeing what came before it.

use std::io::Write;

use crate::harness::{Setup, args, encode, with_reference};

with_reference!(
    a_get_sees_the_set_before_it,
    every_kind_of_command_sees_what_came_before_it,
    replies_come_in_the_order_of_the_commands,
    a_pipeline_of_thousands_is_answered_whole,
    a_client_may_send_everything_before_it_reads,
    large_and_small_replies_mix,
);

fn a_get_sees_the_set_before_it(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for round in 0..200 {
        // The key is cached from the round before, or absent.
        conn.send(
            format!("SET key {round}\r\nGET key\r\nSET key x{round}\r\nGET key\r\nGET key\r\n")
                .as_bytes(),
        );
        assert_eq!(conn.read(), "+OK");
        assert_eq!(conn.read().string(), round.to_string());
        assert_eq!(conn.read(), "+OK");
        assert_eq!(conn.read().string(), format!("x{round}"));
        assert_eq!(conn.read().string(), format!("x{round}"));
    }
}

fn every_kind_of_command_sees_what_came_before_it(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let script = [
        ("GET a", "$-1"),
        ("SET a 1", "+OK"),
        ("EXISTS a", ":1"),
        ("MGET a b", "[\"1\", $-1]"),
        ("MSET a 2 b 3", "+OK"),
        ("MGET b a", "[\"3\", \"2\"]"),
        ("SET a 4 GET", "\"2\""),
        ("SET a 5 NX", "$-1"),
        ("GET a", "\"4\""),
        ("DEL a", ":1"),
        ("GET a", "$-1"),
        ("SET a 6 NX", "+OK"),
        ("EXPIRE a -1", ":1"),
        ("EXISTS a b", ":1"),
        ("SET a 7 EX 1000", "+OK"),
        ("PERSIST a", ":1"),
        ("TTL a", ":-1"),
        ("DBSIZE", ":2"),
        ("FLUSHALL", "+OK"),
        ("MGET a b", "[$-1, $-1]"),
        ("SET a 8", "+OK"),
        ("GET a", "\"8\""),
        ("UNLINK a b", ":1"),
        ("DBSIZE", ":0"),
    ];
    for round in 0..5 {
        let packet: String = script
            .iter()
            .map(|(command, _)| format!("{command}\r\n"))
            .collect();
        conn.send(packet.as_bytes());
        for (command, expected) in script {
            assert_eq!(conn.read(), expected, "{command} in round {round}");
        }
    }
}

fn replies_come_in_the_order_of_the_commands(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    // Keys of all shards, some cached, some not, between commands that need no shard at all.
    for n in (0..300).step_by(3) {
        conn.set(format!("key:{n}"), n.to_string());
    }
    for n in (0..300).step_by(6) {
        conn.get(format!("key:{n}"));
    }
    let packet: String = (0..300)
        .map(|n| format!("GET key:{n}\r\nECHO {n}\r\n"))
        .collect();
    conn.send(packet.as_bytes());
    for n in 0..300 {
        let expected = (n % 3 == 0).then(|| n.to_string().into_bytes());
        assert_eq!(conn.read().value(), expected, "key:{n}");
        assert_eq!(conn.read().string(), n.to_string());
    }
}

fn a_pipeline_of_thousands_is_answered_whole(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    const COUNT: usize = 10_000;
    let packet: Vec<u8> = (0..COUNT)
        .flat_map(|n| {
            let key = format!("key:{}", n % 997);
            let set = encode(&args!["SET", key, n.to_string()]);
            [set, encode(&args!["GET", key])].concat()
        })
        .collect();
    let mut sender = conn.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&packet).unwrap());
        for n in 0..COUNT {
            assert_eq!(conn.read(), "+OK", "SET number {n}");
            assert_eq!(conn.read().string(), n.to_string(), "GET number {n}");
        }
    });
    assert_eq!(conn.run("DBSIZE"), ":997");
}

fn a_client_may_send_everything_before_it_reads(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let value = "x".repeat(1000);
    conn.set("key", &value);
    // Three megabytes of replies: more than socket buffers hold, so the server meets a client that does not read yet.
    conn.send(&b"GET key\r\n".repeat(3000));
    for _ in 0..3000 {
        assert_eq!(conn.read().string(), value);
    }
}

fn large_and_small_replies_mix(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let large = "L".repeat(1 << 20);
    conn.set("large", &large);
    conn.set("small", "s");
    let packet = "GET large\r\nGET small\r\nPING\r\nMGET small large\r\nGET nosuch\r\n";
    for _ in 0..3 {
        conn.send(packet.as_bytes());
        assert!(conn.read().string() == large);
        assert_eq!(conn.read(), "\"s\"");
        assert_eq!(conn.read(), "+PONG");
        let both = conn.read().array();
        assert_eq!(both[0], "\"s\"");
        assert!(both[1].string() == large);
        assert_eq!(conn.read(), "$-1");
    }
}
