//! AUTH, HELLO, RESET, and what is answered to who has not said who it is.

use super::USERS;
use crate::harness::{Setup, args, both_backends, eventually, redis_cli, with_reference};

with_reference!(
    nothing_is_done_for_who_has_no_password,
    a_wrong_name_and_a_wrong_password_are_answered_alike,
    without_a_password_any_is_an_error,
    users_log_in_by_name,
    a_login_in_a_pipeline_is_in_force_at_once,
    requests_are_small_before_the_login,
    a_connection_is_shown_with_its_user,
    redis_cli_logs_in,
);

mod of_its_own {
    use super::*;
    both_backends!(
        wrong_passwords_wait_longer_each_time,
        who_guesses_on_many_connections_is_not_judged,
        failures_are_counted_and_logged_without_the_password,
        who_does_not_log_in_is_disconnected,
    );
}

fn nothing_is_done_for_who_has_no_password(setup: Setup) {
    let it = setup.password("sesame").start();
    let mut conn = it.conn();
    let no_auth = "-NOAUTH Authentication required.";
    let hello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
    for (sent, expected) in [
        ("PING", no_auth),
        ("GET key", no_auth),
        ("SET key value", no_auth),
        ("SUBSCRIBE channel", no_auth),
        ("MONITOR", no_auth),
        ("ACL WHOAMI", no_auth),
        ("CONFIG GET *", no_auth),
        ("COMMAND", no_auth),
        ("MULTI", no_auth),
        (
            "EXEC",
            "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.",
        ),
        ("HELLO", hello),
        ("HELLO 3", hello),
        ("HELLO 9", "-NOPROTO unsupported protocol version"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        (
            "NOSUCH a",
            "-ERR unknown command 'NOSUCH', with args beginning with: 'a' ",
        ),
        (
            "CONFIG NOSUCH",
            "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.",
        ),
        ("AUTH", "-ERR wrong number of arguments for 'auth' command"),
        ("AUTH a b c", "-ERR syntax error"),
        ("RESET", "+RESET"),
        ("AUTH sesame", "+OK"),
        ("GET key", "$-1"),
        ("AUTH default sesame", "+OK"),
        ("ACL WHOAMI", "\"default\""),
        ("CLIENT REPLY ON", "+OK"),
        ("RESET", "+RESET"),
        ("GET key", no_auth),
        ("QUIT", "+OK"),
    ] {
        assert_eq!(conn.run(sent), expected, "{sent}");
    }
    conn.expect_closed();
    let mut conn = it.conn();
    let reply = conn
        .run("HELLO 3 AUTH default sesame SETNAME me")
        .to_string();
    assert!(reply.contains("\"proto\": :3"), "{reply}");
    assert_eq!(conn.run("CLIENT GETNAME"), "\"me\"");
}

fn a_wrong_name_and_a_wrong_password_are_answered_alike(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn();
    let refused = "-WRONGPASS invalid username-password pair or user is disabled.";
    for sent in [
        "AUTH app wrong",
        "AUTH nobody app",
        "AUTH off off",
        "AUTH APP app",
        "HELLO 3 AUTH app App",
    ] {
        assert_eq!(conn.run(sent), refused, "{sent}");
    }
    assert_eq!(conn.cmd(&args!["AUTH", "app", ""]), refused);
    assert_eq!(conn.cmd(&args!["AUTH", "a\0pp", b"\xff\xfe"]), refused);
    // Who was in stays in, as who it was.
    assert_eq!(conn.run("ACL WHOAMI"), "\"default\"");
    conn.auth("app", "app");
    assert_eq!(conn.run("AUTH admin wrong"), refused);
    assert_eq!(conn.run("ACL WHOAMI"), "\"app\"");
}

fn without_a_password_any_is_an_error(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(
        conn.run("AUTH any"),
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
    );
    assert_eq!(conn.run("AUTH default any"), "+OK");
    assert_eq!(
        conn.run("AUTH other any"),
        "-WRONGPASS invalid username-password pair or user is disabled."
    );
    assert_eq!(
        conn.run("CONFIG GET requirepass"),
        "[\"requirepass\", \"\"]"
    );
}

fn users_log_in_by_name(setup: Setup) {
    let users = "user default off\nuser app on >one >two ~* &* +@all\n";
    let it = setup.users(users).start();
    let mut conn = it.conn();
    assert_eq!(conn.run("PING"), "-NOAUTH Authentication required.");
    for password in ["one", "two"] {
        let mut conn = it.conn_of("app", password);
        assert_eq!(conn.run("ACL WHOAMI"), "\"app\"");
        assert_eq!(conn.run("ACL USERS"), "[\"app\", \"default\"]");
    }
    assert_eq!(
        conn.run("AUTH one"),
        "-WRONGPASS invalid username-password pair or user is disabled."
    );
}

fn a_login_in_a_pipeline_is_in_force_at_once(setup: Setup) {
    let it = setup.password("sesame").start();
    let mut conn = it.conn();
    let value = "x".repeat(100_000);
    let mut packet = b"GET key\r\nAUTH sesame\r\n".to_vec();
    packet.extend(crate::harness::encode(&args!["SET", "key", value]));
    packet.extend(b"STRLEN key\r\nMULTI\r\nAUTH wrong\r\nGET a\r\nEXEC\r\nRESET\r\nGET key\r\n");
    conn.send(&packet);
    for expected in [
        "-NOAUTH Authentication required.",
        "+OK",
        "+OK",
        ":100000",
        "+OK",
        "+QUEUED",
        "+QUEUED",
        "[-WRONGPASS invalid username-password pair or user is disabled., $-1]",
        "+RESET",
        "-NOAUTH Authentication required.",
    ] {
        assert_eq!(conn.read(), expected);
    }
}

fn requests_are_small_before_the_login(setup: Setup) {
    let it = setup.password("sesame").start();
    let argument = |length| args!["AUTH", "x".repeat(length)].map(<[u8]>::to_vec);
    for (words, expected) in [
        (
            argument(16 * 1024 + 1).to_vec(),
            "-ERR Protocol error: unauthenticated bulk length",
        ),
        (
            vec![b"x".to_vec(); 11],
            "-ERR Protocol error: unauthenticated multibulk length",
        ),
    ] {
        let mut conn = it.conn();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        conn.send(&crate::harness::encode(&words));
        assert_eq!(conn.read(), expected);
        conn.expect_closed();
    }
    let mut conn = it.conn();
    let words = argument(16 * 1024);
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    assert_eq!(
        conn.cmd(&words),
        "-WRONGPASS invalid username-password pair or user is disabled."
    );
    conn.auth("default", "sesame");
    conn.set("key", "x".repeat(100_000));
}

fn a_connection_is_shown_with_its_user(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut admin = it.conn_of("admin", "admin");
    let mut app = it.conn_of("app", "app");
    let id = app.run("CLIENT ID").int();
    let list = admin.run("CLIENT LIST").string();
    let line = |id: i64| {
        let start = format!("id={id} ");
        list.lines().find(|line| line.starts_with(&start)).unwrap()
    };
    assert!(line(id).contains(" user=app "), "{list}");
    let own = admin.run("CLIENT INFO").string();
    assert!(own.contains(" user=admin "), "{own}");
    assert_eq!(admin.run("CLIENT KILL USER reader"), ":0");
    assert_eq!(
        admin.run("CLIENT KILL USER nobody"),
        "-ERR No such user 'nobody'"
    );
    assert_eq!(admin.run("CLIENT KILL USER app"), ":1");
    app.expect_closed();
    assert_eq!(admin.run("PING"), "+PONG");
}

fn redis_cli_logs_in(setup: Setup) {
    let it = setup.users(USERS).start();
    let run = |args: &[&str]| redis_cli(&it.resp_addr(), args, b"");
    let of_app = ["--no-auth-warning", "--user", "app", "-a", "app"];
    let with = |args: &[&str]| run(&[&of_app[..], args].concat());
    assert_eq!(with(&["ACL", "WHOAMI"]), "app\n");
    assert_eq!(with(&["SET", "app:1", "x"]), "OK\n");
    let refused = with(&["SET", "other", "x"]);
    assert!(refused.starts_with("NOPERM this user has no"), "{refused}");
    assert_eq!(with(&["-3", "GET", "app:1"]), "x\n");
}

fn wrong_passwords_wait_longer_each_time(setup: Setup) {
    let it = setup.password("sesame").start();
    let (mut conn, mut other) = (it.conn(), it.conn_of("default", "sesame"));
    // The first ones are soon answered; the last takes 25 + 50 + … + 1600 ms, when all came over different
    // connections as well.
    let mut conns: Vec<_> = (0..6).map(|_| it.conn()).collect();
    for conn in &mut conns {
        assert!(conn.run("AUTH wrong").is_error());
    }
    let began = std::time::Instant::now();
    conn.send(b"AUTH wrong\r\n");
    // Nobody else waits meanwhile: neither who is in, nor who has the right password.
    for _ in 0..100 {
        assert_eq!(other.run("PING"), "+PONG");
    }
    assert!(conn.read().is_error());
    assert!(began.elapsed().as_millis() >= 1600, "{:?}", began.elapsed());
    // Who was let in has a clean slate.
    conn.auth("default", "sesame");
    let text = log_lines(&it, "its answer waits");
    assert_eq!(text.len(), 7);
    assert!(conn.run("AUTH wrong").is_error());
    let text = log_lines(&it, "its answer waits");
    assert!(text[7].contains("waits 25 ms"), "{text:?}");
}

/// Closing a connection to try on another gains nothing, and takes nobody's place.
fn who_guesses_on_many_connections_is_not_judged(setup: Setup) {
    let it = setup.users(USERS).env("MAX_CLIENTS", "50").start();
    let mut admin = it.conn_of("admin", "admin");
    for _ in 0..8 {
        it.conn().send(b"AUTH app wrong\r\n");
    }
    eventually("all have failed", || {
        let log = admin.run("ACL LOG 100").array();
        (log.len() == 8
            || log
                .iter()
                .any(|entry| entry.to_string().contains("\"count\", :8")))
        .then_some(())
    });
    // The right one among many is not told from the others.
    let mut refused = 0;
    for n in 0..200 {
        let mut conn = it.conn();
        conn.set_limit(std::time::Duration::from_millis(200));
        let password = if n == 100 { "app" } else { "wrong" };
        conn.send(format!("AUTH app {password}\r\n").as_bytes());
        match conn.try_read() {
            Ok(reply) => {
                assert!(reply.error().contains("too many failed logins"), "{reply}");
                refused += 1;
            }
            Err(_) => assert!(n != 100, "it was judged"),
        }
    }
    assert!(refused > 190, "{refused}");
    // Other users of the same address come in as before.
    it.conn_of("reader", "reader");
}

/// The lines of the log that have this in them.
fn log_lines(it: &crate::harness::Deployment, part: &str) -> Vec<String> {
    let log = it.proxy().log();
    let lines = log.lines().filter(|line| line.contains(part));
    lines.map(str::to_owned).collect()
}

fn failures_are_counted_and_logged_without_the_password(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn();
    conn.run("AUTH app marked-secret");
    conn.run("AUTH marked-secret app");
    conn.run("HELLO 2 AUTH app marked-secret");
    let log = it.proxy().log();
    assert!(log.contains("client=127.0.0.1:"), "{log}");
    assert!(log.contains("user=\"app\""), "{log}");
    assert!(!log.contains("marked-secret"), "{log}");
    let metrics = it.http().get("/metrics").text();
    assert!(
        metrics.contains("respgres_authentication_failures_total 3\n"),
        "{metrics}"
    );
    let entries = conn.run("ACL LOG").to_string();
    assert!(entries.contains("\"reason\", \"auth\""), "{entries}");
    assert!(entries.contains("\"object\", \"HELLO\""), "{entries}");
    assert!(!entries.contains("marked-secret"), "{entries}");
}

fn who_does_not_log_in_is_disconnected(setup: Setup) {
    let setup = setup.password("sesame");
    let it = setup.env("AUTHENTICATION_TIMEOUT", "1").start();
    let mut known = it.conn_of("default", "sesame");
    let mut unknown = it.conn();
    assert!(unknown.run("PING").is_error());
    unknown.expect_closed();
    assert_eq!(known.run("PING"), "+PONG");
    eventually("it is gone", || {
        (known.info("clients").contains("connected_clients:1\r\n")).then_some(())
    });
}
