//! Bytes that are no command: what Redis answers, whether it closes, and that other clients do not notice.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Conn, RaiseAtEnd, Setup, args, both_backends, encode, with_reference};

mod like_redis {
    use super::*;

    with_reference!(
        what_can_not_be_parsed_is_answered_and_closes,
        what_is_only_odd_is_answered_and_goes_on,
        inline_commands_are_words_and_quoted_strings,
        inline_commands_and_frames_mix_on_one_connection,
        an_http_request_on_the_resp_port_is_cut_off,
        a_command_may_arrive_byte_by_byte,
        a_client_that_closes_its_sending_side_is_let_go,
        replies_before_the_error_are_sent,
        what_follows_a_protocol_error_is_not_executed,
        a_client_that_leaves_in_the_middle_of_a_command_leaves_nothing,
        broken_clients_do_not_disturb_others,
    );
}

both_backends!(
    a_client_that_sends_and_closes_its_side_at_once_still_gets_its_replies,
    a_promise_of_giant_arguments_takes_no_memory,
    nested_arrays_are_refused_however_deep,
);

const MULTIBULK: &str = "-ERR Protocol error: invalid multibulk length";
const BULK: &str = "-ERR Protocol error: invalid bulk length";
const QUOTES: &str = "-ERR Protocol error: unbalanced quotes in request";

/// Bytes in, the error that comes back before the connection is closed.
const FATAL: &[(&[u8], &str)] = &[
    (
        b"*1\r\n:1\r\n",
        "-ERR Protocol error: expected '$', got ':'",
    ),
    (
        b"*1\r\n+PING\r\n",
        "-ERR Protocol error: expected '$', got '+'",
    ),
    (
        b"*1\r\nPING\r\n",
        "-ERR Protocol error: expected '$', got 'P'",
    ),
    (
        b"*1\r\n(1\r\n",
        "-ERR Protocol error: expected '$', got '('",
    ),
    (
        b"*1\r\n*1\r\n$4\r\nPING\r\n",
        "-ERR Protocol error: expected '$', got '*'",
    ),
    (b"*1\r\n\r\n", "-ERR Protocol error: expected '$', got ' '"),
    (
        b"*2\r\n$3\r\nGET\r\n:5\r\n",
        "-ERR Protocol error: expected '$', got ':'",
    ),
    (b"*x\r\n", MULTIBULK),
    (b"*1x\r\n", MULTIBULK),
    (b"*\r\n", MULTIBULK),
    (b"* 1\r\n", MULTIBULK),
    (b"*+1\r\n$4\r\nPING\r\n", MULTIBULK),
    (b"*01\r\n$4\r\nPING\r\n", MULTIBULK),
    (b"*-0\r\nPING\r\n", MULTIBULK),
    (b"*2147483648\r\n", MULTIBULK),
    (b"*9223372036854775807\r\n", MULTIBULK),
    (b"*99999999999999999999\r\n", MULTIBULK),
    (b"*1\r\n$-1\r\n", BULK),
    (b"*1\r\n$-5\r\n", BULK),
    (b"*1\r\n$\r\n", BULK),
    (b"*1\r\n$abc\r\n", BULK),
    (b"*1\r\n$4x\r\n", BULK),
    (b"*1\r\n$+4\r\nPING\r\n", BULK),
    (b"*1\r\n$04\r\nPING\r\n", BULK),
    (b"*1\r\n$-0\r\n\r\n", BULK),
    (b"*1\r\n$536870913\r\n", BULK),
    (b"*1\r\n$99999999999999999999\r\n", BULK),
    (b"*2\r\n$4\r\nECHO\r\n$9223372036854775807\r\n", BULK),
    (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-1\r\n", BULK),
    (b"SET a \"x\r\n", QUOTES),
    (b"SET a 'x\r\n", QUOTES),
    (b"SET a \"x\"y\r\n", QUOTES),
    (b"SET a 'x'y\r\n", QUOTES),
];

fn what_can_not_be_parsed_is_answered_and_closes(setup: Setup) {
    let it = setup.start();
    for (bytes, expected) in FATAL {
        let mut conn = it.conn();
        conn.send(bytes);
        assert_eq!(conn.read(), *expected, "{}", bytes.escape_ascii());
        conn.expect_closed();
    }
    // Lines that never end are cut off at 64 KiB.
    for (start, expected) in [
        ("*", "-ERR Protocol error: too big mbulk count string"),
        ("*1\r\n$", "-ERR Protocol error: too big bulk count string"),
        ("a", "-ERR Protocol error: too big inline request"),
    ] {
        let mut conn = it.conn();
        conn.send(start.as_bytes());
        conn.send(&vec![b'1'; 70_000]);
        assert_eq!(conn.read(), expected, "{start:?}");
        conn.expect_closed();
    }
    assert_eq!(it.conn().run("PING"), "+PONG");
}

fn what_is_only_odd_is_answered_and_goes_on(setup: Setup) {
    let it = setup.start();
    let unknown = |name: &str| format!("-ERR unknown command '{name}', with args beginning with: ");
    let pong = || vec!["+PONG".to_owned()];
    let cases: Vec<(&[u8], Vec<String>)> = vec![
        (b"*0\r\n*1\r\n$4\r\nPING\r\n", pong()),
        (b"*-1\r\n*1\r\n$4\r\nPING\r\n", pong()),
        (b"*-5\r\nPING\r\n", pong()),
        (b"*-9223372036854775808\r\nPING\r\n", pong()),
        (b"\r\n\r\nPING\r\n", pong()),
        (b"\n*1\r\n$4\r\nPING\r\n", pong()),
        (b"   \r\nPING\r\n", pong()),
        (
            b"*1\r\n$0\r\n\r\nPING\r\n",
            vec![unknown(""), "+PONG".to_owned()],
        ),
        (b"$4\r\nPING\r\n", vec![unknown("$4"), "+PONG".to_owned()]),
        (b"+PING\r\n", vec![unknown("+PING")]),
        (b"%1\r\n+a\r\n", vec![unknown("%1"), unknown("+a")]),
        (
            b"*1\r\n$3\r\nGET\r\n",
            vec!["-ERR wrong number of arguments for 'get' command".to_owned()],
        ),
    ];
    let mut conn = it.conn();
    for (bytes, expected) in cases {
        conn.send(bytes);
        for expected in expected {
            assert_eq!(conn.read(), expected.as_str(), "{}", bytes.escape_ascii());
        }
        assert_eq!(
            conn.run("PING x"),
            "\"x\"",
            "nothing else came for {}",
            bytes.escape_ascii()
        );
    }
}

fn inline_commands_are_words_and_quoted_strings(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let cases: [(&[u8], &str); 12] = [
        (b"PING\r\n", "+PONG"),
        (b"PING\n", "+PONG"),
        (b"  PING  \r\n", "+PONG"),
        (b"\tPING\t\r\n", "+PONG"),
        (b"ping hello\r\n", "\"hello\""),
        (b"ECHO \"x y\"\r\n", "\"x y\""),
        (b"ECHO 'b c'\r\n", "\"b c\""),
        (b"ECHO \"\"\r\n", "\"\""),
        (b"ECHO ''\r\n", "\"\""),
        (
            b"ECHO \"\\x41\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\n",
            "\"A\\n\\r\\t\\x08\\x07q\\\"\\\\\"",
        ),
        (b"ECHO 'it\\'s \\n'\r\n", "\"it\\'s \\\\n\""),
        (b"ECHO a\"b\r\n", "the last one closes"),
    ];
    for (bytes, expected) in &cases[..11] {
        conn.send(bytes);
        assert_eq!(conn.read(), *expected, "{}", bytes.escape_ascii());
    }
    conn.send(cases[11].0);
    assert_eq!(conn.read(), QUOTES);
    conn.expect_closed();
}

fn inline_commands_and_frames_mix_on_one_connection(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(b"SET a 1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nGET a\n\r\n*1\r\n$4\r\nPING\r\nPING\r\n");
    for expected in ["+OK", "\"1\"", "\"1\"", "+PONG", "+PONG"] {
        assert_eq!(conn.read(), expected);
    }
}

/// A web page must not be able to make a browser send commands.
fn an_http_request_on_the_resp_port_is_cut_off(setup: Setup) {
    let it = setup.start();
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\n",
        "host: x\r\nSET a 1\r\n",
        "post x\r\nSET a 1\r\n",
    ] {
        let mut conn = it.conn();
        conn.send(request.as_bytes());
        conn.read_to_end();
        assert_eq!(it.conn().run("GET a"), "$-1", "{request:?}");
    }
}

fn a_command_may_arrive_byte_by_byte(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let commands = [
        encode(&args!["SET", "key", "a\r\nb"]),
        b"GET key\r\n".to_vec(),
        encode(&args!["MGET", "key", "key"]),
    ];
    for byte in commands.concat() {
        conn.send(&[byte]);
    }
    for expected in ["+OK", "\"a\\r\\nb\"", "[\"a\\r\\nb\", \"a\\r\\nb\"]"] {
        assert_eq!(conn.read(), expected);
    }
}

fn a_client_that_closes_its_sending_side_is_let_go(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(b"SET a 1\r\nGET a\r\n");
    assert_eq!(conn.read(), "+OK");
    assert_eq!(conn.read(), "\"1\"");
    conn.finish_sending();
    conn.expect_closed();
}

/// As `printf … | nc` does. Redis may drop the replies; there is no need to.
fn a_client_that_sends_and_closes_its_side_at_once_still_gets_its_replies(setup: Setup) {
    let it = setup.start();
    for round in 0..20 {
        let mut conn = it.conn();
        conn.send(format!("SET a {round}\r\nGET a\r\nGET nosuch\r\n").as_bytes());
        conn.finish_sending();
        assert_eq!(conn.read(), "+OK");
        assert_eq!(conn.read().string(), round.to_string());
        assert_eq!(conn.read(), "$-1");
        conn.expect_closed();
    }
}

fn replies_before_the_error_are_sent(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(b"*1\r\n$4\r\nPING\r\nSET a 1\r\nGET a\r\nFOO\r\n*1\r\n:1\r\n");
    for expected in [
        "+PONG",
        "+OK",
        "\"1\"",
        "-ERR unknown command 'FOO', with args beginning with: ",
        "-ERR Protocol error: expected '$', got ':'",
    ] {
        assert_eq!(conn.read(), expected);
    }
    conn.expect_closed();
}

fn what_follows_a_protocol_error_is_not_executed(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(b"SET a 1\r\n*x\r\nSET a 2\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n3\r\n");
    assert_eq!(conn.read(), "+OK");
    assert_eq!(conn.read(), MULTIBULK);
    conn.expect_closed();
    assert_eq!(it.conn().run("GET a"), "\"1\"");
}

fn a_client_that_leaves_in_the_middle_of_a_command_leaves_nothing(setup: Setup) {
    let it = setup.start();
    let whole = encode(&args!["SET", "half", "sent"]);
    for length in 1..whole.len() {
        let mut conn = it.conn();
        conn.send(&whole[..length]);
        conn.finish_sending();
        conn.expect_closed();
    }
    assert_eq!(it.conn().run("GET half"), "$-1");
}

fn broken_clients_do_not_disturb_others(setup: Setup) {
    let it = setup.start();
    let addr = it.resp_addr();
    let done = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&done);
        let other = scope.spawn(|| {
            let mut conn = Conn::open(&addr);
            let mut rounds = 0_u32;
            while !done.load(Ordering::Relaxed) || rounds < 10 {
                let value = format!("value {rounds}");
                conn.set("steady", &value);
                assert_eq!(conn.get("steady").unwrap(), value.as_bytes());
                rounds += 1;
            }
            rounds
        });
        for _ in 0..5 {
            for (bytes, _) in FATAL {
                // Some wait for the answer, some leave at once, some in the middle.
                let mut conn = Conn::open(&addr);
                conn.send(bytes);
                conn.read_to_end();
                Conn::open(&addr).send(bytes);
                Conn::open(&addr).send(&bytes[..bytes.len() / 2]);
            }
        }
        done.store(true, Ordering::Relaxed);
        other.join().unwrap()
    });
    assert!(rounds >= 10);
}

fn a_promise_of_giant_arguments_takes_no_memory(setup: Setup) {
    let it = setup.start();
    let pid = it.proxy().pid();
    let before = resident_kb(pid);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut conn = it.conn();
        conn.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\nonly this arrives");
        waiting.push(conn);
        let mut conn = it.conn();
        conn.send(b"*1000000\r\n$4\r\nMGET\r\n");
        waiting.push(conn);
    }
    assert_eq!(it.conn().run("PING"), "+PONG");
    let grown = resident_kb(pid).saturating_sub(before);
    assert!(
        grown < 200 * 1024,
        "{grown} KiB more for 100 promises of 16 MB each"
    );
}

/// Resident memory of a process.
fn resident_kb(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn nested_arrays_are_refused_however_deep(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.try_send(&b"*1\r\n".repeat(200_000)).ok();
    assert_eq!(conn.read(), "-ERR Protocol error: expected '$', got '*'");
    assert_eq!(it.conn().run("PING"), "+PONG");
}
