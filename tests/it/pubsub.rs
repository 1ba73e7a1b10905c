//! Messages between clients: SUBSCRIBE, PUBLISH and relatives, in one proxy, over several, and while Redis is away.

use std::time::Duration;

use crate::harness::{Conn, Reply, Setup, args, both_backends, encode, eventually, with_reference};

with_reference!(
    messages_reach_subscribers,
    messages_are_pushed_in_resp3,
    patterns_match_channels,
    shard_channels_are_apart,
    a_resp2_subscriber_may_do_little_else,
    unsubscribing_counts_down,
    publish_counts_the_receivers,
    pubsub_tells_what_there_is,
    reset_ends_subscriptions,
    who_goes_away_is_forgotten,
    messages_of_a_channel_are_in_order,
    publishing_to_oneself_comes_before_the_reply,
    names_and_messages_are_any_bytes,
    a_hundred_thousand_subscriptions_at_once_disturb_nobody,
);

fn messages_reach_subscribers(setup: Setup) {
    let it = setup.start();
    let (mut one, mut other, mut publisher) = (it.conn(), it.conn(), it.conn());
    one.send(b"SUBSCRIBE a b a\r\n");
    assert_eq!(one.read(), "[\"subscribe\", \"a\", :1]");
    assert_eq!(one.read(), "[\"subscribe\", \"b\", :2]");
    assert_eq!(one.read(), "[\"subscribe\", \"a\", :2]");
    assert_eq!(other.run("SUBSCRIBE b"), "[\"subscribe\", \"b\", :1]");
    publisher.run("PUBLISH a 1");
    publisher.run("PUBLISH b 2");
    publisher.run("PUBLISH c 3");
    publisher.run("PUBLISH b 4");
    for expected in [
        "[\"message\", \"a\", \"1\"]",
        "[\"message\", \"b\", \"2\"]",
        "[\"message\", \"b\", \"4\"]",
    ] {
        assert_eq!(one.read(), expected);
    }
    assert_eq!(other.read(), "[\"message\", \"b\", \"2\"]");
    assert_eq!(other.read(), "[\"message\", \"b\", \"4\"]");
}

fn messages_are_pushed_in_resp3(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    conn.run("HELLO 3");
    assert_eq!(conn.run("SUBSCRIBE a"), ">[\"subscribe\", \"a\", :1]");
    assert_eq!(conn.run("PSUBSCRIBE a*"), ">[\"psubscribe\", \"a*\", :2]");
    publisher.run("PUBLISH a 1");
    assert_eq!(conn.read(), ">[\"message\", \"a\", \"1\"]");
    assert_eq!(conn.read(), ">[\"pmessage\", \"a*\", \"a\", \"1\"]");
    conn.set("key", "value");
    assert_eq!(conn.get("key").unwrap(), b"value", "it goes on as a client");
    assert_eq!(conn.run("PING"), "+PONG");
    assert_eq!(
        conn.run("UNSUBSCRIBE nosuch"),
        ">[\"unsubscribe\", \"nosuch\", :2]"
    );
    assert_eq!(conn.run("UNSUBSCRIBE"), ">[\"unsubscribe\", \"a\", :1]");
    assert_eq!(conn.run("UNSUBSCRIBE"), ">[\"unsubscribe\", _, :1]");
}

fn patterns_match_channels(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    assert_eq!(
        conn.run("PSUBSCRIBE news.*"),
        "[\"psubscribe\", \"news.*\", :1]"
    );
    assert_eq!(
        conn.run("PSUBSCRIBE n[ae]ws.?"),
        "[\"psubscribe\", \"n[ae]ws.?\", :2]"
    );
    publisher.run("PUBLISH old.x 0");
    publisher.run("PUBLISH news.xy 1");
    assert_eq!(
        conn.read(),
        "[\"pmessage\", \"news.*\", \"news.xy\", \"1\"]"
    );
    publisher.run("PUBLISH naws.x 2");
    assert_eq!(
        conn.read(),
        "[\"pmessage\", \"n[ae]ws.?\", \"naws.x\", \"2\"]"
    );
    publisher.run("PUBLISH NEWS.x 3");
    publisher.run("PUBLISH news.abc 4");
    assert_eq!(
        conn.read(),
        "[\"pmessage\", \"news.*\", \"news.abc\", \"4\"]"
    );
}

fn shard_channels_are_apart(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    assert_eq!(conn.run("SUBSCRIBE a"), "[\"subscribe\", \"a\", :1]");
    assert_eq!(conn.run("SSUBSCRIBE a"), "[\"ssubscribe\", \"a\", :1]");
    assert_eq!(publisher.run("SPUBLISH a 1"), ":1");
    assert_eq!(conn.read(), "[\"smessage\", \"a\", \"1\"]");
    assert_eq!(publisher.run("PUBLISH a 2"), ":1");
    assert_eq!(conn.read(), "[\"message\", \"a\", \"2\"]");
    assert_eq!(publisher.run("PUBSUB SHARDCHANNELS"), "[\"a\"]");
    assert_eq!(
        publisher.run("PUBSUB SHARDNUMSUB a b"),
        "[\"a\", :1, \"b\", :0]"
    );
    assert_eq!(conn.run("SUNSUBSCRIBE"), "[\"sunsubscribe\", \"a\", :0]");
    assert_eq!(publisher.run("SPUBLISH a 1"), ":0");
}

fn a_resp2_subscriber_may_do_little_else(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(
        conn.run("SUBSCRIBE"),
        "-ERR wrong number of arguments for 'subscribe' command"
    );
    conn.run("SUBSCRIBE a");
    assert_eq!(conn.run("PING"), "[\"pong\", \"\"]");
    assert_eq!(conn.run("PING x"), "[\"pong\", \"x\"]");
    let only =
        "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    for (command, name) in [
        ("GET a", "get"),
        ("SET a b foo", "set"),
        ("CLIENT ID", "client|id"),
        ("HELLO 3", "hello"),
        ("PUBLISH a b", "publish"),
        ("COMMAND COUNT", "command|count"),
        ("COMMAND", "command"),
        ("INFO", "info"),
    ] {
        let expected = format!("-ERR Can't execute '{name}': {only}");
        assert_eq!(conn.run(command), expected.as_str(), "{command}");
    }
    assert_eq!(
        conn.run("GET"),
        "-ERR wrong number of arguments for 'get' command"
    );
    assert_eq!(
        conn.run("FOO"),
        "-ERR unknown command 'FOO', with args beginning with: "
    );
    assert_eq!(conn.run("UNSUBSCRIBE a"), "[\"unsubscribe\", \"a\", :0]");
    assert_eq!(conn.run("GET a"), "$-1");
    conn.run("SUBSCRIBE a");
    assert_eq!(conn.run("QUIT"), "+OK");
    conn.expect_closed();
}

fn unsubscribing_counts_down(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("UNSUBSCRIBE"), "[\"unsubscribe\", $-1, :0]");
    assert_eq!(conn.run("PUNSUBSCRIBE"), "[\"punsubscribe\", $-1, :0]");
    assert_eq!(conn.run("SUNSUBSCRIBE"), "[\"sunsubscribe\", $-1, :0]");
    conn.send(b"SUBSCRIBE a b c\r\nPSUBSCRIBE p\r\n");
    for _ in 0..4 {
        conn.read();
    }
    assert_eq!(conn.run("UNSUBSCRIBE b"), "[\"unsubscribe\", \"b\", :3]");
    conn.send(b"UNSUBSCRIBE\r\n");
    let mut left: Vec<String> = (0..2).map(|_| conn.read().array()[1].string()).collect();
    left.sort();
    assert_eq!(left, ["a", "c"]);
    assert_eq!(
        conn.run("PUNSUBSCRIBE p q"),
        "[\"punsubscribe\", \"p\", :0]"
    );
    assert_eq!(conn.read(), "[\"punsubscribe\", \"q\", :0]");
}

fn publish_counts_the_receivers(setup: Setup) {
    let it = setup.start();
    let (mut one, mut other, mut publisher) = (it.conn(), it.conn(), it.conn());
    assert_eq!(publisher.run("PUBLISH a x"), ":0");
    one.run("SUBSCRIBE a");
    assert_eq!(publisher.run("PUBLISH a x"), ":1");
    other.run("SUBSCRIBE a");
    other.run("PSUBSCRIBE a*");
    assert_eq!(publisher.run("PUBLISH a x"), ":3");
    assert_eq!(
        publisher.run("PUBLISH a"),
        "-ERR wrong number of arguments for 'publish' command"
    );
}

fn pubsub_tells_what_there_is(setup: Setup) {
    let it = setup.start();
    let (mut one, mut other, mut conn) = (it.conn(), it.conn(), it.conn());
    assert_eq!(conn.run("PUBSUB CHANNELS"), "[]");
    assert_eq!(conn.run("PUBSUB NUMPAT"), ":0");
    one.run("SUBSCRIBE news");
    other.run("SUBSCRIBE news");
    other.run("SUBSCRIBE other");
    one.run("PSUBSCRIBE p*");
    other.run("PSUBSCRIBE p*");
    assert_eq!(conn.run("PUBSUB NUMPAT"), ":1");
    assert_eq!(conn.run("PUBSUB CHANNELS n*"), "[\"news\"]");
    assert_eq!(conn.run("PUBSUB CHANNELS").array().len(), 2);
    assert_eq!(conn.run("PUBSUB NUMSUB"), "[]");
    assert_eq!(
        conn.run("PUBSUB NUMSUB news other nosuch"),
        "[\"news\", :2, \"other\", :1, \"nosuch\", :0]"
    );
    for (command, expected) in [
        (
            "PUBSUB CHANNELS a b",
            "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
        ),
        (
            "PUBSUB foo",
            "-ERR unknown subcommand 'foo'. Try PUBSUB HELP.",
        ),
        (
            "PUBSUB NUMPAT x",
            "-ERR wrong number of arguments for 'pubsub|numpat' command",
        ),
    ] {
        assert_eq!(conn.run(command), expected);
    }
}

fn reset_ends_subscriptions(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    conn.run("SUBSCRIBE a");
    assert_eq!(conn.run("RESET"), "+RESET");
    assert_eq!(publisher.run("PUBLISH a x"), ":0");
    assert_eq!(conn.run("GET a"), "$-1");
}

fn who_goes_away_is_forgotten(setup: Setup) {
    let it = setup.start();
    let (mut gone, mut conn) = (it.conn(), it.conn());
    gone.run("SUBSCRIBE a");
    gone.run("PSUBSCRIBE a");
    gone.run("SSUBSCRIBE a");
    drop(gone);
    eventually("nobody is subscribed", || {
        let counts = [
            conn.run("PUBSUB CHANNELS").to_string(),
            conn.run("PUBSUB NUMPAT").to_string(),
            conn.run("PUBSUB SHARDCHANNELS").to_string(),
        ];
        (counts == ["[]", ":0", "[]"]).then_some(())
    });
}

fn messages_of_a_channel_are_in_order(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    conn.run("SUBSCRIBE a");
    let mut packet = Vec::new();
    for n in 0..500 {
        packet.extend(format!("PUBLISH a {n}\r\n").into_bytes());
    }
    publisher.send(&packet);
    for n in 0..500 {
        assert_eq!(publisher.read(), ":1");
        assert_eq!(conn.read().array()[2].string(), n.to_string());
    }
}

fn publishing_to_oneself_comes_before_the_reply(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("HELLO 3");
    conn.run("SUBSCRIBE a");
    for n in 0..50 {
        assert_eq!(
            conn.run(&format!("PUBLISH a {n}")),
            format!(">[\"message\", \"a\", \"{n}\"]").as_str()
        );
        assert_eq!(conn.read(), ":1");
    }
}

fn names_and_messages_are_any_bytes(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    let name = b"\0\r\n\xff";
    conn.cmd(&args!["SUBSCRIBE", name]);
    let large = vec![0xfe; 3 * 1024 * 1024];
    assert_eq!(publisher.cmd(&args!["PUBLISH", name, large]), ":1");
    let message = conn.read().array();
    assert_eq!(message[1].clone().value().unwrap(), name);
    assert!(message[2].clone().value().unwrap() == large);
}

/// What Redis does otherwise.
mod of_its_own {
    use super::*;

    both_backends!(a_subscriber_that_does_not_read_is_cut_off);
}

fn a_subscriber_that_does_not_read_is_cut_off(setup: Setup) {
    let it = setup.start();
    let (mut slow, mut quick, mut publisher) = (it.conn(), it.conn(), it.conn());
    slow.run("SUBSCRIBE a");
    quick.run("SUBSCRIBE a");
    let message = vec![b'x'; 1024 * 1024];
    for _ in 0..100 {
        publisher.cmd(&args!["PUBLISH", "a", message]);
        assert!(matches!(quick.read(), Reply::Array(items) if items.len() == 3));
    }
    slow.read_to_end();
    eventually("it is off the list", || {
        (publisher.run("PUBLISH a x") == ":1").then_some(())
    });
}

fn a_hundred_thousand_subscriptions_at_once_disturb_nobody(setup: Setup) {
    const COUNT: usize = 200_000;
    // What Redis needs for so many at once is no matter here, on whatever machine.
    let it = setup.env("REDIS_TIMEOUT_MS", "30000").start();
    let (mut many, mut other, mut publisher) = (it.conn(), it.conn(), it.conn());
    other.run("SUBSCRIBE a");
    many.set_limit(Duration::from_secs(60));
    publisher.set_limit(Duration::from_secs(60));
    for what in ["SUBSCRIBE", "UNSUBSCRIBE"] {
        let mut words = vec![what.as_bytes().to_vec()];
        words.extend((0..COUNT).map(|n| format!("channel:{n}").into_bytes()));
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        many.send(&encode(&words));
        for n in 0..COUNT {
            let confirmation = many.read();
            assert!(!confirmation.is_error(), "{confirmation}");
            let left = match what {
                "SUBSCRIBE" => n + 1,
                _ => COUNT - n - 1,
            };
            assert_eq!(confirmation.array()[2].int(), left as i64);
        }
        let mut counts = vec![b"PUBSUB".to_vec(), b"NUMSUB".to_vec()];
        counts.extend((0..1500).map(|n| format!("channel:{n}").into_bytes()));
        let counts: Vec<&[u8]> = counts.iter().map(Vec::as_slice).collect();
        let counted = publisher.cmd(&counts).array();
        assert_eq!(counted.len(), 3000);
        assert_eq!(counted[2998].string(), "channel:1499");
        let subscribed = i64::from(what == "SUBSCRIBE");
        assert_eq!(counted[2999].int(), subscribed);
        assert_eq!(publisher.run("PUBLISH a x"), ":1", "after {what}");
        assert_eq!(other.read(), "[\"message\", \"a\", \"x\"]");
    }
    assert_eq!(publisher.run("PUBLISH channel:7 x"), ":0");
}

/// Reads until a message that is not left over from before.
fn expect(conn: &mut Conn, text: &str) {
    loop {
        if conn.read().array()[2].string() == text {
            return;
        }
    }
}

#[test]
fn messages_pass_between_proxies() {
    let it = Setup::postgres().start();
    let second = it.builder().start();
    let (mut here, mut there) = (it.conn(), Conn::open(second.resp_addr()));
    here.run("SUBSCRIBE a");
    assert_eq!(there.run("PUBLISH a hello"), ":1");
    expect(&mut here, "hello");
    let mut direct = it.redis().conn();
    assert_eq!(direct.run("PUBLISH a direct"), ":1");
    expect(&mut here, "direct");
    assert_eq!(there.run("PUBSUB NUMSUB a"), "[\"a\", :1]");
    there.run("SUBSCRIBE b");
    let mut conn = it.conn();
    assert_eq!(conn.run("PUBLISH b back"), ":1");
    expect(&mut there, "back");
}

#[test]
fn subscriptions_survive_a_redis_that_is_restarted() {
    let mut it = Setup::postgres().start();
    let (mut conn, mut publisher) = (it.conn(), it.conn());
    conn.run("SUBSCRIBE a");
    conn.run("PSUBSCRIBE b*");
    conn.run("SSUBSCRIBE c");
    it.redis_mut().crash();
    eventually("PUBLISH says that Redis is away", || {
        publisher.run("PUBLISH a lost").is_error().then_some(())
    });
    let refusal = publisher.run("PUBLISH a lost");
    assert!(refusal.error().starts_with("CACHEDOWN "), "{refusal}");
    assert!(it.conn().run("SUBSCRIBE x").is_error());
    it.redis_mut().start_again();
    // Nobody asks the proxy for anything meanwhile.
    let mut direct = it.redis().conn();
    eventually("it is subscribed again", || {
        (direct.run("PUBSUB SHARDNUMSUB c") == "[\"c\", :1]").then_some(())
    });
    assert_eq!(publisher.run("PUBLISH a back"), ":1");
    expect(&mut conn, "back");
    publisher.run("PUBLISH bb x");
    assert_eq!(conn.read(), "[\"pmessage\", \"b*\", \"bb\", \"x\"]");
    publisher.run("SPUBLISH c y");
    assert_eq!(conn.read(), "[\"smessage\", \"c\", \"y\"]");
}
