//! Commands on the connection and the server beyond the greeting: CLIENT, CONFIG, COMMAND, SLOWLOG, LATENCY, MEMORY, ACL
//! and what the servers of tools ask for.

use std::time::{Duration, Instant};

use crate::harness::{Conn, Reply, Setup, both_backends, eventually, redis_cli, with_reference};

with_reference!(
    replies_are_those_of_redis,
    shapes_in_resp3_are_those_of_redis,
    client_list_tells_kinds_apart,
    client_kill_ends_others_by_what_they_are,
    client_kill_of_oneself_answers_first,
    client_pause_holds_back_everything,
    client_pause_write_lets_reads_through,
    client_pause_write_holds_back_messages,
    debug_and_modules_break_a_transaction,
    client_reply_leaves_replies_out,
    command_getkeys_and_list,
    commands_are_in_the_categories_of_redis,
    command_info_has_the_types_of_redis,
    config_set_changes_what_config_get_shows,
    config_set_is_all_or_nothing,
    slowlog_has_slow_commands,
    slowlog_keeps_no_passwords,
    latency_has_histograms_and_samples,
    info_has_what_exporters_read,
    idle_clients_are_closed_after_the_timeout,
    redis_cli_knows_what_follows_a_command,
);

/// Errors and small answers, which have the words of Redis.
const REPLIES: &[(&str, &str)] = &[
    (
        "CLIENT KILL",
        "-ERR wrong number of arguments for 'client|kill' command",
    ),
    ("CLIENT KILL foo", "-ERR No such client"),
    ("CLIENT KILL a b", "-ERR syntax error"),
    ("CLIENT KILL ID 12345", ":0"),
    (
        "CLIENT KILL ID abc",
        "-ERR client-id should be greater than 0",
    ),
    (
        "CLIENT KILL ID 0",
        "-ERR client-id should be greater than 0",
    ),
    ("CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'"),
    ("CLIENT KILL TYPE master", ":0"),
    ("CLIENT KILL SKIPME maybe", "-ERR syntax error"),
    ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'"),
    ("CLIENT KILL ADDR 1.2.3.4:5", ":0"),
    ("CLIENT KILL LADDR 1.2.3.4:5", ":0"),
    ("CLIENT KILL ID", "-ERR No such client"),
    ("CLIENT KILL ID 12345 ADDR", "-ERR syntax error"),
    (
        "CLIENT PAUSE",
        "-ERR wrong number of arguments for 'client|pause' command",
    ),
    (
        "CLIENT PAUSE abc",
        "-ERR timeout is not an integer or out of range",
    ),
    ("CLIENT PAUSE -1", "-ERR timeout is negative"),
    (
        "CLIENT PAUSE 10 foo",
        "-ERR CLIENT PAUSE mode must be WRITE or ALL",
    ),
    (
        "CLIENT PAUSE 10 ALL x",
        "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.",
    ),
    ("CLIENT PAUSE 0 write", "+OK"),
    ("CLIENT UNPAUSE", "+OK"),
    (
        "CLIENT UNPAUSE x",
        "-ERR wrong number of arguments for 'client|unpause' command",
    ),
    ("CLIENT NO-EVICT on", "+OK"),
    ("CLIENT NO-EVICT off", "+OK"),
    ("CLIENT NO-EVICT foo", "-ERR syntax error"),
    ("CLIENT REPLY foo", "-ERR syntax error"),
    (
        "CLIENT REPLY",
        "-ERR wrong number of arguments for 'client|reply' command",
    ),
    ("CLIENT TRACKING off", "+OK"),
    ("CLIENT TRACKING foo", "-ERR syntax error"),
    (
        "CLIENT TRACKINGINFO",
        "[\"flags\", [\"off\"], \"redirect\", :-1, \"prefixes\", []]",
    ),
    (
        "CLIENT CACHING yes",
        "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ),
    ("CLIENT GETREDIR", ":-1"),
    ("CLIENT UNBLOCK 99", ":0"),
    ("CLIENT UNBLOCK 99 error", ":0"),
    (
        "CLIENT UNBLOCK abc",
        "-ERR value is not an integer or out of range",
    ),
    (
        "CLIENT UNBLOCK 99 foo",
        "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
    ),
    (
        "CLIENT MAINT_NOTIFICATIONS ON",
        "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.",
    ),
    ("CLIENT LIST TYPE", "-ERR syntax error"),
    ("CLIENT LIST ID", "-ERR syntax error"),
    ("CLIENT LIST ID a", "-ERR Invalid client ID"),
    ("CLIENT LIST ID 0", "\"\""),
    (
        "CLIENT HELP x",
        "-ERR wrong number of arguments for 'client|help' command",
    ),
    (
        "SELECT 99999999999",
        "-ERR value is out of range, value must between -2147483648 and 2147483647",
    ),
    (
        "TIME x",
        "-ERR wrong number of arguments for 'time' command",
    ),
    (
        "LASTSAVE x",
        "-ERR wrong number of arguments for 'lastsave' command",
    ),
    (
        "READONLY",
        "-ERR This instance has cluster support disabled",
    ),
    (
        "READWRITE",
        "-ERR This instance has cluster support disabled",
    ),
    (
        "CLUSTER INFO",
        "-ERR This instance has cluster support disabled",
    ),
    (
        "CLUSTER nope",
        "-ERR unknown subcommand 'nope'. Try CLUSTER HELP.",
    ),
    ("WAIT 0 0", ":0"),
    ("WAIT 1 10", ":0"),
    ("WAIT a 10", "-ERR value is not an integer or out of range"),
    ("WAIT 1 a", "-ERR timeout is not an integer or out of range"),
    ("WAIT 1 -1", "-ERR timeout is negative"),
    ("ROLE", "[\"master\", :0, []]"),
    ("ACL WHOAMI", "\"default\""),
    ("ACL LIST", "[\"user default on nopass ~* &* +@all\"]"),
    ("ACL USERS", "[\"default\"]"),
    ("ACL CAT foo", "-ERR Unknown category 'foo'"),
    ("ACL GETUSER foo", "$-1"),
    ("ACL nope", "-ERR unknown subcommand 'nope'. Try ACL HELP."),
    ("MODULE LIST", "[]"),
    (
        "MODULE foo",
        "-ERR unknown subcommand 'foo'. Try MODULE HELP.",
    ),
    ("SLOWLOG LEN", ":0"),
    ("SLOWLOG GET", "[]"),
    ("SLOWLOG GET -1", "[]"),
    (
        "SLOWLOG GET a",
        "-ERR count should be greater than or equal to -1",
    ),
    (
        "SLOWLOG GET -2",
        "-ERR count should be greater than or equal to -1",
    ),
    (
        "SLOWLOG GET 1 2",
        "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
    ),
    ("SLOWLOG RESET", "+OK"),
    (
        "SLOWLOG foo",
        "-ERR unknown subcommand 'foo'. Try SLOWLOG HELP.",
    ),
    ("LATENCY LATEST", "[]"),
    ("LATENCY HISTORY command", "[]"),
    (
        "LATENCY HISTORY",
        "-ERR wrong number of arguments for 'latency|history' command",
    ),
    ("LATENCY RESET", ":0"),
    ("LATENCY RESET a", ":0"),
    ("LATENCY HISTOGRAM nosuch", "[]"),
    (
        "LATENCY GRAPH command",
        "-ERR No samples available for event 'command'",
    ),
    (
        "LATENCY foo",
        "-ERR unknown subcommand 'foo'. Try LATENCY HELP.",
    ),
    ("MEMORY PURGE", "+OK"),
    (
        "MEMORY foo",
        "-ERR unknown subcommand 'foo'. Try MEMORY HELP.",
    ),
    (
        "CONFIG SET a b",
        "-ERR Unknown option or number of arguments for CONFIG SET - 'a'",
    ),
    (
        "CONFIG SET a",
        "-ERR wrong number of arguments for 'config|set' command",
    ),
    ("CONFIG SET timeout 1 a", "-ERR syntax error"),
    (
        "CONFIG SET databases 3",
        "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
    ),
    (
        "CONFIG SET slowlog-max-len abc",
        "-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument couldn't be parsed into an integer",
    ),
    (
        "CONFIG SET timeout -1",
        "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument must be between 0 and 2147483647 inclusive",
    ),
    (
        "CONFIG SET slowlog-log-slower-than -2",
        "-ERR CONFIG SET failed (possibly related to argument 'slowlog-log-slower-than') - argument must be between -1 and 9223372036854775807 inclusive",
    ),
    (
        "CONFIG SET slowlog-max-len 1 slowlog-max-len 2",
        "-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - duplicate parameter",
    ),
    ("CONFIG RESETSTAT", "+OK"),
    (
        "CONFIG REWRITE",
        "-ERR The server is running without a config file",
    ),
    (
        "CONFIG foo",
        "-ERR unknown subcommand 'foo'. Try CONFIG HELP.",
    ),
    ("CONFIG GET timeout", "[\"timeout\", \"0\"]"),
    ("COMMAND LIST foo", "-ERR syntax error"),
    ("COMMAND LIST FILTERBY foo bar", "-ERR syntax error"),
    ("COMMAND LIST FILTERBY MODULE x", "[]"),
    ("COMMAND LIST FILTERBY ACLCAT foo", "[]"),
    (
        "COMMAND GETKEYS",
        "-ERR wrong number of arguments for 'command|getkeys' command",
    ),
    (
        "COMMAND nope",
        "-ERR unknown subcommand 'nope'. Try COMMAND HELP.",
    ),
    (
        "PUBSUB",
        "-ERR wrong number of arguments for 'pubsub' command",
    ),
    ("QUIT", "+OK"),
];

fn replies_are_those_of_redis(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for (command, expected) in REPLIES {
        assert_eq!(conn.run(command), *expected, "{command}");
    }
    conn.expect_closed();
}

fn shapes_in_resp3_are_those_of_redis(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("HELLO 3");
    for (command, expected) in [
        (
            "CLIENT TRACKINGINFO",
            "{\"flags\": ~[\"off\"], \"redirect\": :-1, \"prefixes\": []}",
        ),
        (
            "ACL GETUSER default",
            "{\"flags\": ~[\"on\", \"nopass\"], \"passwords\": [], \"commands\": \"+@all\", \"keys\": \"~*\", \"channels\": \"&*\", \"selectors\": []}",
        ),
        ("ACL GETUSER foo", "_"),
        ("MODULE LIST", "[]"),
        ("LATENCY HISTOGRAM nosuch", "{}"),
        ("CONFIG GET timeout", "{\"timeout\": \"0\"}"),
        (
            "COMMAND GETKEYSANDFLAGS get a",
            "[[\"a\", ~[+RO, +access]]]",
        ),
        ("COMMAND INFO nosuch", "[_]"),
    ] {
        assert_eq!(conn.run(command), expected, "{command}");
    }
    assert!(matches!(conn.run("LATENCY DOCTOR"), Reply::Verbatim(..)));
    assert!(matches!(conn.run("CLIENT LIST"), Reply::Verbatim(..)));
    let seconds = conn.run("TIME").array();
    assert_eq!(seconds.len(), 2);
    assert!(seconds[0].string().parse::<u64>().unwrap() > 1_700_000_000);
    assert!(seconds[1].string().parse::<u64>().unwrap() < 1_000_000);
    assert!(conn.run("LASTSAVE").int() > 1_700_000_000);
}

fn client_list_tells_kinds_apart(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut subscriber) = (it.conn(), it.conn());
    let id = subscriber.run("CLIENT ID").int();
    subscriber.run("SUBSCRIBE a");
    subscriber.send(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\np\r\n");
    subscriber.read();
    let listed = conn.run("CLIENT LIST TYPE pubsub").string();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let head = format!("id={id} ");
    assert!(listed.starts_with(&head), "{listed}");
    for part in [" flags=P ", " sub=1 psub=1 ", " resp=2"] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    let normal = conn.run("CLIENT LIST TYPE normal").string();
    assert!(!normal.contains(&head), "{normal}");
    assert_eq!(conn.run("CLIENT LIST TYPE replica"), "\"\"");
    conn.run("CLIENT NO-EVICT on");
    assert!(conn.run("CLIENT INFO").string().contains(" flags=e "));
}

fn client_kill_ends_others_by_what_they_are(setup: Setup) {
    let it = setup.start();
    let mut killer = it.conn();
    let address_of = |conn: &mut Conn| {
        let info = conn.run("CLIENT INFO").string();
        let field = info
            .split(' ')
            .find_map(|field| field.strip_prefix("addr="));
        field.unwrap().to_owned()
    };
    let mut by_id = it.conn();
    let id = by_id.run("CLIENT ID").int();
    assert_eq!(killer.run(&format!("CLIENT KILL ID {id}")), ":1");
    by_id.expect_closed();
    let mut by_address = it.conn();
    let address = address_of(&mut by_address);
    assert_eq!(killer.run(&format!("CLIENT KILL {address}")), "+OK");
    by_address.expect_closed();
    let mut by_address = it.conn();
    let address = address_of(&mut by_address);
    assert_eq!(
        killer.run(&format!("CLIENT KILL ADDR {address} ID 1")),
        ":0"
    );
    assert_eq!(
        killer.run(&format!("CLIENT KILL ADDR {address} USER default")),
        ":1"
    );
    by_address.expect_closed();
    let (mut subscriber, mut normal) = (it.conn(), it.conn());
    subscriber.run("SUBSCRIBE a");
    assert_eq!(killer.run("CLIENT KILL TYPE pubsub"), ":1");
    subscriber.expect_closed();
    normal.run("PING");
    let here = it.resp_addr();
    assert_eq!(
        killer.run(&format!("CLIENT KILL LADDR {here}")),
        ":1",
        "not itself"
    );
    normal.expect_closed();
    assert_eq!(killer.run("PING"), "+PONG");
    eventually("they are off the list", || {
        (killer.run("CLIENT LIST").string().lines().count() == 1).then_some(())
    });
}

fn client_kill_of_oneself_answers_first(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let id = conn.run("CLIENT ID").int();
    assert_eq!(
        conn.run(&format!("CLIENT KILL ID {id}")),
        ":0",
        "itself is left out"
    );
    assert_eq!(conn.run(&format!("CLIENT KILL ID {id} SKIPME no")), ":1");
    conn.expect_closed();
}

fn client_pause_holds_back_everything(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    let began = Instant::now();
    assert_eq!(conn.run("CLIENT PAUSE 300"), "+OK");
    assert_eq!(other.run("PING"), "+PONG");
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
}

fn client_pause_write_lets_reads_through(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    conn.set("key", "1");
    assert_eq!(conn.run("CLIENT PAUSE 60000 WRITE"), "+OK");
    other.send(b"GET key\r\nSET key 2\r\nGET key\r\n");
    assert_eq!(other.read(), "\"1\"", "reads go on, and writes wait");
    assert_eq!(conn.get("key").unwrap(), b"1");
    assert_eq!(conn.run("CLIENT UNPAUSE"), "+OK");
    assert_eq!(other.read(), "+OK");
    assert_eq!(other.read(), "\"2\"");
}

fn client_pause_write_holds_back_messages(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut other) = (it.conn(), it.conn());
    for command in ["PUBLISH", "SPUBLISH"] {
        let began = Instant::now();
        assert_eq!(conn.run("CLIENT PAUSE 300 WRITE"), "+OK");
        assert_eq!(other.run("PING"), "+PONG");
        assert_eq!(other.run(&format!("{command} a x")), ":0");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(300), "{command}: {took:?}");
    }
}

fn debug_and_modules_break_a_transaction(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in ["DEBUG SLEEP 0", "MODULE LOAD x"] {
        conn.run("MULTI");
        assert_eq!(conn.run("SET key 1"), "+QUEUED");
        let reply = conn.run(command);
        let name = command.split(' ').next().unwrap();
        let expected = format!("ERR {name} command not allowed");
        assert!(reply.error().starts_with(&expected), "{reply}");
        assert_eq!(
            conn.run("EXEC"),
            "-EXECABORT Transaction discarded because of previous errors."
        );
    }
    assert_eq!(conn.run("GET key"), "$-1");
}

fn client_reply_leaves_replies_out(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(
        b"CLIENT REPLY OFF\r\nSET a 1\r\nGET a\r\nPING\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n",
    );
    assert_eq!(conn.read(), "+OK");
    assert_eq!(conn.read(), "\"1\"");
    conn.send(b"CLIENT REPLY SKIP\r\nGET a\r\nPING\r\n");
    assert_eq!(conn.read(), "+PONG");
    conn.send(b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO y\r\n");
    assert_eq!(conn.read(), "\"y\"", "the second begins anew");
    conn.send(b"CLIENT REPLY SKIP\r\nNOSUCH\r\nECHO x\r\n");
    assert_eq!(conn.read(), "\"x\"");
    conn.send(b"CLIENT REPLY OFF\r\nCLIENT REPLY foo\r\nSUBSCRIBE c\r\n");
    assert_eq!(
        conn.read(),
        "[\"subscribe\", \"c\", :1]",
        "messages are no replies"
    );
}

const NO_KEYS: &str = "-ERR The command has no key arguments";

/// The ACL categories of each command.
#[rustfmt::skip]
const CATEGORIES: &[(&str, &str)] = &[
    ("acl", "@slow"),
    ("append", "@write @string @fast"),
    ("auth", "@fast @connection"),
    ("bitcount", "@read @bitmap @slow"),
    ("bitfield", "@write @bitmap @slow"),
    ("bitfield_ro", "@read @bitmap @fast"),
    ("bitop", "@write @bitmap @slow"),
    ("bitpos", "@read @bitmap @slow"),
    ("client", "@slow"),
    ("cluster", "@slow"),
    ("command", "@slow @connection"),
    ("config", "@slow"),
    ("copy", "@keyspace @write @slow"),
    ("dbsize", "@keyspace @read @fast"),
    ("debug", "@admin @slow @dangerous"),
    ("decr", "@write @string @fast"),
    ("decrby", "@write @string @fast"),
    ("del", "@keyspace @write @slow"),
    ("discard", "@fast @transaction"),
    ("echo", "@fast @connection"),
    ("exec", "@slow @transaction"),
    ("exists", "@keyspace @read @fast"),
    ("expire", "@keyspace @write @fast"),
    ("expireat", "@keyspace @write @fast"),
    ("expiretime", "@keyspace @read @fast"),
    ("flushall", "@keyspace @write @slow @dangerous"),
    ("flushdb", "@keyspace @write @slow @dangerous"),
    ("get", "@read @string @fast"),
    ("getbit", "@read @bitmap @fast"),
    ("getdel", "@write @string @fast"),
    ("getex", "@write @string @fast"),
    ("getrange", "@read @string @slow"),
    ("getset", "@write @string @fast"),
    ("hello", "@fast @connection"),
    ("incr", "@write @string @fast"),
    ("incrby", "@write @string @fast"),
    ("incrbyfloat", "@write @string @fast"),
    ("info", "@slow @dangerous"),
    ("keys", "@keyspace @read @slow @dangerous"),
    ("lastsave", "@admin @fast @dangerous"),
    ("latency", "@slow"),
    ("lcs", "@read @string @slow"),
    ("memory", "@slow"),
    ("mget", "@read @string @fast"),
    ("module", "@slow"),
    ("monitor", "@admin @slow @dangerous"),
    ("mset", "@write @string @slow"),
    ("msetnx", "@write @string @slow"),
    ("multi", "@fast @transaction"),
    ("object", "@slow"),
    ("persist", "@keyspace @write @fast"),
    ("pexpire", "@keyspace @write @fast"),
    ("pexpireat", "@keyspace @write @fast"),
    ("pexpiretime", "@keyspace @read @fast"),
    ("ping", "@fast @connection"),
    ("psetex", "@write @string @slow"),
    ("psubscribe", "@pubsub @slow"),
    ("pttl", "@keyspace @read @fast"),
    ("publish", "@pubsub @fast"),
    ("pubsub", "@slow"),
    ("punsubscribe", "@pubsub @slow"),
    ("quit", "@fast @connection"),
    ("randomkey", "@keyspace @read @slow"),
    ("readonly", "@fast @connection"),
    ("readwrite", "@fast @connection"),
    ("rename", "@keyspace @write @slow"),
    ("renamenx", "@keyspace @write @fast"),
    ("reset", "@fast @connection"),
    ("role", "@admin @fast @dangerous"),
    ("scan", "@keyspace @read @slow"),
    ("select", "@fast @connection"),
    ("set", "@write @string @slow"),
    ("setbit", "@write @bitmap @slow"),
    ("setex", "@write @string @slow"),
    ("setnx", "@write @string @fast"),
    ("setrange", "@write @string @slow"),
    ("slowlog", "@slow"),
    ("spublish", "@pubsub @fast"),
    ("ssubscribe", "@pubsub @slow"),
    ("strlen", "@read @string @fast"),
    ("subscribe", "@pubsub @slow"),
    ("substr", "@read @string @slow"),
    ("sunsubscribe", "@pubsub @slow"),
    ("time", "@fast"),
    ("touch", "@keyspace @read @fast"),
    ("ttl", "@keyspace @read @fast"),
    ("type", "@keyspace @read @fast"),
    ("unlink", "@keyspace @write @fast"),
    ("unsubscribe", "@pubsub @slow"),
    ("unwatch", "@fast @transaction"),
    ("wait", "@slow @connection"),
    ("watch", "@fast @transaction"),
];

fn commands_are_in_the_categories_of_redis(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for (name, expected) in CATEGORIES {
        let info = conn.run(&format!("COMMAND INFO {name}")).array().remove(0);
        let categories: Vec<String> = info.array()[6]
            .clone()
            .array()
            .iter()
            .map(|category| category.to_string().trim_start_matches('+').to_owned())
            .collect();
        assert_eq!(categories.join(" "), *expected, "{name}");
    }
}

fn command_info_has_the_types_of_redis(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("COMMAND INFO nosuch"), "[$-1]");
    conn.run("HELLO 3");
    assert_eq!(conn.run("COMMAND INFO nosuch"), "[_]");
    assert_eq!(
        conn.run("COMMAND INFO echo"),
        "[[\"echo\", :2, ~[+loading, +stale, +fast], :0, :0, :0, ~[+@fast, +@connection], ~[], ~[], ~[]]]"
    );
}

fn command_getkeys_and_list(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for (command, expected) in [
        ("COMMAND GETKEYS get a", "[\"a\"]"),
        ("COMMAND GETKEYS mset a b c d", "[\"a\", \"c\"]"),
        ("COMMAND GETKEYS set a b ex 10", "[\"a\"]"),
        ("COMMAND GETKEYS foo a", "-ERR Invalid command specified"),
        (
            "COMMAND GETKEYS ping a",
            "-ERR The command has no key arguments",
        ),
        (
            "COMMAND GETKEYS get a b",
            "-ERR Invalid number of arguments specified for command",
        ),
        (
            "COMMAND GETKEYSANDFLAGS set a b",
            "[[\"a\", [+OW, +update]]]",
        ),
        (
            "COMMAND GETKEYSANDFLAGS set a b get",
            "[[\"a\", [+RW, +access, +update]]]",
        ),
        (
            "COMMAND GETKEYSANDFLAGS mget a b",
            "[[\"a\", [+RO, +access]], [\"b\", [+RO, +access]]]",
        ),
        ("COMMAND GETKEYSANDFLAGS del a", "[[\"a\", [+RM, +delete]]]"),
        ("COMMAND GETKEYSANDFLAGS exists a", "[[\"a\", [+RO]]]"),
        (
            "COMMAND GETKEYSANDFLAGS expire a 1",
            "[[\"a\", [+RW, +update]]]",
        ),
    ] {
        assert_eq!(conn.run(command), expected, "{command}");
    }
    for (command, expected) in [
        ("object encoding k", "[[\"k\", [+RO]]]"),
        ("memory usage k samples 5", "[[\"k\", [+RO]]]"),
        ("object help", NO_KEYS),
        ("memory doctor", NO_KEYS),
        ("config get x", NO_KEYS),
        ("spublish a b", NO_KEYS),
        ("ssubscribe a b", NO_KEYS),
        ("sunsubscribe a", NO_KEYS),
        ("object nosuch k", "-ERR Invalid command specified"),
        ("config nosuch x", "-ERR Invalid command specified"),
        (
            "object encoding",
            "-ERR Invalid number of arguments specified for command",
        ),
        ("bitfield k", "[[\"k\", [+RO, +access]]]"),
        (
            "bitfield k get u8 0 overflow sat get u8 1",
            "[[\"k\", [+RO, +access]]]",
        ),
        (
            "bitfield k get u8 0 set u8 0 1",
            "[[\"k\", [+RW, +access, +update]]]",
        ),
        ("bitfield k get u8", "[[\"k\", [+RW, +access, +update]]]"),
    ] {
        let reply = conn.run(&format!("COMMAND GETKEYSANDFLAGS {command}"));
        assert_eq!(reply, expected, "{command}");
    }
    let names = |reply: Reply| -> Vec<String> { reply.array().iter().map(Reply::string).collect() };
    assert!(names(conn.run("COMMAND LIST")).contains(&"get".to_owned()));
    let some = names(conn.run("COMMAND LIST FILTERBY PATTERN ech*"));
    assert_eq!(some, ["echo"]);
    let strings = names(conn.run("COMMAND LIST FILTERBY ACLCAT string"));
    assert!(strings.contains(&"mset".to_owned()) && !strings.contains(&"del".to_owned()));
    assert!(names(conn.run("ACL CAT pubsub")).contains(&"publish".to_owned()));
    assert!(names(conn.run("ACL CAT")).contains(&"string".to_owned()));
    let docs = conn.run("COMMAND DOCS get").to_string();
    for part in [
        "\"summary\"",
        "\"since\", \"1.0.0\"",
        "\"group\", \"string\"",
        "\"complexity\"",
    ] {
        assert!(docs.contains(part), "{part} in {docs}");
    }
}

fn config_set_changes_what_config_get_shows(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for name in [
        "slowlog-log-slower-than",
        "slowlog-max-len",
        "latency-monitor-threshold",
        "timeout",
    ] {
        assert_eq!(conn.run(&format!("CONFIG SET {name} 77")), "+OK");
        let expected = format!("[\"{name}\", \"77\"]");
        assert_eq!(conn.run(&format!("CONFIG GET {name}")), expected.as_str());
        assert_eq!(
            conn.run(&format!("CONFIG SET {} 0", name.to_uppercase())),
            "+OK"
        );
    }
    assert_eq!(conn.run("CONFIG GET slowlog*").array().len(), 4);
    assert_eq!(conn.run("CONFIG GET save timeout").array().len(), 4);
}

fn config_set_is_all_or_nothing(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in [
        "CONFIG SET slowlog-max-len 5 nosuch 1",
        "CONFIG SET slowlog-max-len 5 timeout -1",
        "CONFIG SET slowlog-max-len 5 databases 2",
    ] {
        assert!(conn.run(command).is_error(), "{command}");
    }
    assert_eq!(
        conn.run("CONFIG GET slowlog-max-len"),
        "[\"slowlog-max-len\", \"128\"]"
    );
}

fn slowlog_has_slow_commands(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("CLIENT SETNAME joe");
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    conn.set("key", "x".repeat(200));
    let mut many: Vec<Vec<u8>> = vec![b"EXISTS".to_vec()];
    many.extend((0..40).map(|n| n.to_string().into_bytes()));
    conn.cmd(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
    conn.run("CONFIG SET slowlog-log-slower-than -1");
    // Together with the two CONFIG SETs, of which the first took effect while it was timed.
    let length = conn.run("SLOWLOG LEN").int();
    assert!((3..=4).contains(&length), "{length}");
    let entries = conn.run("SLOWLOG GET").array();
    let entry = |name: &str| {
        let found = entries.iter().find(|entry| {
            let words = (*entry).clone().array()[3].clone().array();
            words[0].string() == name
        });
        found
            .unwrap_or_else(|| panic!("{name} in {entries:?}"))
            .clone()
            .array()
    };
    let set = entry("SET");
    assert_eq!(set.len(), 6);
    assert!(set[0].int() >= 0);
    assert!(set[1].int() > 1_700_000_000);
    assert!(set[2].int() >= 0);
    let cut = format!("{}... (72 more bytes)", "x".repeat(128));
    assert_eq!(set[3].clone().array()[2].string(), cut);
    assert!(set[4].string().starts_with("127.0.0.1:"), "{}", set[4]);
    assert_eq!(set[5], "\"joe\"");
    let words = entry("EXISTS")[3].clone().array();
    assert_eq!(words.len(), 32);
    assert_eq!(words[31], "\"... (10 more arguments)\"");
    assert_eq!(conn.run("SLOWLOG GET 1").array().len(), 1);
    assert_eq!(conn.run("SLOWLOG GET 0").array().len(), 0);
    assert_eq!(conn.run("SLOWLOG RESET"), "+OK");
    assert_eq!(conn.run("SLOWLOG LEN"), ":0");
}

fn slowlog_keeps_no_passwords(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    for command in [
        "AUTH default secret",
        "HELLO 2 SETNAME auth AUTH default secret",
        "ACL SETUSER joe on >secret",
        "CONFIG SET slowlog-max-len 100 masterauth secret",
        "MIGRATE 127.0.0.1 1 key 0 10 AUTH secret",
        "MIGRATE 127.0.0.1 1 key 0 10 AUTH2 joe secret",
    ] {
        conn.run(command);
    }
    let kept = conn.run("SLOWLOG GET 100").to_string();
    for shown in [
        r#"["AUTH", "(redacted)", "(redacted)"]"#,
        r#"["HELLO", "2", "SETNAME", "auth", "AUTH", "(redacted)", "(redacted)"]"#,
        r#"["ACL", "SETUSER", "(redacted)", "(redacted)", "(redacted)"]"#,
        r#"["CONFIG", "SET", "slowlog-max-len", "100", "masterauth", "(redacted)"]"#,
    ] {
        assert!(kept.contains(shown), "{shown} in {kept}");
    }
    assert!(!kept.contains("secret"), "{kept}");
}

fn latency_has_histograms_and_samples(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for _ in 0..5 {
        conn.run("EXISTS a");
    }
    let histogram = conn.run("LATENCY HISTOGRAM exists").array();
    assert_eq!(histogram[0], "\"exists\"");
    let described = histogram[1].clone().array();
    assert_eq!(described[0], "\"calls\"");
    assert_eq!(described[1], ":5");
    assert_eq!(described[2], "\"histogram_usec\"");
    let bounds = described[3].clone().array();
    assert_eq!(bounds.last().unwrap().int(), 5, "{bounds:?}");
    let all = conn.run("INFO commandstats").string();
    assert!(all.contains("cmdstat_exists:calls=5,usec="), "{all}");
    let all = conn.run("INFO latencystats").string();
    assert!(
        all.contains("latency_percentiles_usec_exists:p50="),
        "{all}"
    );
    assert_eq!(conn.run("CONFIG RESETSTAT"), "+OK");
    assert!(
        !conn
            .run("INFO commandstats")
            .string()
            .contains("cmdstat_exists")
    );
}

fn info_has_what_exporters_read(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("key", "value");
    conn.run("NOSUCH");
    let info = conn.run("INFO").string();
    let all = conn.run("INFO everything").string();
    for field in [
        "redis_version",
        "redis_mode",
        "os",
        "arch_bits",
        "process_id",
        "run_id",
        "tcp_port",
        "uptime_in_seconds",
        "uptime_in_days",
        "hz",
        "lru_clock",
        "connected_clients",
        "maxclients",
        "blocked_clients",
        "used_memory",
        "used_memory_human",
        "used_memory_rss",
        "used_memory_peak",
        "used_memory_overhead",
        "used_memory_startup",
        "used_memory_dataset",
        "number_of_functions",
        "lazyfreed_objects",
        "total_system_memory",
        "maxmemory",
        "maxmemory_policy",
        "mem_fragmentation_ratio",
        "loading",
        "rdb_changes_since_last_save",
        "rdb_last_save_time",
        "aof_enabled",
        "total_connections_received",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "rejected_connections",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "pubsub_channels",
        "pubsub_patterns",
        "role",
        "connected_slaves",
        "master_replid",
        "master_repl_offset",
        "used_cpu_sys",
        "used_cpu_user",
        "used_cpu_sys_main_thread",
        "used_cpu_user_main_thread",
        "unexpected_error_replies",
        "cluster_enabled",
        "errorstat_ERR",
        "db0",
    ] {
        assert!(info.contains(&format!("\r\n{field}:")), "{field} in {info}");
        assert!(all.contains(&format!("\r\n{field}:")), "{field} in {all}");
    }
    assert!(info.contains("\r\ndb0:keys=1,expires=0,"), "{info}");
    assert!(!info.contains("# Commandstats"), "{info}");
    assert!(
        all.contains("# Commandstats") && all.contains("# Latencystats"),
        "{all}"
    );
    let replication_id = info.split("master_replid:").nth(1).unwrap();
    assert_eq!(replication_id.split("\r\n").next().unwrap().len(), 40);
}

fn idle_clients_are_closed_after_the_timeout(setup: Setup) {
    let it = setup.start();
    let (mut conn, mut idle, mut subscriber) = (it.conn(), it.conn(), it.conn());
    idle.run("PING");
    subscriber.run("SUBSCRIBE a");
    assert_eq!(conn.run("CONFIG SET timeout 1"), "+OK");
    idle.expect_closed();
    assert_eq!(
        subscriber.run("PING"),
        "[\"pong\", \"\"]",
        "who waits for messages stays"
    );
}

fn redis_cli_knows_what_follows_a_command(setup: Setup) {
    let it = setup.start();
    // A prompt, though nobody sits there: it asks for COMMAND DOCS.
    let printed = redis_cli(&it.resp_addr(), &[], b"help set\nhelp mget\n");
    for part in [
        "key value [NX|XX] [GET] [EX seconds|PX milliseconds",
        "key [key ...]",
        "group:",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
}

/// What Redis does otherwise.
mod of_its_own {
    use super::*;

    both_backends!(
        what_is_not_served_is_refused,
        info_has_a_section_of_its_own,
        a_slow_pipeline_has_one_entry,
        slowlog_keeps_no_passwords_of_what_was_refused,
        a_pause_is_of_a_day_at_most,
        the_key_of_proxy_shard_is_one,
    );
}

fn what_is_not_served_is_refused(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for command in [
        "DEBUG SLEEP 0",
        "DEBUG JMAP",
        "CLIENT TRACKING on",
        "ACL SETUSER x",
        "MODULE LOAD x",
        "CONFIG SET maxmemory 1gb",
    ] {
        let reply = conn.run(command);
        assert!(reply.is_error(), "{command}: {reply}");
        assert!(!reply.error().contains("unknown"), "{command}: {reply}");
    }
    assert_eq!(conn.run("CLIENT NO-TOUCH on"), "+OK");
    for command in ["MEMORY STATS", "MEMORY DOCTOR", "MEMORY MALLOC-STATS"] {
        assert!(!conn.run(command).is_error(), "{command}");
    }
    for container in [
        "CLIENT", "COMMAND", "CONFIG", "SLOWLOG", "LATENCY", "MEMORY", "PUBSUB", "ACL", "MODULE",
        "PROXY",
    ] {
        let help = conn.run(&format!("{container} HELP")).array();
        assert!(
            help[0].to_string().starts_with(&format!("+{container}")),
            "{}",
            help[0]
        );
    }
    assert_eq!(conn.run("PING"), "+PONG");
}

fn info_has_a_section_of_its_own(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let own = conn.run("INFO respgres").string();
    for field in [
        "respgres_version",
        "respgres_shards:3",
        "respgres_cache:up",
        "shard_0:up",
        "shard_2:up",
    ] {
        assert!(own.contains(field), "{field} in {own}");
    }
    assert_eq!(
        conn.run("INFO commandstats commandstats")
            .string()
            .matches('#')
            .count(),
        1
    );
}

fn a_slow_pipeline_has_one_entry(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    conn.run("SLOWLOG RESET");
    conn.send(b"SET a 1\r\nGET a\r\nGET b\r\n");
    for _ in 0..3 {
        conn.read();
    }
    let entries = conn.run("SLOWLOG GET").array();
    let words = entries[0].clone().array()[3].to_string();
    assert_eq!(words, "[\"SET\", \"a\", \"1\", \"... (2 more commands)\"]");
}

fn slowlog_keeps_no_passwords_of_what_was_refused(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    for command in [
        "AUTH default default secret",
        "HELLO AUTH default secret",
        "HELLO 2 AUTH default",
        "ACL NOSUCH joe >secret",
        "CONFIG SET requirepass a secret",
        "AUHT secret",
    ] {
        assert!(conn.run(command).is_error(), "{command}");
    }
    let kept = conn.run("SLOWLOG GET").to_string();
    assert!(kept.contains(r#"["AUHT", "(redacted)"]"#), "{kept}");
    assert!(!kept.contains("secret"), "{kept}");
}

fn a_pause_is_of_a_day_at_most(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for millis in ["9223372036854775807", "86400001"] {
        assert_eq!(
            conn.run(&format!("CLIENT PAUSE {millis}")),
            "-ERR timeout is out of range"
        );
    }
    assert_eq!(conn.run("PING"), "+PONG");
    assert_eq!(conn.run("CLIENT PAUSE 86400000 WRITE"), "+OK");
    assert_eq!(conn.run("CLIENT UNPAUSE"), "+OK");
    assert_eq!(conn.run("PUBLISH a x"), ":0");
}

fn the_key_of_proxy_shard_is_one(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    assert_eq!(conn.run("COMMAND GETKEYS proxy shard k"), "[\"k\"]");
    assert_eq!(conn.run("COMMAND GETKEYS proxy shards x"), NO_KEYS);
}
