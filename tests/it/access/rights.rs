//! What users may do: commands, keys and channels.

use std::collections::BTreeSet;

use super::USERS;
use crate::harness::{Conn, Reply, Setup, args, both_backends, with_reference};

with_reference!(
    keys_outside_ones_rights_are_refused_in_every_place,
    commands_and_channels_outside_ones_rights_are_refused,
    who_may_read_does_not_write,
    a_transaction_with_what_is_forbidden_is_not_done,
    subscribers_are_asked_too,
    acl_shows_users_in_the_words_of_redis,
    acl_log_has_what_was_refused,
    scans_are_not_limited_by_keys,
);

mod of_its_own {
    use super::*;
    both_backends!(
        every_right_is_that_of_redis,
        monitors_do_not_see_what_is_refused,
        monitors_see_what_was_allowed_when_it_was_done,
    );
}

const NO_KEY: &str =
    "-NOPERM this user has no permissions to access one of the keys used as arguments";
const NO_CHANNEL: &str =
    "-NOPERM this user has no permissions to access one of the channels used as arguments";

fn no_command(name: &str) -> String {
    format!("-NOPERM this user has no permissions to run the '{name}' command")
}

fn keys_outside_ones_rights_are_refused_in_every_place(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn_of("app", "app");
    let mut admin = it.conn_of("admin", "admin");
    for key in ["app:1", "ro:1", "wo:1", "other"] {
        admin.set(key, "7");
    }
    for (sent, is_allowed) in [
        ("GET app:1", true),
        ("GET ro:1", true),
        ("GET wo:1", false),
        ("GET other", false),
        ("SET app:1 7", true),
        ("SET ro:1 7", false),
        ("SET wo:1 7", true),
        ("SET wo:1 7 GET", false),
        ("SET wo:1 7 EX 100 GET", false),
        ("SET app:1 7 GET", true),
        ("SET other 7", false),
        ("SETNX other 7", false),
        ("GETSET wo:1 7", false),
        ("GETEX wo:1", false),
        ("GETDEL wo:1", false),
        ("GETDEL ro:1", false),
        ("APPEND wo:1 7", true),
        ("INCR wo:1", false),
        ("INCR ro:1", false),
        ("DECRBY other 1", false),
        ("INCRBYFLOAT other 1", false),
        ("SETRANGE wo:1 0 7", true),
        ("GETRANGE wo:1 0 0", false),
        ("EXPIRE ro:1 100", false),
        ("EXPIRE wo:1 100", true),
        ("PERSIST ro:1", false),
        ("TTL wo:1", false),
        ("TTL ro:1", true),
        ("EXISTS wo:1", true),
        ("EXISTS other", false),
        ("TYPE other", false),
        ("STRLEN other", false),
        ("MGET app:1 ro:1", true),
        ("MGET app:1 other", false),
        ("MSET app:1 7 app:2 7", true),
        ("MSET app:1 7 other 7", false),
        ("MSETNX app:3 7 other 7", false),
        ("DEL app:2 other", false),
        ("UNLINK other app:2", false),
        ("TOUCH app:1 other", false),
        ("RENAME app:1 other", false),
        ("RENAME other app:9", false),
        ("RENAME wo:1 app:9", false),
        ("RENAMENX app:1 ro:2", false),
        ("COPY ro:1 wo:2", true),
        ("COPY wo:1 app:2", false),
        ("COPY ro:1 other REPLACE", false),
        ("BITOP AND app:2 app:1 ro:1", true),
        ("BITOP AND other app:1", false),
        ("BITOP AND app:2 app:1 other", false),
        ("BITOP NOT ro:2 app:1", false),
        ("BITCOUNT other", false),
        ("SETBIT ro:1 0 1", false),
        ("BITFIELD ro:1 GET u8 0", true),
        ("BITFIELD ro:1 SET u8 0 1", false),
        ("BITFIELD_RO wo:1 GET u8 0", false),
        ("LCS app:1 other", false),
        ("WATCH other", false),
        ("WATCH app:1", true),
        ("OBJECT ENCODING other", false),
        ("OBJECT ENCODING app:1", true),
        ("MEMORY USAGE other", false),
        ("MEMORY USAGE app:1", true),
        ("GET app:", true),
        ("GET APP:1", false),
        ("GET xapp:1", false),
    ] {
        let reply = conn.run(sent);
        match is_allowed {
            true => assert!(!reply.is_error(), "{sent}: {reply}"),
            false => assert_eq!(reply, NO_KEY, "{sent}"),
        }
    }
    assert_eq!(conn.cmd(&args!["GET", ""]), NO_KEY);
    assert_eq!(admin.get("other").unwrap(), b"7", "nothing was done");
    if !it.is_redis_itself() {
        // The proxy's own command with a key.
        let users = "user default on nopass ~a* +@all";
        let it = Setup::embedded().users(users).start();
        let mut conn = it.conn();
        assert_eq!(conn.run("PROXY SHARD b"), NO_KEY);
        assert!(!conn.run("PROXY SHARD a").is_error());
    }
}

fn commands_and_channels_outside_ones_rights_are_refused(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn_of("app", "app");
    for (sent, name) in [
        ("FLUSHALL", "flushall"),
        ("INFO", "info"),
        ("MONITOR", "monitor"),
        ("CONFIG SET timeout 1", "config|set"),
        ("config resetstat", "config|resetstat"),
        ("CLIENT LIST", "client|list"),
        ("CLIENT KILL ID 1", "client|kill"),
        ("SLOWLOG GET", "slowlog|get"),
        ("ACL LIST", "acl|list"),
        ("ACL LOAD", "acl|load"),
        ("ACL SETUSER app +@all", "acl|setuser"),
        ("MEMORY DOCTOR", "memory|doctor"),
        ("LASTSAVE", "lastsave"),
        ("ROLE", "role"),
        ("TIME", "time"),
    ] {
        assert_eq!(conn.run(sent), &no_command(name)[..], "{sent}");
    }
    for sent in [
        "ECHO x",
        "CONFIG GET nosuch",
        "CLIENT ID",
        "ACL WHOAMI",
        "KEYS *",
        "PING",
    ] {
        assert!(!conn.run(sent).is_error(), "{sent}");
    }
    // What is wrong for everybody is told first.
    assert_eq!(
        conn.run("CONFIG SET"),
        "-ERR wrong number of arguments for 'config|set' command"
    );
    assert_eq!(conn.run("FLUSHALL x"), &no_command("flushall")[..]);
    for (sent, is_allowed) in [
        ("PUBLISH news.1 x", true),
        ("PUBLISH other x", false),
        ("SPUBLISH news.1 x", true),
        ("SPUBLISH other x", false),
        ("SUBSCRIBE news.1 other", false),
        ("SSUBSCRIBE other", false),
        // A pattern has to be one of those in the rights.
        ("PSUBSCRIBE news.1", false),
        ("PSUBSCRIBE *", false),
        ("PSUBSCRIBE news.*", true),
    ] {
        let reply = conn.run(sent);
        match is_allowed {
            true => assert!(!reply.is_error(), "{sent}: {reply}"),
            false => assert_eq!(reply, NO_CHANNEL, "{sent}"),
        }
    }
}

fn who_may_read_does_not_write(setup: Setup) {
    let it = setup.users(USERS).start();
    it.conn_of("admin", "admin").set("key", "1");
    let mut conn = it.conn_of("reader", "reader");
    assert_eq!(conn.get("key").unwrap(), b"1");
    assert_eq!(conn.run("EXISTS key"), ":1");
    for (sent, name) in [
        ("SET key 2", "set"),
        ("SET key 2 GET", "set"),
        ("GETEX key", "getex"),
        ("GETDEL key", "getdel"),
        ("DEL key", "del"),
        ("INCR key", "incr"),
        ("EXPIRE key 100", "expire"),
        ("MSET key 2", "mset"),
        ("RENAME key other", "rename"),
        ("COPY key other", "copy"),
        ("FLUSHDB", "flushdb"),
        ("PUBLISH a b", "publish"),
        ("MULTI", "multi"),
    ] {
        assert_eq!(conn.run(sent), &no_command(name)[..], "{sent}");
    }
    assert_eq!(conn.get("key").unwrap(), b"1");
}

fn a_transaction_with_what_is_forbidden_is_not_done(setup: Setup) {
    let setup_again = setup.clone();
    let it = setup.users(USERS).start();
    let mut conn = it.conn_of("app", "app");
    for (forbidden, expected) in [
        ("SET other x", NO_KEY.to_owned()),
        ("FLUSHALL", no_command("flushall")),
        ("PUBLISH other x", NO_CHANNEL.to_owned()),
    ] {
        assert_eq!(conn.run("MULTI"), "+OK");
        assert_eq!(conn.run("SET app:1 x"), "+QUEUED");
        assert_eq!(conn.run(forbidden), &expected[..]);
        assert_eq!(
            conn.run("EXEC"),
            "-EXECABORT Transaction discarded because of previous errors."
        );
    }
    assert_eq!(conn.get("app:1"), None);
    let it = setup_again
        .users("user default on nopass ~* &* +@all -exec\n")
        .start();
    let mut conn = it.conn();
    assert_eq!(conn.run("MULTI"), "+OK");
    assert_eq!(
        conn.run("EXEC"),
        "-EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command"
    );
}

fn subscribers_are_asked_too(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn_of("app", "app");
    conn.run("SUBSCRIBE news.1");
    assert_eq!(conn.run("TIME"), &no_command("time")[..]);
    assert_eq!(
        conn.run("GET app:1"),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    assert_eq!(conn.run("SUBSCRIBE other"), NO_CHANNEL);
    assert_eq!(
        conn.run("UNSUBSCRIBE other"),
        "[\"unsubscribe\", \"other\", :1]"
    );
    // As who one was before the login, which may do everything here.
    assert_eq!(conn.run("RESET"), "+RESET");
    assert_eq!(conn.run("ACL WHOAMI"), "\"default\"");
}

fn acl_shows_users_in_the_words_of_redis(setup: Setup) {
    let users = "\
user default on >x ~* &* +@all
user a on nopass sanitize-payload ~x %R~y* %RW~z %R~x &c &d* +config|get
user b off >b >c <c allkeys allchannels allcommands -@dangerous -config|get
user c on skip-sanitize-payload resetkeys nocommands +@string  -set
user d on nopass ~* resetkeys &* resetchannels +@all -@all
user e on >e reset on nopass ~*
";
    let it = setup.users(users).start();
    let mut conn = it.conn_of("default", "x");
    let x = "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let b = "#3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
    for (sent, expected) in [
        (
            "ACL USERS",
            "[\"a\", \"b\", \"c\", \"d\", \"default\", \"e\"]".to_owned(),
        ),
        (
            "ACL LIST",
            format!(
                "[{}]",
                [
                    "user a on nopass sanitize-payload ~x %R~y* ~z resetchannels &c &d* -@all +config|get".to_owned(),
                    format!("user b off {b} ~* &* +@all -@dangerous"),
                    "user c on skip-sanitize-payload resetchannels -@all +@string -set".to_owned(),
                    "user d on nopass resetchannels -@all".to_owned(),
                    format!("user default on {x} ~* &* +@all"),
                    "user e on nopass sanitize-payload ~* resetchannels -@all".to_owned(),
                ]
                .map(|line| format!("\"{line}\""))
                .join(", ")
            ),
        ),
        (
            "ACL GETUSER a",
            "[\"flags\", [\"on\", \"nopass\", \"sanitize-payload\"], \"passwords\", [], \"commands\", \"-@all +config|get\", \"keys\", \"~x %R~y* ~z\", \"channels\", \"&c &d*\", \"selectors\", []]".to_owned(),
        ),
        ("ACL GETUSER nobody", "$-1".to_owned()),
    ] {
        assert_eq!(conn.run(sent), &expected[..], "{sent}");
    }
}

/// Fields of each entry, one after the other.
fn entries(conn: &mut Conn) -> Vec<String> {
    let shown = |entry: Reply| {
        let fields = entry.array();
        let of = |at: usize| fields[at].to_string();
        // Count, reason, context, object and name.
        [1, 3, 5, 7, 9].map(of).join(" ")
    };
    conn.run("ACL LOG").array().into_iter().map(shown).collect()
}

fn acl_log_has_what_was_refused(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut conn = it.conn_of("app", "app");
    let mut admin = it.conn_of("admin", "admin");
    conn.run("GET other");
    conn.run("GET other");
    conn.run("TIME");
    conn.run("PUBLISH other x");
    conn.run("MULTI");
    conn.run("GET other");
    conn.run("DISCARD");
    conn.run("AUTH app wrong");
    assert_eq!(
        entries(&mut admin),
        [
            ":1 \"auth\" \"toplevel\" \"AUTH\" \"app\"",
            ":1 \"key\" \"multi\" \"other\" \"app\"",
            ":1 \"channel\" \"toplevel\" \"other\" \"app\"",
            ":1 \"command\" \"toplevel\" \"time\" \"app\"",
            ":2 \"key\" \"toplevel\" \"other\" \"app\"",
        ]
    );
    let count = |conn: &mut Conn, line: &str| conn.run(line).array().len();
    assert_eq!(count(&mut admin, "ACL LOG 2"), 2);
    assert_eq!(count(&mut admin, "ACL LOG 0"), 0);
    assert_eq!(
        admin.run("ACL LOG x"),
        "-ERR value is not an integer or out of range"
    );
    assert_eq!(admin.run("ACL LOG RESET"), "+OK");
    assert_eq!(admin.run("ACL LOG"), "[]");
}

/// As in Redis: patterns of keys are about the keys that a request names.
fn scans_are_not_limited_by_keys(setup: Setup) {
    let it = setup.users(USERS).start();
    it.conn_of("admin", "admin").set("other", "x");
    let mut conn = it.conn_of("app", "app");
    assert_eq!(conn.run("KEYS *"), "[\"other\"]");
    assert_eq!(conn.run("SCAN 0"), "[\"0\", [\"other\"]]");
    assert_eq!(conn.run("RANDOMKEY"), "\"other\"");
    assert_eq!(conn.run("DBSIZE"), ":1");
}

/// Sets of rules, each of which is tried with every command of the table.
const RULES: &[&str] = &[
    "+@all",
    "-@all",
    "+@all -@dangerous",
    "+@all -@admin",
    "+@all -@write",
    "+@all -@slow",
    "+@all -@fast +@read",
    "+@read",
    "+@write -set",
    "+@connection",
    "+@admin",
    "+@dangerous -@admin",
    "+@pubsub +@keyspace",
    "+@string +@bitmap +@transaction",
    "+@slow",
    "+config -config|set",
    "+config|get +client|list +acl|whoami",
    "+@all -config|get -client|kill",
    "+@slow -@admin +config|get",
    "+@all -object +object|encoding",
];

/// Every command and subcommand that both serve, with as many words as it needs, is dry-run by users of all rules on both.
fn every_right_is_that_of_redis(setup: Setup) {
    let mut users = String::from("user default on nopass ~* &* +@all\n");
    for (number, rules) in RULES.iter().enumerate() {
        users.push_str(&format!("user c{number} on nopass ~* &* {rules}\n"));
    }
    for (name, keys) in [
        ("k0", "%R~*"),
        ("k1", "%W~*"),
        ("k2", "~nosuch"),
        ("k3", "%R~1 %W~2"),
        ("k4", "~1 ~2"),
        ("k5", "&1"),
    ] {
        users.push_str(&format!("user {name} on nopass {keys} +@all\n"));
    }
    let it = setup.users(&users).start();
    let reference = Setup::redis_itself().users(&users).start();
    let (mut ours, mut theirs) = (it.conn(), reference.conn());
    let served: BTreeSet<String> = ours
        .run("COMMAND LIST")
        .array()
        .iter()
        .map(Reply::string)
        .collect();
    let names: Vec<String> = (0..RULES.len())
        .map(|number| format!("c{number}"))
        .collect();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(["k0", "k1", "k2", "k3", "k4", "k5"])
        .collect();
    let mut compared = 0;
    for command in theirs.run("COMMAND").array() {
        let described = command.array();
        if !served.contains(&described[0].string()) {
            continue;
        }
        let subcommands = described[9].clone().array();
        let mut requests = Vec::new();
        for one in std::iter::once(described).chain(subcommands.into_iter().map(Reply::array)) {
            let name = one[0].string().replace('|', " ");
            let arity = one[1].int();
            let given = name.split(' ').count() as i64;
            // The fewest words, and one more, where it may be; of two kinds.
            for more in 0..=i64::from(arity < 0) {
                let words = (1..=arity.abs() - given + more).map(|number| number.to_string());
                let words: Vec<String> = words.collect();
                requests.push(format!("{name} {}", words.join(" ")).trim().to_owned());
            }
        }
        requests.extend(match requests[0].split(' ').next() {
            Some("set") => vec!["set 1 2 get".to_owned(), "set 2 2 get".to_owned()],
            Some("bitfield") => vec![
                "bitfield 1 get u8 0".to_owned(),
                "bitfield 1 set u8 0 1".to_owned(),
            ],
            Some("copy") => vec!["copy 1 2".to_owned(), "copy 2 1".to_owned()],
            _ => Vec::new(),
        });
        for request in requests {
            for name in &names {
                let line = format!("ACL DRYRUN {name} {request}");
                let (ours, theirs) = (ours.run(&line), theirs.run(&line));
                let (ours, theirs) = (ours.to_string(), theirs.to_string());
                // The proxy refuses some for everybody before it looks at rights: those are no matter of rights.
                let is_refused = ours.starts_with('-') && !theirs.starts_with('-');
                if is_refused {
                    assert!(
                        ["debug", "module", "cluster", "readonly", "readwrite"]
                            .iter()
                            .any(|name| request.starts_with(name))
                            || request.starts_with("bitop"),
                        "{line}: {ours}, {theirs}"
                    );
                    continue;
                }
                assert_eq!(ours, theirs, "{line}");
                compared += 1;
            }
        }
    }
    assert!(compared > 5000, "{compared}");
}

fn monitors_see_what_was_allowed_when_it_was_done(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut monitor = it.conn_of("admin", "admin");
    monitor.run("MONITOR");
    let mut conn = it.conn_of("admin", "admin");
    // It ends as a user who may not do what it did, and did not begin as one who may do what it was refused.
    conn.send(
        b"SET other 7\r\nAUTH app app\r\nGET other\r\nGET app:1\r\nAUTH admin admin\r\nGET x\r\n",
    );
    for reply in ["+OK", "+OK", NO_KEY, "$-1", "+OK", "$-1"] {
        assert_eq!(conn.read(), reply);
    }
    let auth = r#""AUTH" "(redacted)" "(redacted)""#;
    for shown in [
        auth,
        r#""SET" "other" "7""#,
        auth,
        r#""GET" "app:1""#,
        auth,
        r#""GET" "x""#,
    ] {
        let line = monitor.read().to_string();
        assert!(line.contains(&format!("] {shown}")), "{shown}: {line}");
    }
}

fn monitors_do_not_see_what_is_refused(setup: Setup) {
    let it = setup.users(USERS).start();
    let mut monitor = it.conn_of("admin", "admin");
    assert_eq!(monitor.run("MONITOR"), "+OK");
    let mut conn = it.conn_of("app", "app");
    conn.run("GET other");
    conn.run("GET app:1");
    let first = monitor.read().to_string();
    assert!(
        first.contains("\"AUTH\" \"(redacted)\" \"(redacted)\""),
        "{first}"
    );
    let second = monitor.read().to_string();
    assert!(second.contains("\"GET\" \"app:1\""), "{second}");
}
