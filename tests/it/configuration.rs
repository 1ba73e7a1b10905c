//! Configuration: environment, `.env`, flags; every mistake at once, each by its name; no password in what is printed.

use serde_json::Value;

use crate::harness::{
    Proxy, ProxyBuilder, RedisServer, Scratch, Setup, Shards, blank_databases, eventually,
    redis_cli,
};

const VARIABLES: [&str; 13] = [
    "SHARD_n_URL",
    "NUM_SHARDS",
    "REDIS_URL",
    "DB_POOL_MIN_SIZE",
    "DB_POOL_MAX_SIZE",
    "CACHE_TTL",
    "RESP_ADDR",
    "HTTP_ADDR",
    "DATA_DIR",
    "MAX_VALUE_SIZE",
    "SHUTDOWN_TIMEOUT_MS",
    "RUST_LOG",
    "LOG_FORMAT",
];

#[test]
fn without_configuration_it_runs_embedded_in_its_data_directory() {
    let dir = Scratch::new("plain");
    let proxy = ProxyBuilder::new(dir.path()).start();
    assert_eq!(
        redis_cli(proxy.resp_addr(), &["set", "user:123", "John Doe"], b""),
        "OK\n"
    );
    assert_eq!(
        redis_cli(proxy.resp_addr(), &["get", "user:123"], b""),
        "John Doe\n"
    );
    assert_eq!(proxy.http().value_and_origin("user:123").0, "John Doe");
    let data = dir.join("respgres-data");
    assert_eq!(Shards::in_data_dir(&data).count(), 3);
    assert_eq!(Shards::in_data_dir(&data).holding(b"user:123"), [2]);
    let log = proxy.log();
    assert!(
        log.contains("respgres-data"),
        "it says where the data is: {log}"
    );
    assert!(
        log.to_lowercase().contains("sqlite"),
        "it says on what it runs: {log}"
    );
}

#[test]
fn it_says_at_start_on_what_it_runs() {
    let it = Setup::postgres().start();
    let log = it.proxy().log();
    assert!(log.to_lowercase().contains("postgres"), "{log}");
    assert!(log.to_lowercase().contains("redis"), "{log}");
    let lines = log.lines().count();
    assert!(lines < 30, "a few lines, not {lines}: {log}");
}

#[test]
fn every_mistake_is_told_in_one_go_with_its_name() {
    let dir = Scratch::new("mistakes");
    let words = ProxyBuilder::new(dir.path())
        .env("SHARD_0_URL", "mysql://user@localhost/db")
        .env("SHARD_2_URL", "postgresql://user@127.0.0.1:1/db")
        .env("NUM_SHARDS", "many")
        .env("REDIS_URL", "http://localhost")
        .env("DB_POOL_MIN_SIZE", "-1")
        .env("DB_POOL_MAX_SIZE", "x")
        .env("CACHE_TTL", "5 minutes")
        .env("RESP_ADDR", "nowhere")
        .env("HTTP_ADDR", "127.0.0.1:99999")
        .env("MAX_VALUE_SIZE", "huge")
        .env("SHUTDOWN_TIMEOUT_MS", "soon")
        .env("LOG_FORMAT", "xml")
        .run_refused();
    for name in [
        "SHARD_0_URL",
        "SHARD_1_URL",
        "NUM_SHARDS",
        "REDIS_URL",
        "DB_POOL_MIN_SIZE",
        "DB_POOL_MAX_SIZE",
        "CACHE_TTL",
        "RESP_ADDR",
        "HTTP_ADDR",
        "MAX_VALUE_SIZE",
        "SHUTDOWN_TIMEOUT_MS",
        "LOG_FORMAT",
    ] {
        assert!(words.contains(name), "{name} in: {words}");
    }
    assert!(!dir.join("respgres-data").exists(), "nothing is made");
}

#[test]
fn single_mistakes_are_refused() {
    let dir = Scratch::new("mistakes");
    let url = "postgresql://user@127.0.0.1:1/db";
    let cases: [(&str, &[(&str, &str)]); 13] = [
        ("NUM_SHARDS", &[("NUM_SHARDS", "0")]),
        ("NUM_SHARDS", &[("NUM_SHARDS", "-3")]),
        ("NUM_SHARDS", &[("NUM_SHARDS", "2"), ("SHARD_0_URL", url)]),
        ("NUM_SHARDS", &[("NUM_SHARDS", "99999999999")]),
        ("SHARD_0_URL", &[("SHARD_1_URL", url)]),
        ("SHARD_1_URL", &[("SHARD_0_URL", url), ("SHARD_2_URL", url)]),
        ("SHARD_0_URL", &[("SHARD_0_URL", "postgresql://")]),
        ("DB_POOL_MAX_SIZE", &[("DB_POOL_MAX_SIZE", "0")]),
        (
            "DB_POOL_MIN_SIZE",
            &[("DB_POOL_MIN_SIZE", "20"), ("DB_POOL_MAX_SIZE", "10")],
        ),
        ("CACHE_TTL", &[("CACHE_TTL", "0")]),
        ("CACHE_TTL", &[("CACHE_TTL", "-1")]),
        ("REDIS_URL", &[("REDIS_URL", "localhost:6379")]),
        ("MAX_VALUE_SIZE", &[("MAX_VALUE_SIZE", "0")]),
    ];
    for (name, env) in cases {
        let mut builder = ProxyBuilder::new(dir.path());
        for (name, value) in env {
            builder = builder.env(name, *value);
        }
        let words = builder.run_refused();
        assert!(words.contains(name), "{env:?}: {words}");
    }
    assert!(!dir.join("respgres-data").exists(), "nothing is made");
}

#[test]
fn unknown_flags_are_refused_with_their_name() {
    let dir = Scratch::new("mistakes");
    let words = ProxyBuilder::new(dir.path())
        .flag("--no-such-flag")
        .run_refused();
    assert!(words.contains("--no-such-flag"), "{words}");
}

#[test]
fn a_port_that_is_taken_is_told_with_its_variable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for name in ["RESP_ADDR", "HTTP_ADDR"] {
        let dir = Scratch::new("mistakes");
        let words = ProxyBuilder::new(dir.path())
            .env(name, addr.as_str())
            .run_refused();
        assert!(words.contains(name) && words.contains(&addr), "{words}");
    }
}

#[test]
fn help_lists_every_variable_and_starts_nothing() {
    let dir = Scratch::new("help");
    let exit = ProxyBuilder::new(dir.path()).flag("--help").run();
    assert_eq!(exit.code, 0);
    for name in VARIABLES {
        assert!(exit.output.contains(name), "{name} in: {}", exit.output);
    }
    for default in [
        "127.0.0.1:6379",
        "127.0.0.1:8004",
        "300",
        "16777216",
        "respgres-data",
    ] {
        assert!(
            exit.output.contains(default),
            "the default {default} in: {}",
            exit.output
        );
    }
    let serve = ProxyBuilder::new(dir.path()).flag("serve").flag("--help");
    let serve = serve.run();
    assert_eq!(serve.code, 0);
    let variable = |line: &&str| line.contains("[env: ");
    assert_eq!(
        serve.output.lines().filter(variable).collect::<Vec<_>>(),
        exit.output.lines().filter(variable).collect::<Vec<_>>()
    );
    assert!(!dir.join("respgres-data").exists());
    let exit = ProxyBuilder::new(dir.path()).flag("--version").run();
    assert_eq!(exit.code, 0);
    assert!(
        exit.output.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        exit.output
    );
}

/// The shards a running proxy has, which tells where NUM_SHARDS came from.
fn num_shards(proxy: &Proxy) -> u64 {
    proxy.http().stats()["num_shards"].as_u64().unwrap()
}

#[test]
fn a_dot_env_file_is_read_the_environment_wins_over_it_and_flags_over_both() {
    let dir = Scratch::new("dotenv");
    let dot_env = "# comment\nNUM_SHARDS=2\nDATA_DIR=\"from file\"\nRESP_ADDR=127.0.0.1:0\nHTTP_ADDR=127.0.0.1:0\n";
    std::fs::write(dir.join(".env"), dot_env).unwrap();
    let plain = ProxyBuilder::new(dir.path())
        .without_env("RESP_ADDR")
        .without_env("HTTP_ADDR");
    let proxy = plain.clone().start();
    assert_eq!(num_shards(&proxy), 2);
    assert!(dir.join("from file").is_dir());
    drop(proxy);
    let env = plain
        .env("NUM_SHARDS", "4")
        .env("DATA_DIR", "from environment");
    let proxy = env.clone().start();
    assert_eq!(num_shards(&proxy), 4);
    drop(proxy);
    let flags = env
        .flag("--num-shards")
        .flag("5")
        .flag("--data-dir=from flag");
    let proxy = flags.start();
    assert_eq!(num_shards(&proxy), 5);
    assert!(dir.join("from flag").is_dir());
}

#[test]
fn mistakes_in_a_dot_env_file_are_told_as_well() {
    let dir = Scratch::new("dotenv");
    std::fs::write(dir.join(".env"), "CACHE_TTL=soon\nNUM_SHARDS=some\n").unwrap();
    let words = ProxyBuilder::new(dir.path()).run_refused();
    assert!(
        words.contains("CACHE_TTL") && words.contains("NUM_SHARDS"),
        "{words}"
    );
}

#[test]
fn shards_and_cache_may_be_of_different_kinds() {
    let dir = Scratch::new("mixed");
    let redis = RedisServer::start();
    let sqlite = format!("sqlite:{}", dir.join("shard.db").display());
    let urls = [blank_databases(1).remove(0), sqlite];
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&urls)
        .env("REDIS_URL", redis.url())
        .start();
    for key in crate::harness::keys_on_each(2, "key") {
        proxy.conn().set(&key, "value");
        proxy.http().read(&key).expect(200);
        assert_eq!(
            proxy.http().value_and_origin(&key),
            ("value".to_owned(), true)
        );
    }
    let memory = ProxyBuilder::new(dir.path())
        .shard_urls(&blank_databases(2))
        .env("REDIS_URL", "memory:")
        .start();
    memory.conn().set("key", "value");
    memory.conn().get("key");
    assert_eq!(
        memory.http().value_and_origin("key"),
        ("value".to_owned(), true)
    );
}

#[test]
fn passwords_are_never_printed() {
    let dir = Scratch::new("passwords");
    let redis = RedisServer::start();
    let urls: Vec<String> = blank_databases(2)
        .iter()
        .map(|url| url.replace("respgres@", "respgres:hunter2@"))
        .collect();
    let redis_url = redis.url().replace("redis://", "redis://default:hunter3@");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&urls)
        .env("REDIS_URL", redis_url)
        .env("RUST_LOG", "respgres=trace,debug")
        .start();
    proxy.conn().run("SET key value");
    proxy.conn().run("GET key");
    proxy.http().health();
    // A shard and a cache that can't be reached, and mistakes beside them.
    let unreachable = ProxyBuilder::new(dir.path())
        .env(
            "SHARD_0_URL",
            "postgresql://user:hunter2@127.0.0.1:1/db?password=hunter4",
        )
        .env("REDIS_URL", "redis://:hunter3@127.0.0.1:1/0")
        .env("RUST_LOG", "trace")
        .start();
    assert!(unreachable.conn().run("GET key").is_error());
    eventually("it has tried", || {
        (unreachable.http().health().1["status"] == "unhealthy").then_some(())
    });
    let words = ProxyBuilder::new(dir.path())
        .env("SHARD_0_URL", "mysql://user:hunter2@localhost/db")
        .env("SHARD_1_URL", "postgresql://user:hunter2@host:port/db")
        .env("REDIS_URL", "rediss//:hunter3@localhost")
        .run_refused();
    for printed in [proxy.log(), unreachable.log(), words] {
        for secret in ["hunter2", "hunter3", "hunter4"] {
            assert!(!printed.contains(secret), "{secret} is in: {printed}");
        }
    }
}

#[test]
fn log_format_json_prints_a_json_object_a_line() {
    let flag = |builder: ProxyBuilder| builder.flag("--log-format").flag("json");
    let env = |builder: ProxyBuilder| builder.env("LOG_FORMAT", "json");
    for set in [&flag as &dyn Fn(ProxyBuilder) -> ProxyBuilder, &env] {
        let dir = Scratch::new("json");
        let mut proxy = set(ProxyBuilder::new(dir.path())).start();
        proxy.conn().run("SET key value");
        proxy.terminate();
        let exit = proxy.wait_exit();
        assert_eq!(exit.code, 0);
        let lines: Vec<&str> = exit.output.lines().collect();
        assert!(lines.len() >= 2);
        for line in lines {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(
                line["level"].is_string() && line["timestamp"].is_string(),
                "{line}"
            );
        }
    }
}

#[test]
fn rust_log_sets_the_level() {
    let lines = |level: &str| {
        let dir = Scratch::new("levels");
        let mut proxy = ProxyBuilder::new(dir.path()).env("RUST_LOG", level).start();
        proxy.conn().run("SET key value");
        proxy.terminate();
        proxy.wait_exit().output.lines().count()
    };
    assert!(lines("debug") >= lines("info"));
    let dir = Scratch::new("levels");
    let mut quiet = ProxyBuilder::new(dir.path())
        .env("RUST_LOG", "error")
        .launch();
    // The address lines are how it tells that it is ready; at this level it may say nothing at all.
    eventually("the data directory is there", || {
        dir.join("respgres-data").is_dir().then_some(())
    });
    quiet.terminate();
    let output = quiet.wait_exit().output;
    assert!(!output.contains(" INFO "), "{output}");
}
