//! MONITOR: what it shows, and that a monitor that does not read harms nobody.

use std::time::Duration;

use crate::harness::{Conn, Setup, args, both_backends, with_reference};

with_reference!(
    a_monitor_sees_every_command,
    a_monitor_may_not_touch_data,
    reset_ends_it,
    what_comes_later_in_a_write_hides_nothing,
);

/// The line without its time and addresses.
fn line(conn: &mut Conn) -> String {
    let line = conn.read().to_string();
    let (time, rest) = line.split_once(" [0 127.0.0.1:").unwrap();
    let micros = time.strip_prefix('+').unwrap().split_once('.').unwrap().1;
    assert_eq!(micros.len(), 6, "{line}");
    rest.split_once("] ").unwrap().1.to_owned()
}

fn a_monitor_sees_every_command(setup: Setup) {
    let it = setup.start();
    let (mut monitor, mut conn) = (it.conn(), it.conn());
    assert_eq!(monitor.run("MONITOR"), "+OK");
    conn.run("SET key value");
    conn.cmd(&args!["get", b"a\r\n\"\x01\\\xff"]);
    conn.run("NOSUCH");
    conn.run("GET");
    conn.run("SET a b foo");
    conn.run("AUTH default secret");
    conn.run("HELLO 2 AUTH default secret SETNAME joe");
    conn.run("HELLO 2 SETNAME auth AUTH default secret");
    conn.run("ACL SETUSER joe >secret");
    conn.run("CONFIG SET requirepass secret nosuch 1");
    conn.run("CONFIG GET save");
    conn.run("CLIENT LIST");
    conn.run("CLIENT ID");
    conn.run("ECHO end");
    for expected in [
        r#""SET" "key" "value""#,
        r#""get" "a\r\n\"\x01\\\xff""#,
        r#""SET" "a" "b" "foo""#,
        r#""AUTH" "(redacted)" "(redacted)""#,
        r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "joe""#,
        r#""HELLO" "2" "SETNAME" "auth" "AUTH" "(redacted)" "(redacted)""#,
        r#""CLIENT" "ID""#,
        r#""ECHO" "end""#,
    ] {
        assert_eq!(line(&mut monitor), expected);
    }
    assert_eq!(monitor.run("PING"), "+PONG");
    assert_eq!(line(&mut monitor), r#""PING""#);
    let listed = conn.run("CLIENT LIST").string();
    assert!(listed.contains(" flags=O "), "{listed}");
}

fn a_monitor_may_not_touch_data(setup: Setup) {
    let it = setup.start();
    let mut monitor = it.conn();
    monitor.run("MONITOR");
    for command in ["GET a", "SET a 1", "PUBLISH a b"] {
        let refusal = "-ERR Replica can't interact with the keyspace";
        assert_eq!(monitor.run(command), refusal, "{command}");
    }
    monitor.send(b"MONITOR\r\nQUIT\r\n");
    assert_eq!(
        monitor.read(),
        "+OK",
        "that to QUIT: a second MONITOR is not answered"
    );
}

fn reset_ends_it(setup: Setup) {
    let it = setup.start();
    let (mut monitor, mut conn) = (it.conn(), it.conn());
    monitor.run("MONITOR");
    assert_eq!(monitor.run("RESET"), "+RESET");
    conn.run("PING");
    conn.run("PING");
    assert_eq!(monitor.run("GET a"), "$-1");
    assert_eq!(monitor.run("ECHO x"), "\"x\"", "nothing came in between");
}

fn what_comes_later_in_a_write_hides_nothing(setup: Setup) {
    let it = setup.start();
    let mut monitor = it.conn();
    monitor.run("MONITOR");
    // Who watches, or hears channels, may not write; but did so before.
    for after in ["MONITOR", "SUBSCRIBE channel"] {
        let mut conn = it.conn();
        conn.send(format!("SET key {after:?}\r\n{after}\r\n").as_bytes());
        assert_eq!(conn.read(), "+OK");
        conn.read();
        let set = line(&mut monitor);
        assert!(set.starts_with(r#""SET" "key""#), "{after}: {set}");
        if after == "SUBSCRIBE channel" {
            assert_eq!(line(&mut monitor), r#""SUBSCRIBE" "channel""#);
        } else {
            conn.run("PING");
            assert_eq!(line(&mut monitor), r#""PING""#);
        }
    }
    // What comes after the end is not done, and not shown.
    it.conn().send(b"QUIT\r\nSET key gone\r\n");
    let mut conn = it.conn();
    conn.run("ECHO end");
    loop {
        match line(&mut monitor).as_str() {
            r#""QUIT""# => {}
            other => break assert_eq!(other, r#""ECHO" "end""#),
        }
    }
}

/// What Redis does otherwise.
mod of_its_own {
    use super::*;

    both_backends!(
        a_monitor_that_does_not_read_is_cut_off,
        a_monitor_that_reads_is_not_cut_off,
    );
}

fn a_monitor_that_reads_is_not_cut_off(setup: Setup) {
    let it = setup.start();
    let (mut monitor, mut conn) = (it.conn(), it.conn());
    monitor.run("MONITOR");
    // Four bytes are shown for each.
    let value = vec![0; 15 * 1024 * 1024];
    conn.set("key", &value);
    let shown = line(&mut monitor);
    assert!(
        shown.starts_with(r#""SET" "key" "\x00"#),
        "{}",
        &shown[..40]
    );
    let cut = format!("... ({} more bytes)\"", value.len() - 64 * 1024);
    assert!(shown.ends_with(&cut), "{}", &shown[shown.len() - 40..]);
}

fn a_monitor_that_does_not_read_is_cut_off(setup: Setup) {
    let it = setup.start();
    let (mut monitor, mut conn) = (it.conn(), it.conn());
    monitor.run("MONITOR");
    conn.set_limit(Duration::from_secs(60));
    // Four bytes are shown for each.
    let value = vec![0; 64 * 1024];
    // What waits for it, and what its socket takes, end at some 40 MiB.
    for n in 0..400 {
        conn.set(format!("key:{}", n % 3), &value);
    }
    monitor.read_to_end();
    assert_eq!(conn.run("PING"), "+PONG");
    let listed = conn.run("CLIENT LIST").string();
    assert!(!listed.contains(" flags=O "), "{listed}");
}
