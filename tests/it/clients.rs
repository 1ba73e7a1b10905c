//! What people connect with: the start-up sequences of the known clients as bytes, redis-cli, redis-benchmark, the redis
//! crate.

use redis::Commands;

use crate::harness::{Reply, Setup, args, encode, redis_benchmark, redis_cli, with_reference};

with_reference!(
    start_up_sequences_are_answered_so_that_clients_go_on,
    fred_greets_inline,
    redis_cli_runs_single_commands,
    redis_cli_runs_a_file_of_commands,
    redis_cli_pipes_a_protocol_file,
    redis_cli_speaks_resp3,
    redis_cli_tells_errors,
    redis_cli_reads_and_writes_binary,
    redis_cli_selects_no_other_database,
    redis_benchmark_runs_clean,
    the_redis_crate_reads_and_writes,
    the_redis_crate_speaks_resp3,
    the_redis_crate_pipelines,
);

/// What is sent before the first command, and for each part whether an error is tolerated by that client.
const START_UPS: &[(&str, &[(&str, bool)])] = &[
    (
        "redis-py 8",
        &[
            ("HELLO 3", false),
            (
                "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip",
                true,
            ),
            ("CLIENT SETINFO LIB-NAME redis-py", true),
            ("CLIENT SETINFO LIB-VER 8.1.0", true),
        ],
    ),
    (
        "redis-py 5 with RESP2",
        &[
            ("CLIENT SETINFO LIB-NAME redis-py", true),
            ("CLIENT SETINFO LIB-VER 5.0.1", true),
        ],
    ),
    (
        "redis-rs with RESP3",
        &[
            ("HELLO 3", false),
            ("CLIENT SETINFO LIB-NAME redis-rs", true),
            ("CLIENT SETINFO LIB-VER 1.0", true),
        ],
    ),
    ("coredis", &[("HELLO 3", false)]),
    (
        "valkey-glide",
        &[
            ("HELLO 3", false),
            ("CLIENT SETINFO LIB-NAME GlidePy", true),
            ("CLIENT SETINFO LIB-VER 1.0", true),
            ("INFO REPLICATION", false),
        ],
    ),
    (
        "ioredis",
        &[
            ("client SETINFO LIB-NAME ioredis", true),
            ("client SETINFO LIB-VER 5", true),
            ("info", false),
        ],
    ),
    ("node-redis 3", &[("info", false)]),
    (
        "node-redis 5",
        &[
            ("HELLO 3", false),
            ("CLIENT SETINFO LIB-NAME node-redis", true),
            ("CLIENT SETINFO LIB-VER 5.0.0", true),
            ("CLIENT MAINT_NOTIFICATIONS ON", true),
        ],
    ),
    (
        "fred",
        &[
            ("PING", false),
            ("CLIENT ID", false),
            ("INFO server", false),
        ],
    ),
    ("redis-cli at a prompt", &[("COMMAND DOCS", false)]),
    ("redis-cli -n 0", &[("SELECT 0", false)]),
    (
        "redis-benchmark",
        &[("CONFIG GET save", false), ("CONFIG GET appendonly", false)],
    ),
    (
        "an older client with a password and a name",
        &[
            ("AUTH default secret", false),
            ("CLIENT SETNAME worker", false),
        ],
    ),
];

fn start_up_sequences_are_answered_so_that_clients_go_on(setup: Setup) {
    let it = setup.start();
    for (client, start_up) in START_UPS {
        let mut conn = it.conn();
        // All at once, and the first command behind: clients pipeline their handshake.
        let mut packet = Vec::new();
        for (command, _) in *start_up {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            packet.extend(encode(&words));
        }
        packet.extend(encode(&args!["SET", "key", client]));
        packet.extend(encode(&args!["GET", "key"]));
        conn.send(&packet);
        for (command, may_fail) in *start_up {
            let reply = conn.read();
            assert!(
                *may_fail || !reply.is_error(),
                "{client}: {command}: {reply}"
            );
        }
        assert_eq!(conn.read(), "+OK", "{client}");
        assert_eq!(conn.read().string(), *client);
        assert_eq!(conn.run("QUIT"), "+OK", "{client}");
        conn.expect_closed();
    }
}

fn fred_greets_inline(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.send(b"HELLO 3\r\n");
    assert!(matches!(conn.read(), Reply::Map(_)));
    assert_eq!(conn.run("GET nosuch"), "_");
}

fn redis_cli_runs_single_commands(setup: Setup) {
    let it = setup.start();
    let cli = |args: &[&str]| redis_cli(&it.resp_addr(), args, b"");
    assert_eq!(cli(&["set", "user:123", "John Doe"]), "OK\n");
    assert_eq!(cli(&["get", "user:123"]), "John Doe\n");
    assert_eq!(cli(&["get", "nosuch"]), "\n");
    assert_eq!(cli(&["--no-raw", "get", "nosuch"]), "(nil)\n");
    assert_eq!(
        cli(&["--no-raw", "mget", "user:123", "nosuch"]),
        "1) \"John Doe\"\n2) (nil)\n"
    );
    assert_eq!(cli(&["--no-raw", "del", "user:123"]), "(integer) 1\n");
    assert_eq!(cli(&["--no-raw", "ttl", "user:123"]), "(integer) -2\n");
    assert_eq!(cli(&["ping"]), "PONG\n");
    assert!(cli(&["info", "server"]).contains("redis_version:"));
}

fn redis_cli_runs_a_file_of_commands(setup: Setup) {
    let it = setup.start();
    let file = b"set a 1\nset b \"two words\"\nmget a b nosuch\n\nset c 3 ex 1000\nexists a b c d\nfoo\nget a\n";
    let printed = redis_cli(&it.resp_addr(), &["--no-raw"], file);
    for expected in [
        "1) \"1\"\n2) \"two words\"\n3) (nil)\n",
        "(integer) 3\n",
        "(error) ERR unknown command 'foo'",
    ] {
        assert!(printed.contains(expected), "{expected:?} in {printed}");
    }
    assert!(
        printed.ends_with("\"1\"\n"),
        "it goes on after the error: {printed}"
    );
}

fn redis_cli_pipes_a_protocol_file(setup: Setup) {
    let it = setup.start();
    let mut file = Vec::new();
    for n in 0..2000 {
        file.extend(encode(&args![
            "SET",
            format!("key:{n}"),
            format!("value {n}")
        ]));
    }
    let printed = redis_cli(&it.resp_addr(), &["--pipe"], &file);
    assert!(printed.contains("errors: 0, replies: 2000"), "{printed}");
    let mut conn = it.conn();
    assert_eq!(conn.run("DBSIZE"), ":2000");
    assert_eq!(conn.get("key:1999").unwrap(), b"value 1999");
}

fn redis_cli_speaks_resp3(setup: Setup) {
    let it = setup.start();
    let cli = |args: &[&str]| redis_cli(&it.resp_addr(), args, b"");
    assert_eq!(cli(&["-3", "set", "key", "value"]), "OK\n");
    assert_eq!(cli(&["-3", "--no-raw", "get", "key"]), "\"value\"\n");
    assert_eq!(cli(&["-3", "--no-raw", "get", "nosuch"]), "(nil)\n");
    assert!(cli(&["-3", "--no-raw", "hello"]).contains("\"proto\" => (integer) 3"));
}

fn redis_cli_tells_errors(setup: Setup) {
    let it = setup.start();
    let printed = redis_cli(&it.resp_addr(), &["get"], b"");
    assert!(
        printed.contains("ERR wrong number of arguments for 'get' command"),
        "{printed}"
    );
}

fn redis_cli_reads_and_writes_binary(setup: Setup) {
    let it = setup.start();
    let value = "a\0\u{1}line\nline";
    assert_eq!(
        redis_cli(&it.resp_addr(), &["-x", "set", "key"], value.as_bytes()),
        "OK\n"
    );
    assert_eq!(it.conn().get("key").unwrap(), value.as_bytes());
    assert_eq!(
        redis_cli(&it.resp_addr(), &["get", "key"], b""),
        format!("{value}\n")
    );
}

fn redis_cli_selects_no_other_database(setup: Setup) {
    let it = setup.start();
    it.conn().set("key", "value");
    let (host, port) = it
        .resp_addr()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let mut command = std::process::Command::new("redis-cli");
    let output = command
        .args(["-h", &host, "-p", &port, "-n", "1", "get", "key"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("DB index is out of range"), "{printed}");
}

fn redis_benchmark_runs_clean(setup: Setup) {
    let it = setup.start();
    for args in [
        &[
            "-t", "set,get", "-n", "5000", "-c", "20", "-P", "16", "-r", "1000", "-q",
        ][..],
        &["-t", "set,get,ping,mset", "-n", "500", "-c", "10", "-q"],
        &["-3", "-t", "set,get", "-n", "500", "-c", "10", "-q"],
    ] {
        let printed = redis_benchmark(&it.resp_addr(), args);
        assert!(
            printed.contains("SET:") && printed.contains("GET:"),
            "{printed}"
        );
        assert!(!printed.to_lowercase().contains("error"), "{printed}");
    }
    assert!(it.conn().run("DBSIZE").int() > 500);
}

fn connect(addr: &str, parameters: &str) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{addr}/{parameters}")).unwrap();
    client.get_connection().unwrap()
}

fn the_redis_crate_reads_and_writes(setup: Setup) {
    let it = setup.start();
    check_redis_crate(&mut connect(&it.resp_addr(), ""));
}

fn the_redis_crate_speaks_resp3(setup: Setup) {
    let it = setup.start();
    check_redis_crate(&mut connect(&it.resp_addr(), "?protocol=resp3"));
}

fn check_redis_crate(client: &mut redis::Connection) {
    let () = client.set("key", "value").unwrap();
    let value: String = client.get("key").unwrap();
    assert_eq!(value, "value");
    let nothing: Option<String> = client.get("nosuch").unwrap();
    assert_eq!(nothing, None);
    let options = redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(1000));
    let () = client.set_options("short", b"\0\xff", options).unwrap();
    let ttl: i64 = client.ttl("short").unwrap();
    assert!((900..=1000).contains(&ttl), "{ttl}");
    let bytes: Vec<u8> = client.get("short").unwrap();
    assert_eq!(bytes, b"\0\xff");
    let many: Vec<Option<Vec<u8>>> = client.mget(&["key", "nosuch", "short"]).unwrap();
    assert_eq!(
        many,
        [Some(b"value".to_vec()), None, Some(b"\0\xff".to_vec())]
    );
    let gone: i64 = client.del(&["key", "nosuch"]).unwrap();
    assert_eq!(gone, 1);
    let there: bool = client.exists("key").unwrap();
    assert!(!there);
    let error = redis::cmd("GET").query::<String>(client).unwrap_err();
    assert!(
        error.to_string().contains("wrong number of arguments"),
        "{error}"
    );
    let pong: String = redis::cmd("PING").query(client).unwrap();
    assert_eq!(pong, "PONG");
}

fn the_redis_crate_pipelines(setup: Setup) {
    let it = setup.start();
    let mut client = connect(&it.resp_addr(), "");
    let mut pipeline = redis::pipe();
    for n in 0..500 {
        pipeline
            .set(format!("key:{n}"), n)
            .ignore()
            .get(format!("key:{n}"));
    }
    let values: Vec<i64> = pipeline.query(&mut client).unwrap();
    assert_eq!(values, (0..500).collect::<Vec<i64>>());
}
