//! `respgres check`: each thing that is right or wrong has its line, and nothing is written.

use std::net::TcpListener;

use super::transfer::tool;
use crate::harness::{
    Authority, PostgresServer, Proxy, ProxyBuilder, RedisServer, Scratch, Shards, Wish,
    blank_databases, pg,
};
use crate::pooler::Pooler;

/// What a check printed, which had to end with `code`.
struct Printed(String);

#[track_caller]
fn check(builder: &ProxyBuilder, code: i32) -> Printed {
    let exit = builder.clone().flag("check").run();
    assert_eq!(exit.code, code, "{}", exit.output);
    assert!(!exit.output.contains('\u{1b}'), "no colours here");
    Printed(exit.output)
}

impl Printed {
    /// The lines of a kind (`ok`, `warning`, `FAILED`).
    fn lines(&self, kind: &str) -> Vec<&str> {
        let lines = self.0.lines();
        lines
            .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
            .map(str::trim_start)
            .collect()
    }

    /// There is one line of the kind that has all of these words.
    #[track_caller]
    fn has(&self, kind: &str, words: &[&str]) -> &Self {
        let lines = self.lines(kind);
        let found = lines
            .iter()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        assert_eq!(found.count(), 1, "{kind} {words:?} in {}", self.0);
        self
    }

    #[track_caller]
    fn only_this_is_wrong(&self, words: &[&str]) {
        self.has("FAILED", words);
        assert_eq!(self.lines("FAILED").len(), 1, "{}", self.0);
        assert!(self.0.contains("\n1 thing is wrong"), "{}", self.0);
    }
}

fn on(dir: &Scratch, urls: &[String]) -> ProxyBuilder {
    ProxyBuilder::new(dir.path()).shard_urls(urls)
}

/// Starts and ends a proxy, so that the databases are founded.
fn found(builder: &ProxyBuilder) {
    let mut proxy: Proxy = builder.clone().start();
    proxy.terminate();
    assert_eq!(proxy.wait_exit().code, 0);
}

#[test]
fn where_all_is_right_every_part_has_its_lines_and_nothing_is_written() {
    let (dir, server, redis) = (
        Scratch::new("check"),
        PostgresServer::preparing(),
        RedisServer::start(),
    );
    for command in [
        "CONFIG SET maxmemory 100mb",
        "CONFIG SET maxmemory-policy allkeys-lru",
    ] {
        assert_eq!(redis.conn().run(command), "+OK");
    }
    let urls: Vec<String> = (0..3).map(|_| server.create_database()).collect();
    let builder = on(&dir, &urls).env("REDIS_URL", redis.url());
    let prints = || -> Vec<String> { urls.iter().map(|url| Shards::fingerprint(url)).collect() };
    let before = prints();
    let printed = check(&builder, 0);
    assert_eq!(prints(), before);
    assert_eq!(redis.conn().run("DBSIZE"), ":0");
    for variable in ["SHARD_0_URL", "SHARD_1_URL", "SHARD_2_URL"] {
        printed
            .has("ok", &[variable, "is reached"])
            .has("ok", &[variable, "PostgreSQL 15"])
            .has("ok", &[variable, "primary"])
            .has("ok", &[variable, "may make tables"])
            .has("ok", &[variable, "blank"])
            .has("ok", &[variable, "up to 11 connections"])
            .has("ok", &[variable, "max_prepared_transactions is 20"])
            .has("ok", &[variable, "session of its own"])
            .has("ok", &[variable, "clock"])
            .has("ok", &[variable, "durable"]);
    }
    printed
        .has("ok", &["REDIS_URL", "is reached"])
        .has("ok", &["REDIS_URL", "Redis 7", "master"])
        .has("ok", &["REDIS_URL", "allkeys-lru"])
        .has("ok", &["RESP_ADDR", "free"])
        .has("ok", &["HTTP_ADDR", "free"]);
    assert!(printed.0.ends_with("nothing is wrong; 0 warnings\n"));
    found(&builder);
    let before = prints();
    let printed = check(&builder, 0);
    assert_eq!(prints(), before);
    printed
        .has("ok", &["SHARD_1_URL", "it is shard_1 of 3"])
        .has("ok", &["SHARD_1_URL", "owns the tables"]);
}

#[test]
fn embedded_shards_are_looked_at_without_being_made() {
    let dir = Scratch::new("check");
    let builder = ProxyBuilder::new(dir.path());
    let printed = check(&builder, 0);
    printed.has("ok", &["shard_2", "will be made"]);
    let data = dir.join("respgres-data");
    assert!(!data.exists());
    found(&builder);
    let files = || {
        // SQLite makes the index of a log for whoever reads that, and a process that ends may leave a log behind.
        let mut names: Vec<_> = std::fs::read_dir(&data)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-shm"))
            .collect();
        names.sort();
        names
    };
    let before = files();
    check(&builder, 0).has("ok", &["shard_2", "it is shard_2 of 3"]);
    assert_eq!(files(), before);
    // As a kill leaves it.
    let mut proxy = builder.clone().start();
    proxy.conn().set("key", "value");
    let running = check(&builder, 1);
    running.has("FAILED", &["shard_2", "in use by another respgres"]);
    proxy.kill();
    check(&builder, 0).has("ok", &["shard_2", "it is shard_2 of 3"]);
    check(&builder.env("NUM_SHARDS", "2"), 1).has("FAILED", &["shard_1", "NUM_SHARDS"]);
}

#[test]
fn a_configuration_that_can_not_be_read_is_told_as_at_a_start() {
    let dir = Scratch::new("check");
    let builder = ProxyBuilder::new(dir.path())
        .env("CACHE_TTL", "soon")
        .env("REDIS_URL", "nowhere");
    let printed = check(&builder, 2).0;
    let start = builder.run_refused();
    assert_eq!(printed, start);
    let flag = tool(&dir, &["check", "--num-shards", "0"]).run();
    assert_eq!(flag.code, 2, "{}", flag.output);
}

#[test]
fn what_can_not_be_reached_is_wrong_and_the_rest_is_told_all_the_same() {
    let (dir, redis) = (Scratch::new("check"), RedisServer::down());
    let mut urls = blank_databases(1);
    urls.push("postgresql://user:hunter2@127.0.0.1:1/db".to_owned());
    let builder = on(&dir, &urls).env("REDIS_URL", redis.url().replace("://", "://:hunter3@"));
    let printed = check(&builder, 1);
    printed
        .has("ok", &["SHARD_0_URL", "is reached"])
        .has("warning", &["SHARD_0_URL", "fsync"])
        .has("FAILED", &["SHARD_1_URL", "can't be used", "onnect"])
        .has("FAILED", &["REDIS_URL", "can't be used"]);
    assert_eq!(printed.lines("FAILED").len(), 2, "{}", printed.0);
    assert!(printed.0.contains("\n2 things are wrong"), "{}", printed.0);
    assert!(!printed.0.contains("hunter"), "{}", printed.0);
}

#[test]
fn a_port_that_is_taken_is_wrong() {
    let dir = Scratch::new("check");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let builder = ProxyBuilder::new(dir.path()).env("HTTP_ADDR", addr.as_str());
    check(&builder, 1).only_this_is_wrong(&["HTTP_ADDR", &addr]);
}

#[test]
fn a_port_that_anybody_can_use_is_wrong_as_at_a_start() {
    let dir = Scratch::new("check");
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let open = ProxyBuilder::new(dir.path()).env("RESP_ADDR", "0.0.0.0:0");
    check(&open, 1).only_this_is_wrong(&["RESP_ADDR", "from other machines", "set PASSWORD"]);
    let started = open.clone().run_refused();
    assert!(started.contains("from other machines"), "{started}");
    check(&open.clone().env("PASSWORD", "secret"), 0);
    let meant = "i-know-that-anyone-can-connect";
    check(&open.env("LISTEN_WITHOUT_AUTHENTICATION", meant), 0)
        .has("warning", &["RESP_ADDR", "asks for no password"]);
    // Also while it runs.
    check(
        &ProxyBuilder::new(dir.path()).env("HTTP_ADDR", addr.as_str()),
        1,
    )
    .has("FAILED", &["HTTP_ADDR", &addr, "in use"])
    .has("FAILED", &["HTTP_ADDR", &addr, "set HTTP_TOKEN"]);
}

#[test]
fn mistakes_of_the_users_are_wrong() {
    let dir = Scratch::new("check");
    let path = dir.join("users");
    let builder = ProxyBuilder::new(dir.path()).env("USERS_FILE", path.display().to_string());
    check(&builder, 1).only_this_is_wrong(&["USERS_FILE", "cannot be read"]);
    std::fs::write(&path, "user a on +nosuch\nuser b on nopass\nuser c x\n").unwrap();
    let printed = check(&builder, 1);
    printed
        .has("FAILED", &["USERS_FILE", "users:1:"])
        .has("FAILED", &["USERS_FILE", "users:3:"]);
    std::fs::write(&path, "user default on >secret +@all ~*\n").unwrap();
    check(&builder, 0).has("ok", &["USERS_FILE", "can be read"]);
    check(&builder.env("PASSWORD", "secret"), 1)
        .only_this_is_wrong(&["USERS_FILE", "PASSWORD is given as well"]);
}

#[test]
fn a_directory_that_can_not_be_made_is_wrong() {
    let dir = Scratch::new("check");
    std::fs::write(dir.join("file"), "").unwrap();
    let below = dir.join("file/data").display().to_string();
    let builder = ProxyBuilder::new(dir.path()).env("DATA_DIR", below);
    check(&builder, 1).has("FAILED", &["DATA_DIR", "is no directory"]);
    let new = dir.join("a/b").display().to_string();
    check(&builder.env("DATA_DIR", new), 0).has("ok", &["DATA_DIR", "can be written"]);
}

#[test]
fn a_server_with_several_shards_has_connections_for_all() {
    let (dir, server) = (Scratch::new("check"), PostgresServer::separate());
    let urls = [server.create_database(), server.create_database()];
    let builder = on(&dir, &urls);
    check(&builder.clone().env("DB_POOL_MAX_SIZE", "28"), 1).only_this_is_wrong(&[
        "SHARD_0_URL, SHARD_1_URL",
        "58 connections",
        "of 57",
    ]);
    check(&builder.env("DB_POOL_MAX_SIZE", "27"), 0);
}

#[test]
fn databases_that_do_not_belong_there_are_wrong() {
    let dir = Scratch::new("check");
    let urls = blank_databases(3);
    found(&on(&dir, &urls));
    let swapped = [urls[1].clone(), urls[0].clone(), urls[2].clone()];
    check(&on(&dir, &swapped), 1)
        .has("FAILED", &["SHARD_0_URL", "names the database of shard_1"])
        .has("FAILED", &["SHARD_1_URL", "names the database of shard_0"])
        .has("ok", &["SHARD_2_URL", "it is shard_2"]);
    let others = blank_databases(3);
    found(&on(&dir, &others));
    let foreign = [urls[0].clone(), urls[1].clone(), others[2].clone()];
    check(&on(&dir, &foreign), 1).only_this_is_wrong(&["SHARD_2_URL", "another deployment"]);
    check(&on(&dir, &urls[..2]), 1)
        .has("FAILED", &["SHARD_0_URL", "NUM_SHARDS", "one of 3 shards"]);
    check(&on(&dir, &urls).env("HASH_TAGS", "on"), 1).has("FAILED", &["SHARD_0_URL", "HASH_TAGS"]);
    let blank = [
        urls[0].clone(),
        urls[1].clone(),
        blank_databases(1).remove(0),
    ];
    check(&on(&dir, &blank), 0).has("warning", &["some databases are blank"]);
    let old = "UPDATE respgres_identity SET schema_version = 2";
    pg(&urls[0]).unwrap().batch_execute(old).unwrap();
    check(&on(&dir, &urls), 0).has("warning", &["SHARD_0_URL", "version 2", "upgrades"]);
}

#[test]
fn a_database_that_is_named_twice_is_wrong() {
    let dir = Scratch::new("check");
    let urls = blank_databases(2);
    let twice = urls[0].replace("127.0.0.1", "localhost");
    let urls = [urls[0].clone(), urls[1].clone(), twice];
    check(&on(&dir, &urls), 1)
        .only_this_is_wrong(&["SHARD_2_URL", "the same database as SHARD_0_URL"]);
}

#[test]
fn a_role_without_rights_is_wrong() {
    let dir = Scratch::new("check");
    let urls = blank_databases(1);
    let mut client = pg(&urls[0]).unwrap();
    let role = format!("role_{}", urls[0].rsplit('/').next().unwrap());
    client
        .batch_execute(&format!("CREATE ROLE {role} LOGIN"))
        .unwrap();
    let of_the_role = [urls[0].replace("respgres@", &format!("{role}@"))];
    check(&on(&dir, &of_the_role), 1).only_this_is_wrong(&[
        "SHARD_0_URL",
        "may not make tables",
        "GRANT CREATE",
    ]);
    found(&on(&dir, &urls));
    client
        .batch_execute(&format!("GRANT SELECT ON respgres_identity TO {role}"))
        .unwrap();
    check(&on(&dir, &of_the_role), 1).only_this_is_wrong(&[
        "SHARD_0_URL",
        "does not own",
        "respgres_kv",
    ]);
    let limited = format!(
        "REASSIGN OWNED BY {role} TO respgres; ALTER ROLE {role} CONNECTION LIMIT 5; GRANT CREATE ON SCHEMA public TO {role}"
    );
    client.batch_execute(&limited).unwrap();
    let blank = blank_databases(1).remove(0);
    pg(&blank)
        .unwrap()
        .batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {role}"))
        .unwrap();
    let blank = [blank.replace("respgres@", &format!("{role}@"))];
    check(&on(&dir, &blank), 1).only_this_is_wrong(&[
        "SHARD_0_URL",
        "up to 11 connections",
        "of 5",
    ]);
    check(&on(&dir, &blank).env("DB_POOL_MAX_SIZE", "4"), 0);
    for url in [
        &urls[0],
        &blank[0].replace(&format!("{role}@"), "respgres@"),
    ] {
        let drop = format!("DROP OWNED BY {role}");
        pg(url).unwrap().batch_execute(&drop).unwrap();
    }
    client.batch_execute(&format!("DROP ROLE {role}")).unwrap();
}

#[test]
fn a_server_that_is_not_set_up_for_all_of_it_is_told() {
    let (dir, mut server) = (Scratch::new("check"), PostgresServer::separate());
    let urls = [server.create_database()];
    check(&on(&dir, &urls), 0).has(
        "warning",
        &["SHARD_0_URL", "max_prepared_transactions", "CROSSSHARD"],
    );
    check(&on(&dir, &urls).env("DB_POOL_MAX_SIZE", "57"), 1).only_this_is_wrong(&[
        "SHARD_0_URL",
        "58 connections",
        "of 57",
        "max_connections",
    ]);
    check(&on(&dir, &urls).env("DB_POOL_MAX_SIZE", "56"), 0);
    // Without anybody to follow, it waits, and can be read.
    let data: String = pg(&urls[0])
        .unwrap()
        .query_one("SHOW data_directory", &[])
        .unwrap()
        .get(0);
    server.crash();
    std::fs::write(format!("{data}/standby.signal"), "").unwrap();
    server.start_again();
    check(&on(&dir, &urls), 1).only_this_is_wrong(&["SHARD_0_URL", "standby"]);
}

#[test]
fn a_pooler_in_transaction_mode_is_wrong() {
    let dir = Scratch::new("check");
    let pooler = Pooler::start(&blank_databases(1)[0]);
    let urls = [pooler.url()];
    check(&on(&dir, &urls), 0).has("ok", &["SHARD_0_URL", "session of its own"]);
    pooler.hand_out_by_transaction(true);
    check(&on(&dir, &urls), 1).only_this_is_wrong(&["SHARD_0_URL", "pooler", "pool_mode"]);
}

#[test]
fn a_redis_that_does_not_fit_is_told() {
    let (dir, redis, master) = (
        Scratch::new("check"),
        RedisServer::start(),
        RedisServer::start(),
    );
    let builder = ProxyBuilder::new(dir.path()).env("REDIS_URL", redis.url());
    check(&builder, 0).has("warning", &["REDIS_URL", "maxmemory is not set"]);
    assert_eq!(redis.conn().run("CONFIG SET maxmemory 100mb"), "+OK");
    check(&builder, 0).has("warning", &["REDIS_URL", "noeviction", "allkeys-lru"]);
    redis.follow(&master);
    check(&builder, 1).only_this_is_wrong(&["REDIS_URL", "replica", "master of Redis 7"]);
}

#[test]
fn whether_a_proxy_is_ready_is_asked_on_the_port_that_it_has() {
    let dir = Scratch::new("ready");
    let authority = Authority::new("authority");
    let issued = authority.issue(Wish::names(&["proxy.example"]));
    let (certificate, key) = issued.files(dir.path(), "proxy");
    // Asked, it is as the health check of a container is: with the same variables.
    let asked = |proxy: &Proxy, builder: &ProxyBuilder, variable: &str, address: String| {
        let port = address.rsplit(':').next().unwrap();
        let ask = builder
            .clone()
            .env(variable, format!("0.0.0.0:{port}"))
            .env("HTTP_TOKEN", "sesame");
        let exit = ask.clone().flag("check").flag("--ready").run();
        assert_eq!(
            (exit.code, exit.output.as_str()),
            (0, ""),
            "{}",
            proxy.log()
        );
        ask
    };
    let plain = ProxyBuilder::new(dir.path()).env("HTTP_TOKEN", "sesame");
    let mut proxy = plain.clone().start();
    let ask = asked(&proxy, &plain, "HTTP_ADDR", proxy.http().addr().to_owned());
    proxy.terminate();
    proxy.wait_exit();
    let exit = ask.flag("check").flag("--ready").run();
    assert_eq!(exit.code, 1);
    assert!(exit.output.contains("does not answer"), "{}", exit.output);
    let secured = ProxyBuilder::new(dir.path())
        .env("HTTP_TOKEN", "sesame")
        .env("HTTP_ADDR", "off")
        .env("HTTP_TLS_ADDR", "127.0.0.1:0")
        .env("TLS_CERT_FILE", certificate)
        .env("TLS_KEY_FILE", key);
    let proxy = secured.clone().start();
    asked(&proxy, &secured, "HTTP_TLS_ADDR", proxy.http_tls_addr());
    drop(proxy);
    let unreached =
        ProxyBuilder::new(dir.path()).shard_urls(&["postgresql://nobody@127.0.0.1:1/nothing"]);
    let proxy = unreached.clone().start();
    let exit = unreached
        .env("HTTP_ADDR", proxy.http().addr())
        .flag("check")
        .flag("--ready")
        .run();
    assert_eq!(exit.code, 1);
    assert!(
        exit.output.contains("no shard was reached yet"),
        "{}",
        exit.output
    );
}
