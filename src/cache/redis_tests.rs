//! What is special about the cache in Redis, against a real server.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue, cmd};
use bytes::Bytes;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::redis::Settings;
use super::tests::{TTL, name, row, sighting};
use super::{Cached, Lease, RedisCache, Token, Unavailable};

const PATIENCE: Duration = Duration::from_secs(10);

fn named(namespace: &str) -> Arc<OnceLock<String>> {
    Arc::new(OnceLock::from(namespace.to_owned()))
}

/// Longer than a server on a busy machine may take; the default is for production.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A redis-server of one test, in a directory of its own.
pub(super) struct Server {
    port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Server {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::planned(arguments);
        server.run();
        server
    }

    /// A server that does not run yet.
    fn planned(arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let unique = format!("respgres-cache-test-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            port,
            directory,
            arguments: arguments.iter().map(|text| text.to_string()).collect(),
            process: None,
        }
    }

    fn run(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.directory)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        self.process = Some(process);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn settings() -> Settings {
        Settings {
            ttl: TTL,
            timeout: TIMEOUT,
            namespace: named("test"),
            purge_at_start: false,
        }
    }

    /// A cache that does not wait for the server.
    fn cache_now(&self, change: impl FnOnce(&mut Settings)) -> RedisCache {
        let mut settings = Self::settings();
        change(&mut settings);
        let stop = CancellationToken::new();
        RedisCache::start(&self.url(), settings, &TaskTracker::new(), stop).unwrap()
    }

    pub(super) async fn cache_with(&self, change: impl FnOnce(&mut Settings)) -> RedisCache {
        let cache = self.cache_now(change);
        wait_for("the cache", async || cache.is_available()).await;
        cache
    }

    pub(super) async fn cache(&self) -> RedisCache {
        self.cache_with(|_| {}).await
    }

    /// A connection past the cache.
    async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the words as a command.
    async fn run_command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn wait_for(what: &str, condition: impl AsyncFn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < until, "{what} did not come");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn fill(cache: &RedisCache, key: &str, stamp: u64) {
    let token = Token::draw();
    let lease = cache.lease(&[name(key)], token).await.unwrap();
    assert_eq!(lease, [Lease::Granted]);
    let filled = [sighting(key, Some(token), Some(row(stamp)))];
    cache.settle(&filled).await.unwrap();
    assert_eq!(get(cache, key).await, Some(Cached::Row(row(stamp))));
}

async fn get(cache: &RedisCache, key: &str) -> Option<Cached> {
    cache.get(&[name(key)]).await.unwrap().remove(0)
}

async fn assert_unavailable(cache: &RedisCache) {
    let since = Instant::now();
    assert!(!cache.is_available());
    assert_eq!(cache.get(&[name("k")]).await, Err(Unavailable));
    assert_eq!(cache.lease(&[name("k")], Token(1)).await, Err(Unavailable));
    let seen = [sighting("k", None, Some(row(1)))];
    assert_eq!(cache.settle(&seen).await, Err(Unavailable));
    assert_eq!(cache.fin(&[name("k")]).await, Err(Unavailable));
    assert_eq!(cache.clear().await, Err(Unavailable));
    assert_eq!(cache.entry_count().await, 0);
    assert!(
        since.elapsed() < TIMEOUT / 2,
        "it took {:?}",
        since.elapsed()
    );
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_taken_up_later() {
    let mut server = Server::planned(&[]);
    let cache = server.cache_now(|_| {});
    sleep(Duration::from_millis(50)).await;
    assert_unavailable(&cache).await;
    server.run();
    wait_for("the cache", async || cache.is_available()).await;
    fill(&cache, "k", 1).await;
}

#[tokio::test]
async fn what_was_missed_before_the_first_connection_is_purged() {
    let server = Server::start(&[]);
    let first = server.cache().await;
    fill(&first, "k", 1).await;

    let second = server.cache().await;
    assert_eq!(get(&second, "k").await, Some(Cached::Row(row(1))));

    // On one thread, nothing connects before this FIN has failed.
    let third = server.cache_now(|_| {});
    assert_eq!(third.fin(&[name("k")]).await, Err(Unavailable));
    wait_for("the cache", async || third.is_available()).await;
    assert_eq!(get(&third, "k").await, None);
}

#[tokio::test]
async fn a_purge_takes_this_namespace_and_nothing_else() {
    let server = Server::start(&[]);
    let odd = "te*st[a-z]\\?:0";
    let mine = server
        .cache_with(|settings| settings.namespace = named(odd))
        .await;
    let others = server
        .cache_with(|settings| settings.namespace = named("te"))
        .await;
    for number in 0..3000 {
        fill(&mine, &format!("k{number}"), 1).await;
    }
    fill(&others, "k1", 2).await;
    let similar = "respgres:teXst[a-z]\\?%3A0:0:k1";
    server.run_command::<()>(&["SET", similar, "kept"]).await;
    server.run_command::<()>(&["SET", "foreign", "kept"]).await;
    assert_eq!(mine.entry_count().await, 3003);

    let again = server
        .cache_with(|settings| {
            settings.namespace = named(odd);
            settings.purge_at_start = true;
        })
        .await;
    assert_eq!(again.entry_count().await, 3);
    fill(&again, "k1", 1).await;
    mine.clear().await.unwrap();
    assert_eq!(get(&again, "k1").await, None);
    assert_eq!(get(&others, "k1").await, Some(Cached::Row(row(2))));
}

#[tokio::test]
async fn a_redis_that_died_is_noticed_and_comes_back_empty() {
    let mut server = Server::start(&["--dbfilename", "old.rdb"]);
    let cache = server.cache().await;
    fill(&cache, "k", 1).await;
    server.run_command::<()>(&["SET", "foreign", "kept"]).await;
    server.run_command::<()>(&["SAVE"]).await;

    server.kill();
    // Without a step: the broken connection or the ping tells.
    wait_for("the end", async || !cache.is_available()).await;
    assert_unavailable(&cache).await;

    server.run();
    wait_for("the cache", async || cache.is_available()).await;
    assert_eq!(
        server.run_command::<String>(&["GET", "foreign"]).await,
        "kept",
        "the snapshot was loaded"
    );
    assert_eq!(get(&cache, "k").await, None);
    fill(&cache, "k", 2).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_timeout() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    fill(&cache, "k", 1).await;
    let token = Token(7);
    cache.lease(&[name("leased")], token).await.unwrap();

    server.signal("-STOP");
    let since = Instant::now();
    let names = [name("k")];
    let step = async || cache.fin(&names).await;
    let (one, two, three) = tokio::join!(step(), step(), step());
    assert_eq!(
        (one, two, three),
        (Err(Unavailable), Err(Unavailable), Err(Unavailable))
    );
    assert!(
        since.elapsed() < TIMEOUT * 2,
        "it took {:?}",
        since.elapsed()
    );
    assert_unavailable(&cache).await;

    server.signal("-CONT");
    wait_for("the cache", async || cache.is_available()).await;
    assert_eq!(get(&cache, "k").await, None);
    // A lease of before is gone, so that its FILL is late.
    let late = [sighting("leased", Some(token), Some(row(1)))];
    cache.settle(&late).await.unwrap();
    assert_eq!(get(&cache, "leased").await, None);
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_when_idle() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    server.signal("-STOP");
    wait_for("the end", async || !cache.is_available()).await;
    server.signal("-CONT");
}

#[tokio::test]
async fn a_step_that_must_happen_and_is_dropped_ends_the_generation() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    fill(&cache, "k", 1).await;
    server.signal("-STOP");
    let names = [name("k")];
    let given_up = tokio::time::timeout(Duration::from_millis(5), cache.fin(&names)).await;
    assert!(given_up.is_err());
    assert!(!cache.is_available());
    server.signal("-CONT");
    wait_for("the cache", async || cache.is_available()).await;
    assert_eq!(get(&cache, "k").await, None);
}

#[tokio::test]
async fn a_replica_is_not_used() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let nowhere = ["REPLICAOF", "127.0.0.1", "1"];
    server.run_command::<()>(&nowhere).await;
    wait_for("the end", async || !cache.is_available()).await;
    sleep(Duration::from_millis(500)).await;
    assert_unavailable(&cache).await;
    server.run_command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    wait_for("the cache", async || cache.is_available()).await;
    fill(&cache, "k", 1).await;
}

#[tokio::test]
async fn scripts_that_vanished_are_loaded_again() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    server.run_command::<()>(&["SCRIPT", "FLUSH"]).await;
    fill(&cache, "k", 1).await;
    assert!(cache.is_available());
}

#[tokio::test]
async fn with_full_memory_fills_fail_and_invalidations_work() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let cache = server.cache().await;
    fill(&cache, "seen", 1).await;
    fill(&cache, "finished", 1).await;
    let token = Token(1);
    let leased = ["filled", "noted", "noted before"].map(name);
    cache.lease(&leased, token).await.unwrap();
    let noted = [sighting("noted before", None, Some(row(1)))];
    cache.settle(&noted).await.unwrap();
    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;

    let fresh = cache.lease(&[name("fresh")], token).await.unwrap();
    assert_eq!(fresh, [Lease::Held]);
    // One call each, as Redis refuses only the first write of a script.
    for step in [
        sighting("filled", Some(token), Some(row(1))),
        sighting("noted", None, Some(row(1))),
        sighting("noted before", None, Some(row(2))),
        sighting("seen", None, Some(row(2))),
    ] {
        cache.settle(&[step]).await.unwrap();
    }
    cache.fin(&[name("finished")]).await.unwrap();
    assert!(cache.is_available());

    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    for key in ["filled", "noted", "noted before", "seen", "finished"] {
        assert_eq!(get(&cache, key).await, None, "{key}");
        let lease = cache.lease(&[name(key)], Token(2)).await.unwrap();
        assert_eq!(lease, [Lease::Granted], "{key}");
    }
}

#[tokio::test]
async fn with_full_memory_no_later_fill_of_a_call_slips_through() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let cache = server.cache().await;
    let keys = ["a", "b", "c"];
    cache.lease(&keys.map(name), Token(1)).await.unwrap();
    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    let fills = keys.map(|key| sighting(key, Some(Token(1)), Some(row(1))));
    cache.settle(&fills).await.unwrap();
    assert_eq!(cache.entry_count().await, 0);
    assert!(cache.is_available());
}

#[tokio::test]
async fn a_redis_that_can_not_write_is_not_used() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    fill(&cache, "k", 1).await;
    // Refuses writes while there are too few replicas.
    server
        .run_command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    assert_eq!(cache.fin(&[name("k")]).await, Err(Unavailable));
    sleep(Duration::from_millis(500)).await;
    assert_unavailable(&cache).await;
    server
        .run_command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    wait_for("the cache", async || cache.is_available()).await;
    assert_eq!(get(&cache, "k").await, None);
}

#[tokio::test]
async fn what_is_no_entry_is_deleted_when_settled() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let entry = |key: &str| format!("respgres:test:0:{key}");
    server
        .run_command::<()>(&["SET", &entry("text"), "garbage"])
        .await;
    server
        .run_command::<()>(&["SET", &entry("short lease"), "L123"])
        .await;
    server
        .run_command::<()>(&["SET", &entry("short value"), "V"])
        .await;
    for key in ["text", "short lease", "short value"] {
        assert_eq!(get(&cache, key).await, None);
        let lease = cache.lease(&[name(key)], Token(1)).await.unwrap();
        assert_eq!(lease, [Lease::Held], "{key}");
        cache
            .settle(&[sighting(key, None, Some(row(1)))])
            .await
            .unwrap();
        fill(&cache, key, 1).await;
    }
    server
        .run_command::<()>(&["RPUSH", &entry("list"), "1"])
        .await;
    assert_eq!(get(&cache, "list").await, None);
    cache
        .settle(&[sighting("list", None, Some(row(1)))])
        .await
        .unwrap();
    fill(&cache, "list", 1).await;
}

#[tokio::test]
async fn entries_in_redis_always_have_a_lifetime() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let lifetime = async |key: &str| {
        let name = format!("respgres:test:0:{key}");
        server.run_command::<i64>(&["PTTL", &name]).await
    };
    cache.lease(&[name("lease")], Token(1)).await.unwrap();
    cache
        .settle(&[sighting("lease", None, Some(row(1)))])
        .await
        .unwrap();
    assert!((1..=3000).contains(&lifetime("lease").await));
    fill(&cache, "value", 1).await;
    assert!((50_000..=60_000).contains(&lifetime("value").await));
}

#[tokio::test]
async fn large_values_are_not_cached_and_do_no_harm() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let sizes = [0, 1 << 19, 1 << 19, (1 << 20) - 34, 1 << 20, 16 << 20];
    let keys: Vec<String> = (0..sizes.len()).map(|n| format!("k{n}")).collect();
    let names: Vec<_> = keys.iter().map(|key| name(key)).collect();
    cache.lease(&names, Token(1)).await.unwrap();
    let fills: Vec<_> = std::iter::zip(&keys, sizes)
        .map(|(key, size)| {
            let mut row = row(1);
            row.value = Bytes::from(vec![b'x'; size]);
            sighting(key, Some(Token(1)), Some(row))
        })
        .collect();
    cache.settle(&fills).await.unwrap();
    let found = cache.get(&names).await.unwrap();
    let are_found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(are_found, [true, true, true, true, false, false]);
    let lease = cache.lease(&names[5..], Token(2)).await.unwrap();
    assert_eq!(lease, [Lease::Granted]);
}

#[tokio::test]
async fn a_password_works_and_is_never_shown() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let start = |url: &str| RedisCache::start(url, Server::settings(), &tasks, stop.clone());
    let cache = start(&url).unwrap();
    wait_for("the cache", async || cache.is_available()).await;
    let shown = format!("{cache:?}");
    assert!(shown.contains(&format!("127.0.0.1:{}", server.port)));
    assert!(!shown.contains("hunter2"), "{shown}");

    let wrong = start(&url.replace("hunter2", "hunter3")).unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(!wrong.is_available());
    for url in [
        "redis://:hunter2@h/x",
        "http://hunter2@h",
        "hunter2",
        "rediss://:hunter2@h",
    ] {
        let error = start(url).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    // The tracked task ends with the token; the steps go on working.
    stop.cancel();
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.unwrap();
    assert_eq!(get(&cache, "k").await, None);
}
