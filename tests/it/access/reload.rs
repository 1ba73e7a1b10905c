//! The users are replaced while connections use them.

use super::USERS;
use crate::harness::{
    Deployment, ProxyBuilder, Scratch, Setup, args, both_backends, encode, eventually,
    with_reference,
};

with_reference!(acl_load_takes_all_of_a_file_or_nothing);

mod of_its_own {
    use super::*;
    both_backends!(
        new_rights_are_in_force_for_those_who_are_connected,
        what_a_user_sent_is_not_done_when_it_is_gone,
        connections_of_users_who_are_gone_end,
        what_was_queued_is_looked_at_again,
        a_broken_file_is_refused_at_start,
    );
}

fn write(it: &Deployment, users: &str) {
    std::fs::write(it.users_file(), users).unwrap();
}

fn acl_load_takes_all_of_a_file_or_nothing(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut admin = it.conn();
    write(
        &it,
        "user new on nopass\nuser default on nopass ~* &* +@all\nuser other on +nosuch\n",
    );
    let reply = admin.run("ACL LOAD");
    let text = reply.error();
    assert!(text.contains("users.acl:3: "), "{text}");
    assert!(
        text.contains("Unknown command or category name in ACL"),
        "{text}"
    );
    assert!(
        text.ends_with("WARNING: ACL errors detected, no change to the previously active ACL rules was performed"),
        "{text}"
    );
    assert!(admin.run("ACL USERS").to_string().contains("\"app\""));
    write(
        &it,
        "user new on nopass\nuser default on nopass ~* &* +@all\n",
    );
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    assert_eq!(admin.run("ACL USERS"), "[\"default\", \"new\"]");
}

fn new_rights_are_in_force_for_those_who_are_connected(setup: Setup) {
    let it = setup.users(USERS).start();
    let (mut admin, mut app) = (it.conn_of("admin", "admin"), it.conn_of("app", "app"));
    assert!(app.run("GET other").is_error());
    write(&it, &USERS.replace("~app:*", "~app:* ~other"));
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    assert_eq!(app.run("GET other"), "$-1");
    write(&it, &USERS.replace("~app:*", ""));
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    assert!(app.run("GET app:1").is_error());
    // The default user has a password now: who is in stays, who comes is asked.
    let mut early = it.conn();
    assert_eq!(early.run("PING"), "+PONG");
    write(
        &it,
        &USERS.replace("user default on nopass", "user default on >x"),
    );
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    assert_eq!(early.run("PING"), "+PONG");
    assert_eq!(it.conn().run("PING"), "-NOAUTH Authentication required.");
    // And who waits in front of the door is let in when there is none any more.
    let mut late = it.conn();
    assert!(late.run("PING").is_error());
    write(&it, USERS);
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    assert_eq!(late.run("PING"), "+PONG");
}

fn connections_of_users_who_are_gone_end(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut admin = it.conn_of("admin", "admin");
    let (mut app, mut reader) = (it.conn_of("app", "app"), it.conn_of("reader", "reader"));
    let mut subscriber = it.conn_of("app", "app");
    subscriber.run("SUBSCRIBE news.1");
    // Only what it hears is too much.
    write(
        &it,
        &USERS
            .replace("&news.*", "&other")
            .replace("user reader on", "user reader off"),
    );
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    subscriber.expect_closed();
    reader.expect_closed();
    assert_eq!(app.run("ACL WHOAMI"), "\"app\"");
    let mut monitor = it.conn_of("admin", "admin");
    assert_eq!(monitor.run("MONITOR"), "+OK");
    let mut users = String::from("user default on nopass ~* &* +@all\n");
    users.push_str("user admin on >admin ~* &* +@all -monitor\n");
    write(&it, &users);
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    app.expect_closed();
    eventually("the monitor is gone", || {
        let clients = admin.run("CLIENT LIST").string();
        (clients.lines().count() == 1).then_some(())
    });
    // Who takes itself away is answered first.
    write(&it, "user default on nopass ~* &* +@all\n");
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    admin.expect_closed();
}

/// Also in the middle of what it has sent.
fn what_a_user_sent_is_not_done_when_it_is_gone(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut admin = it.conn_of("admin", "admin");
    let mut app = it.conn_of("app", "app");
    let mut sent = Vec::new();
    for _ in 0..7 {
        sent.extend(encode(&args!["AUTH", "app", "wrong"]));
    }
    sent.extend(encode(&args!["SET", "app:late", "value"]));
    app.send(&sent);
    // The first ones are answered after less than a tenth of a second, all of them after 3.
    eventually("it has begun", || {
        let log = admin.run("ACL LOG").array();
        (!log.is_empty()).then_some(())
    });
    write(&it, &USERS.replace("user app on", "user app off"));
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    app.read_to_end();
    assert_eq!(admin.run("EXISTS app:late"), ":0");
}

fn what_was_queued_is_looked_at_again(setup: Setup) {
    let it = setup.users(USERS).start();
    let (mut admin, mut app) = (it.conn_of("admin", "admin"), it.conn_of("app", "app"));
    for sent in [
        "MULTI",
        "SET app:1 x",
        "ECHO x",
        "SET wo:1 y",
        "PUBLISH news.1 x",
        "ACL WHOAMI",
    ] {
        assert!(!app.run(sent).is_error(), "{sent}");
    }
    let users = USERS
        .replace("~app:*", "")
        .replace("&news.*", "")
        .replace("+acl|whoami", "");
    write(&it, &users);
    assert_eq!(admin.run("ACL LOAD"), "+OK");
    let changed = "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: ";
    let expected = format!(
        "[{changed}no permission to touch the specified keys, \"x\", +OK, {changed}no permission to access one of the channels used as arguments to the command, {changed}no permission to execute the command or subcommand]"
    );
    assert_eq!(app.run("EXEC"), &expected[..]);
    assert_eq!(admin.run("GET app:1"), "$-1");
    assert_eq!(admin.run("GET wo:1"), "\"y\"");
}

fn a_broken_file_is_refused_at_start(setup: Setup) {
    let it = setup.start();
    let file = it.dir().join("broken.acl");
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let exit = it.builder().env("USERS_FILE", file.to_str().unwrap()).run();
        assert_eq!(exit.code, 2, "{}", exit.output);
        assert!(!exit.output.contains("hunter2"), "{}", exit.output);
        exit.output
    };
    for (text, parts) in [
        (
            "user a on +nosuch",
            &["broken.acl:1: word 4, `+nosuch`", "ACL CAT"][..],
        ),
        ("\n\nuser a on\nuser a off", &["broken.acl:4: ", "twice"]),
        ("user a on hunter2", &["broken.acl:1: word 4 (not shown"]),
        (
            "user a on #hunter2",
            &["broken.acl:1: word 4 (not shown", "64 characters"],
        ),
        ("user a (~x +get)", &["selectors are not served"]),
        ("# comment", &["broken.acl:1: ", "begin with `user`"]),
        ("user", &["begin with `user`"]),
        (
            "user a +@nosuch +get|x\nuser b ~* ~x",
            &[":1: word 3", ":1: word 4", ":2: word 4"],
        ),
    ] {
        let output = refused(text);
        for part in parts {
            assert!(output.contains(part), "{part:?} in {output}");
        }
    }
    let output = it
        .builder()
        .env("USERS_FILE", "/nonexistent/users")
        .run_refused();
    assert!(
        output.contains("USERS_FILE") && output.contains("/nonexistent/users"),
        "{output}"
    );
    std::fs::write(&file, "user default on >x +@all").unwrap();
    let both = it.builder().env("USERS_FILE", file.to_str().unwrap());
    let output = both.env("PASSWORD", "hunter2").run_refused();
    assert!(
        output.contains("PASSWORD") && !output.contains("hunter2"),
        "{output}"
    );
}

mod on_sighup {
    use std::fs;

    use nix::sys::signal::Signal;

    use super::*;
    use crate::reload::reload;

    #[test]
    fn passwords_and_users_are_read_again() {
        let mut it = Setup::embedded().start();
        let mut conn = it.conn();
        assert_eq!(conn.run("MULTI"), "+OK");
        reload(&mut it, "PASSWORD=sesame", "SIGHUP: changed PASSWORD");
        // Who is in stays in, and so does what was queued.
        assert_eq!(conn.run("SET key value"), "+QUEUED");
        assert_eq!(conn.run("EXEC"), "[+OK]");
        assert_eq!(it.conn().run("GET key"), "-NOAUTH Authentication required.");
        assert_eq!(it.conn_of("default", "sesame").run("GET key"), "\"value\"");
        let file = it.dir().join("users.acl");
        fs::write(&file, USERS).unwrap();
        let settings = format!("USERS_FILE={}", file.display());
        reload(&mut it, &settings, "SIGHUP: changed PASSWORD, USERS_FILE");
        assert_eq!(it.conn_of("app", "app").run("GET app:1"), "$-1");
    }

    /// As a file that is being written is for a moment.
    #[test]
    fn a_port_that_everybody_can_reach_is_not_opened_to_everybody() {
        let dir = Scratch::new("open");
        let file = dir.join(".env");
        let settings = "PASSWORD=sesame\nHTTP_TOKEN=token\n";
        fs::write(&file, settings).unwrap();
        let mut proxy = ProxyBuilder::new(dir.path())
            .env("RESP_ADDR", "0.0.0.0:0")
            .env("HTTP_ADDR", "0.0.0.0:0")
            .start();
        for (less, named) in [
            ("", "HTTP_TOKEN"),
            ("HTTP_TOKEN=token\n", "PASSWORD, USERS_FILE"),
            ("PASSWORD=sesame\n", "HTTP_TOKEN"),
        ] {
            fs::write(&file, less).unwrap();
            let refusals = proxy.log().matches("nothing was changed").count();
            proxy.signal(Signal::SIGHUP);
            let log = eventually("it was refused", || {
                let log = proxy.log();
                (log.matches("nothing was changed").count() > refusals).then_some(log)
            });
            let last = log
                .lines()
                .rfind(|line| line.contains("nothing was changed"));
            assert!(last.unwrap().contains(named), "{log}");
            let (_, port) = proxy.resp_addr().rsplit_once(':').unwrap();
            let mut conn = crate::harness::Conn::open(&format!("127.0.0.1:{port}"));
            assert_eq!(conn.run("GET key"), "-NOAUTH Authentication required.");
            assert_eq!(proxy.http().get("/stats").status, 401);
        }
        proxy.terminate();
        assert_eq!(proxy.wait_exit().code, 0);
    }

    #[test]
    fn a_mistake_in_the_users_changes_nothing() {
        let mut it = Setup::embedded().users(USERS).start();
        let mut app = it.conn_of("app", "app");
        fs::write(it.users_file(), "user default on nopass +nosuch\n").unwrap();
        reload(
            &mut it,
            "CACHE_TTL=1",
            "SIGHUP: nothing was changed: PASSWORD, USERS_FILE",
        );
        assert_eq!(app.run("ACL WHOAMI"), "\"app\"");
        assert!(!it.proxy().log().contains("changed CACHE_TTL"));
        fs::write(
            it.users_file(),
            USERS.replace("user app on", "user app off"),
        )
        .unwrap();
        reload(&mut it, "CACHE_TTL=1", "SIGHUP: changed CACHE_TTL");
        app.expect_closed();
    }
}
