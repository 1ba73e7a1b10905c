//! SIGHUP: what may change while the proxy runs, and what is said of the rest.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Deployment, ProxyBuilder, Scratch, Setup, args, eventually};

/// Writes `.env` where the proxy looks for it, and has it read again.
pub fn reload(it: &mut Deployment, settings: &str, until_logged: &str) {
    fs::write(it.dir().path().join(".env"), settings).unwrap();
    it.proxy_mut().signal(Signal::SIGHUP);
    eventually("the configuration was read again", || {
        it.proxy().log().contains(until_logged).then_some(())
    });
}

#[test]
fn how_long_values_are_cached_can_change() {
    let mut it = Setup::postgres().start();
    let mut conn = it.conn();
    let mut redis = it.redis().conn();
    let mut longest = |key: &str| {
        conn.set(key, "value");
        conn.get(key);
        let names = redis.run("KEYS *").array();
        let left = names.into_iter().filter_map(|name| {
            let name = name.value()?;
            Some(redis.cmd(&[b"TTL", &name]).int())
        });
        left.max().unwrap()
    };
    assert!((1..=300).contains(&longest("before")));
    reload(&mut it, "CACHE_TTL=5000", "SIGHUP: changed CACHE_TTL");
    assert!((301..=5000).contains(&longest("after")));
}

#[test]
fn pools_grow_and_shrink() {
    let mut it = Setup::postgres().shards(1).start();
    let size = |it: &Deployment| it.http().stats()["shard_pool_sizes"]["shard_0"].as_u64();
    reload(
        &mut it,
        "DB_POOL_MIN_SIZE=7\nDB_POOL_MAX_SIZE=8",
        "SIGHUP: changed DB_POOL_MAX_SIZE, DB_POOL_MIN_SIZE",
    );
    eventually("the pool has grown", || size(&it).filter(|size| *size >= 7));
    reload(
        &mut it,
        "DB_POOL_MIN_SIZE=1\nDB_POOL_MAX_SIZE=1\nCACHE_TTL=200",
        "SIGHUP: changed CACHE_TTL, DB_POOL_MAX_SIZE, DB_POOL_MIN_SIZE",
    );
    eventually("the pool has shrunk", || {
        (size(&it) == Some(1)).then_some(())
    });
    it.conn().set("key", "value");
}

#[test]
fn the_log_can_be_made_to_say_more() {
    let mut it = Setup::embedded().start();
    assert!(!it.proxy().log().contains("DEBUG"));
    reload(&mut it, "RUST_LOG=debug", "SIGHUP: changed RUST_LOG");
    let mut conn = it.conn();
    conn.send(b"*1\r\n!broken\r\n");
    conn.read_to_end();
    eventually("it says more", || {
        it.proxy().log().contains("DEBUG").then_some(())
    });
}

#[test]
fn what_needs_a_start_is_named_and_does_not_change() {
    let mut it = Setup::embedded().start();
    reload(
        &mut it,
        "HASH_TAGS=on\nMAX_QUEUE_WAIT_MS=700",
        "SIGHUP: changed MAX_QUEUE_WAIT_MS",
    );
    let warning = "SIGHUP: HASH_TAGS was changed, which takes effect at the next start";
    assert!(it.proxy().log().contains(warning), "{}", it.proxy().log());
    // Said again, as long as it holds.
    reload(
        &mut it,
        "HASH_TAGS=on\nMAX_QUEUE_WAIT_MS=800\nCACHE_TTL=9",
        "SIGHUP: changed CACHE_TTL, MAX_QUEUE_WAIT_MS",
    );
    assert_eq!(it.proxy().log().matches(warning).count(), 2);
    it.conn().set("key", "value");
}

#[test]
fn the_bounds_on_clients_can_change() {
    let mut it = Setup::embedded().start();
    let mut first = it.conn();
    assert_eq!(first.run("PING"), "+PONG");
    reload(
        &mut it,
        "MAX_CLIENTS=1\nCLIENT_IDLE_TIMEOUT=77\nMAX_QUEUED_COMMANDS=2",
        "SIGHUP: changed CLIENT_IDLE_TIMEOUT, MAX_CLIENTS, MAX_QUEUED_COMMANDS",
    );
    assert_eq!(it.conn().read(), "-ERR max number of clients reached");
    assert_eq!(
        first.run("CONFIG GET timeout").to_string(),
        "[\"timeout\", \"77\"]"
    );
    assert_eq!(first.run("MULTI"), "+OK");
    for _ in 0..2 {
        assert_eq!(first.run("PING"), "+QUEUED");
    }
    assert!(first.run("PING").is_error());
    assert_eq!(first.run("DISCARD"), "+OK");
    // What CONFIG SET has changed stays, unless the variable is changed, too.
    assert_eq!(first.run("CONFIG SET timeout 99"), "+OK");
    reload(
        &mut it,
        "MAX_CLIENTS=2\nCLIENT_IDLE_TIMEOUT=77",
        "SIGHUP: changed MAX_CLIENTS, MAX_Q",
    );
    assert_eq!(it.conn().run("PING"), "+PONG");
    assert_eq!(
        first.run("CONFIG GET timeout").to_string(),
        "[\"timeout\", \"99\"]"
    );
}

#[test]
fn with_a_mistake_nothing_changes() {
    let mut it = Setup::embedded().start();
    reload(
        &mut it,
        "CACHE_TTL=soon\nMAX_QUEUE_WAIT_MS=700",
        "SIGHUP: nothing was changed",
    );
    assert!(it.proxy().log().contains("CACHE_TTL: `soon`"));
    assert!(!it.proxy().log().contains("SIGHUP: changed"));
    it.conn().set("key", "value");
}

#[test]
fn the_readme_lists_what_may_change() {
    let readme = include_str!("../../README.md");
    let paragraph = readme.split("- **SIGHUP**").nth(1).unwrap();
    let paragraph = paragraph.split("\n- **").next().unwrap();
    for name in respgres::config::RELOADABLE {
        assert!(paragraph.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_file_of_env_file_wins_over_the_environment_and_is_read_again() {
    let dir = Scratch::new("env-file");
    let file = dir.join("settings");
    // Nothing is put in values.
    fs::write(&file, "CACHE_TTL=60\nPASSWORD='${HOME} $x'\n").unwrap();
    let mut proxy = ProxyBuilder::new(dir.path())
        .env("CACHE_TTL", "100")
        .env("MAX_CLIENTS", "50")
        .flag("--env-file")
        .flag(file.to_str().unwrap())
        .start();
    let mut conn = proxy.conn();
    assert_eq!(conn.cmd(&args!["AUTH", "${HOME} $x"]), "+OK");
    fs::write(&file, "CACHE_TTL=70\nMAX_CLIENTS=60\nPASSWORD=new\n").unwrap();
    let mut reloaded = |until_logged: &str| {
        proxy.signal(Signal::SIGHUP);
        eventually("it was read again", || {
            proxy.log().contains(until_logged).then_some(())
        });
    };
    reloaded("SIGHUP: changed CACHE_TTL, MAX_CLIENTS, PASSWORD");
    // What is no more there is as in the environment.
    fs::write(&file, "PASSWORD=new\n").unwrap();
    reloaded("SIGHUP: changed CACHE_TTL, MAX_CLIENTS\n");
    fs::write(&file, "PASSWORD='hunter2\n").unwrap();
    reloaded("SIGHUP: nothing was changed");
    assert!(!proxy.log().contains("hunter2"));
    assert_eq!(proxy.conn().run("AUTH new"), "+OK");
}
