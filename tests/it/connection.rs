//! What concerns a connection and the server, not keys: HELLO, AUTH, RESET, SELECT, QUIT, CLIENT, COMMAND, CONFIG, INFO.

use crate::harness::{Reply, Setup, args, both_backends, with_reference};

/// These run over real Redis too.
mod like_redis {
    use super::*;

    with_reference!(
        ping_and_echo,
        hello_switches_between_the_two_protocols,
        hello_without_a_version_keeps_the_protocol,
        hello_takes_auth_and_a_name,
        a_refused_hello_changes_nothing,
        auth_is_answered_as_by_a_server_without_a_password,
        reset_puts_the_connection_back_to_its_start,
        select_knows_database_0_alone,
        quit_answers_and_closes,
        quit_ends_a_pipeline,
        client_setname_and_getname,
        client_id_is_a_connections_own,
        client_info_and_list_describe_connections,
        command_info_describes_arity_and_keys,
        command_count_and_bare_command_agree,
        command_docs_is_a_map,
        config_get_answers_what_redis_benchmark_asks,
        info_is_sections_of_fields,
        resp3_has_its_own_nulls_and_types,
        wrong_arguments_have_the_words_of_redis,
        wrong_arity_is_told_with_the_commands_name,
        unknown_commands_are_told_with_their_first_arguments,
        a_connection_goes_on_after_each_error,
    );

    fn ping_and_echo(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_eq!(conn.run("PING"), "+PONG");
        assert_eq!(conn.run("ping hello"), "\"hello\"");
        assert_eq!(
            conn.cmd(&args!["ECHO", b"\0\r\n\xff"]),
            "\"\\x00\\r\\n\\xff\""
        );
        assert_eq!(conn.cmd(&args!["ECHO", ""]), "\"\"");
    }

    /// The map that HELLO answers, as pairs, whichever protocol it came in.
    fn pairs(reply: &Reply) -> Vec<(String, String)> {
        let pairs: Vec<(Reply, Reply)> = match reply {
            Reply::Map(pairs) => pairs.clone(),
            Reply::Array(items) => items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
            other => panic!("not an answer to HELLO: {other}"),
        };
        pairs
            .iter()
            .map(|(name, value)| (name.string(), value.to_string()))
            .collect()
    }

    #[track_caller]
    fn assert_hello(reply: &Reply, proto: &str) {
        let pairs = pairs(reply);
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "server", "version", "proto", "id", "mode", "role", "modules"
            ]
        );
        assert_eq!(pairs[0].1, "\"redis\"");
        assert!(
            pairs[1].1.starts_with("\"7."),
            "clients look at the version: {}",
            pairs[1].1
        );
        assert_eq!(pairs[2].1, proto);
        assert!(
            pairs[3].1.starts_with(':'),
            "the id is a number: {}",
            pairs[3].1
        );
        assert_eq!(pairs[4].1, "\"standalone\"");
        assert_eq!(pairs[5].1, "\"master\"");
        assert_eq!(pairs[6].1, "[]");
    }

    fn hello_switches_between_the_two_protocols(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_eq!(conn.run("GET nosuch"), "$-1");
        let reply = conn.run("HELLO 3");
        assert!(matches!(reply, Reply::Map(_)), "a map in RESP3: {reply}");
        assert_hello(&reply, ":3");
        assert_eq!(conn.run("GET nosuch"), "_");
        let reply = conn.run("HELLO 2");
        assert!(
            matches!(reply, Reply::Array(_)),
            "an array in RESP2: {reply}"
        );
        assert_hello(&reply, ":2");
        assert_eq!(conn.run("GET nosuch"), "$-1");
    }

    fn hello_without_a_version_keeps_the_protocol(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_hello(&conn.run("HELLO"), ":2");
        conn.run("HELLO 3");
        assert_hello(&conn.run("hello"), ":3");
    }

    fn hello_takes_auth_and_a_name(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_hello(&conn.run("HELLO 3 AUTH default whatever SETNAME joe"), ":3");
        assert_eq!(conn.run("CLIENT GETNAME"), "\"joe\"");
        assert_hello(&conn.run("HELLO 2 setname ann auth default x"), ":2");
        assert_eq!(conn.run("CLIENT GETNAME"), "\"ann\"");
    }

    fn a_refused_hello_changes_nothing(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let noproto = "-NOPROTO unsupported protocol version";
        for (command, expected) in [
            ("HELLO 4", noproto),
            ("HELLO 1", noproto),
            ("HELLO 0", noproto),
            ("HELLO -3", noproto),
            (
                "HELLO abc",
                "-ERR Protocol version is not an integer or out of range",
            ),
            ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
            (
                "HELLO 3 AUTH default",
                "-ERR Syntax error in HELLO option 'AUTH'",
            ),
            (
                "HELLO 3 SETNAME",
                "-ERR Syntax error in HELLO option 'SETNAME'",
            ),
            (
                "HELLO 3 AUTH bob x",
                "-WRONGPASS invalid username-password pair or user is disabled.",
            ),
        ] {
            assert_eq!(conn.run(command), expected, "{command}");
            assert_eq!(conn.run("GET nosuch"), "$-1", "still RESP2 after {command}");
        }
        let bad_name = "-ERR Client names cannot contain spaces, newlines or special characters.";
        assert_eq!(conn.cmd(&args!["HELLO", "3", "SETNAME", "a b"]), bad_name);
        assert_eq!(conn.run("GET nosuch"), "$-1");
    }

    fn auth_is_answered_as_by_a_server_without_a_password(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let no_password = "-ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(conn.run("AUTH secret"), no_password);
        assert_eq!(conn.run("AUTH default secret"), "+OK");
        assert_eq!(conn.run("AUTH bob secret"), wrong);
        assert_eq!(conn.run("AUTH a b c"), "-ERR syntax error");
        assert_eq!(conn.run("PING"), "+PONG");
    }

    fn reset_puts_the_connection_back_to_its_start(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        conn.run("HELLO 3 SETNAME joe");
        assert_eq!(conn.run("RESET"), "+RESET");
        assert_eq!(conn.run("GET nosuch"), "$-1", "RESP2 again");
        assert_eq!(conn.run("CLIENT GETNAME"), "$-1", "without a name");
    }

    fn select_knows_database_0_alone(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let integer = "-ERR value is not an integer or out of range";
        assert_eq!(conn.run("SELECT 0"), "+OK");
        assert_eq!(conn.run("SELECT 1"), "-ERR DB index is out of range");
        assert_eq!(conn.run("SELECT -1"), "-ERR DB index is out of range");
        assert_eq!(conn.run("SELECT abc"), integer);
        assert_eq!(conn.run("SELECT 99999999999999999999"), integer);
    }

    fn quit_answers_and_closes(setup: Setup) {
        let it = setup.start();
        for command in ["QUIT", "quit", "QUIT now"] {
            let mut conn = it.conn();
            assert_eq!(conn.run(command), "+OK");
            conn.expect_closed();
        }
    }

    fn quit_ends_a_pipeline(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        conn.send(b"SET a 1\r\nGET a\r\nQUIT\r\nSET a 2\r\nGET a\r\n");
        assert_eq!(conn.read(), "+OK");
        assert_eq!(conn.read(), "\"1\"");
        assert_eq!(conn.read(), "+OK");
        conn.expect_closed();
        assert_eq!(
            it.conn().run("GET a"),
            "\"1\"",
            "what follows QUIT is not executed"
        );
    }

    fn client_setname_and_getname(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_eq!(conn.run("CLIENT GETNAME"), "$-1");
        assert_eq!(conn.run("CLIENT SETNAME joe"), "+OK");
        assert_eq!(conn.run("client getname"), "\"joe\"");
        let bad_name = "-ERR Client names cannot contain spaces, newlines or special characters.";
        for name in ["a b", "a\nb", "\x01", "naïve", "a\x7f"] {
            assert_eq!(
                conn.cmd(&args!["CLIENT", "SETNAME", name]),
                bad_name,
                "{name:?}"
            );
        }
        assert_eq!(conn.run("CLIENT GETNAME"), "\"joe\"");
        assert_eq!(
            it.conn().run("CLIENT GETNAME"),
            "$-1",
            "another connection has no name"
        );
        assert_eq!(conn.cmd(&args!["CLIENT", "SETNAME", ""]), "+OK");
        assert_eq!(conn.run("CLIENT GETNAME"), "$-1", "the empty name is none");
    }

    fn client_id_is_a_connections_own(setup: Setup) {
        let it = setup.start();
        let (mut one, mut other) = (it.conn(), it.conn());
        let id = one.run("CLIENT ID").int();
        assert!(id > 0);
        assert_eq!(one.run("CLIENT ID").int(), id);
        assert_ne!(other.run("CLIENT ID").int(), id);
    }

    /// The `name=value` pairs of a line.
    fn fields(line: &str) -> Vec<(&str, &str)> {
        line.split_whitespace()
            .filter_map(|field| field.split_once('='))
            .collect()
    }

    fn client_info_and_list_describe_connections(setup: Setup) {
        let it = setup.start();
        let (mut joe, mut ann) = (it.conn(), it.conn());
        joe.run("CLIENT SETNAME joe");
        ann.run("CLIENT SETNAME ann");
        let id = joe.run("CLIENT ID").int().to_string();
        let info = joe.run("CLIENT INFO").string();
        assert!(info.ends_with('\n'), "{info:?}");
        for expected in [("id", id.as_str()), ("name", "joe"), ("db", "0")] {
            assert!(fields(&info).contains(&expected), "{expected:?} in {info}");
        }
        assert!(
            info.contains(&format!("laddr={}", it.resp_addr())),
            "{info}"
        );
        let list = joe.run("CLIENT LIST").string();
        for name in ["joe", "ann"] {
            let line = list
                .lines()
                .find(|line| fields(line).contains(&("name", name)));
            assert!(line.is_some(), "{name} is in {list}");
        }
        let by_id = ann.run(&format!("CLIENT LIST ID {id}")).string();
        assert_eq!(by_id.lines().count(), 1, "{by_id}");
        assert!(fields(&by_id).contains(&("name", "joe")), "{by_id}");
        assert!(
            joe.run("CLIENT LIST TYPE normal")
                .string()
                .contains("name=ann")
        );
        assert_eq!(
            joe.run("CLIENT LIST TYPE foo"),
            "-ERR Unknown client type 'foo'"
        );
        assert_eq!(joe.run("CLIENT LIST foo"), "-ERR syntax error");
    }

    fn command_info_describes_arity_and_keys(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let reply = conn
            .run("COMMAND INFO get set mget nosuch del mset ping expire")
            .array();
        let head = |reply: &Reply| {
            let items = reply.clone().array();
            let number = |at: usize| items[at].int();
            (
                items[0].string(),
                number(1),
                number(3),
                number(4),
                number(5),
            )
        };
        assert_eq!(head(&reply[0]), ("get".to_owned(), 2, 1, 1, 1));
        assert_eq!(head(&reply[1]), ("set".to_owned(), -3, 1, 1, 1));
        assert_eq!(head(&reply[2]), ("mget".to_owned(), -2, 1, -1, 1));
        assert!(matches!(reply[3], Reply::Null(_)), "{}", reply[3]);
        assert_eq!(head(&reply[4]), ("del".to_owned(), -2, 1, -1, 1));
        assert_eq!(head(&reply[5]), ("mset".to_owned(), -3, 1, -1, 2));
        assert_eq!(head(&reply[6]), ("ping".to_owned(), -1, 0, 0, 0));
        assert_eq!(head(&reply[7]), ("expire".to_owned(), -3, 1, 1, 1));
        let flags = reply[0].clone().array()[2].to_string();
        assert!(
            flags.contains("+readonly") && flags.contains("+fast"),
            "{flags}"
        );
        let flags = reply[1].clone().array()[2].to_string();
        assert!(flags.contains("+write"), "{flags}");
    }

    fn command_count_and_bare_command_agree(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let count = conn.run("COMMAND COUNT").int();
        let all = conn.run("COMMAND").array();
        assert_eq!(i64::try_from(all.len()).unwrap(), count);
        let names: Vec<String> = all
            .into_iter()
            .map(|entry| entry.array()[0].string())
            .collect();
        for name in [
            "get", "set", "del", "unlink", "exists", "mget", "mset", "ttl", "pttl", "expire",
            "persist",
        ] {
            assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        }
    }

    fn command_docs_is_a_map(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let docs = conn.run("COMMAND DOCS get").array();
        assert_eq!(docs.len(), 2, "a name and its description");
        assert_eq!(docs[0], "\"get\"");
        let description = docs[1].clone().array();
        let names: Vec<String> = description.chunks(2).map(|pair| pair[0].string()).collect();
        assert!(names.contains(&"summary".to_owned()), "{names:?}");
        assert_eq!(conn.run("COMMAND DOCS nosuch"), "[]");
        conn.run("HELLO 3");
        assert!(matches!(conn.run("COMMAND DOCS get"), Reply::Map(_)));
        // redis-cli asks for all of them before its first prompt.
        assert!(matches!(conn.run("COMMAND DOCS"), Reply::Map(all) if all.len() > 10));
    }

    fn config_get_answers_what_redis_benchmark_asks(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        assert_eq!(conn.run("CONFIG GET save"), "[\"save\", \"\"]");
        // What is acknowledged is durable here, which a Redis says with "yes".
        let appendonly = conn.run("CONFIG GET appendonly").to_string();
        let expected = if it.is_redis_itself() { "no" } else { "yes" };
        assert_eq!(appendonly, format!("[\"appendonly\", \"{expected}\"]"));
        assert_eq!(conn.run("config get nosuch"), "[]");
        conn.run("HELLO 3");
        assert_eq!(conn.run("CONFIG GET save"), "{\"save\": \"\"}");
    }

    fn info_is_sections_of_fields(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let info = conn.run("INFO").string();
        for line in info.split_terminator("\r\n") {
            assert!(
                line.is_empty() || line.starts_with("# ") || line.contains(':'),
                "{line:?}"
            );
        }
        assert!(info.contains("# Server\r\nredis_version:7."), "{info}");
        assert!(info.contains("\r\nrole:master\r\n"), "{info}");
        assert!(
            info.contains("\r\nloading:0\r\n"),
            "ioredis waits for it: {info}"
        );
        assert!(conn.run("INFO server").string().starts_with("# Server\r\n"));
        let replication = conn.run("INFO REPLICATION").string();
        assert!(
            replication.contains("role:master\r\n") && !replication.contains("# Server"),
            "{replication}"
        );
        assert_eq!(conn.run("INFO nosuch"), "\"\"");
        let two = conn.run("INFO server replication").string();
        assert!(
            two.contains("# Server") && two.contains("# Replication") && !two.contains("# Clients"),
            "{two}"
        );
        conn.run("HELLO 3");
        let reply = conn.run("INFO server");
        assert!(
            matches!(&reply, Reply::Verbatim(format, _) if format == "txt"),
            "{reply}"
        );
        let reply = conn.run("CLIENT INFO");
        assert!(
            matches!(&reply, Reply::Verbatim(format, _) if format == "txt"),
            "{reply}"
        );
    }

    fn resp3_has_its_own_nulls_and_types(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        conn.set("key", "value");
        conn.run("HELLO 3");
        for (command, expected) in [
            ("GET nosuch", "_"),
            ("MGET key nosuch", "[\"value\", _]"),
            ("SET key value NX", "_"),
            ("SET other value XX", "_"),
            ("SET other value GET", "_"),
            ("SET key value GET", "\"value\""),
            ("CLIENT GETNAME", "_"),
            ("GET key", "\"value\""),
            ("DEL key other", ":2"),
            ("TTL key", ":-2"),
            ("PING", "+PONG"),
            ("PING x", "\"x\""),
            (
                "FOO",
                "-ERR unknown command 'FOO', with args beginning with: ",
            ),
        ] {
            assert_eq!(conn.run(command), expected, "{command}");
        }
    }

    fn wrong_arguments_have_the_words_of_redis(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let syntax = "-ERR syntax error";
        for (command, expected) in [
            (
                "CLIENT FOO",
                "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.",
            ),
            (
                "client foo bar",
                "-ERR unknown subcommand 'foo'. Try CLIENT HELP.",
            ),
            (
                "COMMAND FOO",
                "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.",
            ),
            (
                "CONFIG FOO",
                "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.",
            ),
            (
                "CLIENT MAINT_NOTIFICATIONS ON",
                "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.",
            ),
            ("FLUSHDB foo", syntax),
            ("FLUSHALL foo", syntax),
            ("FLUSHDB ASYNC SYNC", syntax),
            ("FLUSHALL ASYNC x", syntax),
        ] {
            assert_eq!(conn.run(command), expected, "{command}");
        }
    }

    fn wrong_arity_is_told_with_the_commands_name(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        for command in [
            "GET",
            "GET a b",
            "SET",
            "SET a",
            "DEL",
            "UNLINK",
            "EXISTS",
            "MGET",
            "MSET",
            "MSET a",
            "MSET a 1 b",
            "TTL",
            "TTL a b",
            "PTTL",
            "PTTL a b",
            "EXPIRE",
            "EXPIRE a",
            "PERSIST",
            "PERSIST a b",
            "PING a b",
            "ECHO",
            "ECHO a b",
            "SELECT",
            "SELECT 0 1",
            "AUTH",
            "RESET x",
            "CLIENT",
            "CONFIG",
            "DBSIZE x",
            "gEt",
        ] {
            let name = command.split(' ').next().unwrap().to_lowercase();
            let expected = format!("-ERR wrong number of arguments for '{name}' command");
            assert_eq!(conn.run(command), expected.as_str(), "{command}");
        }
        for command in [
            "CLIENT SETNAME",
            "CLIENT SETNAME a b",
            "CLIENT GETNAME x",
            "CLIENT ID x",
            "CLIENT INFO x",
            "COMMAND COUNT x",
            "CONFIG GET",
        ] {
            let mut words = command.split(' ');
            let (name, sub) = (
                words.next().unwrap().to_lowercase(),
                words.next().unwrap().to_lowercase(),
            );
            let expected = format!("-ERR wrong number of arguments for '{name}|{sub}' command");
            assert_eq!(conn.run(command), expected.as_str(), "{command}");
        }
    }

    fn unknown_commands_are_told_with_their_first_arguments(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        let expect = |name: &str, args: &str| {
            format!("-ERR unknown command '{name}', with args beginning with: {args}")
        };
        assert_eq!(conn.run("foo"), expect("foo", "").as_str());
        assert_eq!(
            conn.run("FoO bar baz"),
            expect("FoO", "'bar' 'baz' ").as_str()
        );
        assert_eq!(conn.cmd(&args![""]), expect("", "").as_str());
        assert_eq!(
            conn.cmd(&args!["foo\r\nbar", "a\r\nb"]),
            expect("foo  bar", "'a  b' ").as_str()
        );
        let long = "x".repeat(200);
        let cut = "x".repeat(128);
        assert_eq!(conn.cmd(&args![long]), expect(&cut, "").as_str());
        assert_eq!(
            conn.cmd(&args!["foo", long]),
            expect("foo", &format!("'{cut}' ")).as_str()
        );
    }

    fn a_connection_goes_on_after_each_error(setup: Setup) {
        let it = setup.start();
        let mut conn = it.conn();
        conn.send(b"FOO\r\nSET a\r\nSET a 1\r\nSET a 1 EX 0\r\nGET a\r\nSELECT 7\r\nPING\r\n");
        for expected in [
            "-ERR unknown command 'FOO', with args beginning with: ",
            "-ERR wrong number of arguments for 'set' command",
            "+OK",
            "-ERR invalid expire time in 'set' command",
            "\"1\"",
            "-ERR DB index is out of range",
            "+PONG",
        ] {
            assert_eq!(conn.read(), expected);
        }
    }
}

both_backends!(client_setinfo_is_accepted);

/// Redis has it since 7.2; every current client sends it.
fn client_setinfo_is_accepted(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("CLIENT SETINFO LIB-NAME redis-py"), "+OK");
    assert_eq!(conn.run("client setinfo lib-ver 5.0.1"), "+OK");
    assert!(conn.run("CLIENT SETINFO FOO bar").is_error());
    assert!(conn.run("CLIENT SETINFO LIB-NAME").is_error());
    assert!(
        conn.cmd(&args!["CLIENT", "SETINFO", "LIB-NAME", "a b"])
            .is_error()
    );
    assert_eq!(conn.run("PING"), "+PONG");
}
