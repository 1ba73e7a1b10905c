//! The deployment: every connection between its parts goes through a fault proxy.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{PROXIES, SHARDS};
use crate::harness::{
    FaultProxy, Http, PostgresServer, Proxy, ProxyBuilder, RedisServer, Scratch, eventually,
};

/// A proxy and its links.
pub struct Node {
    proxy: Mutex<Proxy>,
    ports: Mutex<Ports>,
    /// By the number of the process.
    reads: Mutex<BTreeMap<usize, Reads>>,
    pub to_redis: FaultProxy,
    pub to_shards: Vec<FaultProxy>,
    _dir: Scratch,
}

/// Where a proxy listens. It is elsewhere after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    pub resp: String,
    pub http: String,
    /// How often it had been started before.
    process: usize,
}

/// How many keys were read from the cache, and how many from a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub hits: u64,
    pub misses: u64,
}

impl Node {
    fn start(redis: &RedisServer, urls: &[String]) -> Node {
        let dir = Scratch::new("proxy");
        let to_redis = FaultProxy::start(&redis.addr());
        let to_shards: Vec<FaultProxy> = urls
            .iter()
            .map(|url| FaultProxy::start(addr_in(url)))
            .collect();
        let links = urls.iter().zip(&to_shards);
        let linked: Vec<String> = links
            .map(|(url, link)| url.replace(addr_in(url), &link.addr()))
            .collect();
        let proxy = ProxyBuilder::new(dir.path())
            .shard_urls(&linked)
            .env("REDIS_URL", format!("redis://{}/0", to_redis.addr()))
            // By default 2 s and 5 s. Shards are stopped, muted and locked for up to 4 s: with the defaults hardly
            // any statement would run into its limit, and what follows from that (an unknown outcome, a session that
            // has to be ended) would not be tried. All other settings are the defaults.
            // More than a small machine's default: what crosses threads shall be tried everywhere.
            .env("WORKER_THREADS", "3")
            .env("DB_CONNECT_TIMEOUT_MS", "1000")
            .env("DB_QUERY_TIMEOUT_MS", "2000")
            .start();
        Node {
            ports: Mutex::new(ports_of(&proxy, 0)),
            reads: Mutex::default(),
            proxy: Mutex::new(proxy),
            to_redis,
            to_shards,
            _dir: dir,
        }
    }

    pub fn proxy(&self) -> MutexGuard<'_, Proxy> {
        self.proxy
            .lock()
            .expect("no thread panics while it holds this")
    }

    pub fn ports(&self) -> Ports {
        self.ports
            .lock()
            .expect("no thread panics while it holds this")
            .clone()
    }

    /// Starts a proxy again that has ended.
    pub fn start_again(&self) {
        let mut proxy = self.proxy();
        proxy.start_again();
        let mut ports = self
            .ports
            .lock()
            .expect("no thread panics while it holds this");
        *ports = ports_of(&proxy, ports.process + 1);
    }

    fn stats(&self, ports: &Ports) -> Option<serde_json::Value> {
        match Http::with_limit(&ports.http, STATS_MAX).try_get("/stats")? {
            (200, body) => Some(serde_json::from_slice(&body).expect("JSON")),
            _ => None,
        }
    }

    /// Whether the proxy says that it uses the cache.
    pub fn uses_cache(&self) -> bool {
        let stats = self.stats(&self.ports());
        stats.is_some_and(|stats| stats["cache_available"] == true)
    }

    /// Notes what the proxy says of its reads, if it answers: a killed one takes it along.
    pub fn note_reads(&self) {
        let ports = self.ports();
        let Some(stats) = self.stats(&ports) else {
            return;
        };
        let count = |name: &str| stats[name].as_u64().expect("a count");
        let mut reads = self
            .reads
            .lock()
            .expect("no thread panics while it holds this");
        // Who asked later may have noted first.
        let known = reads.entry(ports.process).or_default();
        known.hits = known.hits.max(count("cache_hits"));
        known.misses = known.misses.max(count("cache_misses"));
    }

    /// The sum of what all its processes were known to have read.
    pub fn reads(&self) -> Reads {
        let reads = self
            .reads
            .lock()
            .expect("no thread panics while it holds this");
        Reads {
            hits: reads.values().map(|reads| reads.hits).sum(),
            misses: reads.values().map(|reads| reads.misses).sum(),
        }
    }
}

/// A proxy that is paused answers later, and then it is asked again.
const STATS_MAX: Duration = Duration::from_millis(500);

fn ports_of(proxy: &Proxy, process: usize) -> Ports {
    Ports {
        resp: proxy.resp_addr().to_owned(),
        http: proxy.http().addr().to_owned(),
        process,
    }
}

/// `host:port` of a PostgreSQL URL.
fn addr_in(url: &str) -> &str {
    let after_user = url.rsplit('@').next().unwrap_or_default();
    after_user.split('/').next().unwrap_or_default()
}

/// Gives Redis the first replica of its life, if it had none: that changes its replication id, so that it is another
/// instance for the proxies. If it came with a fault, there would be no copies of what they use after it.
pub fn copy_first_time(redis: &RedisServer, other: &RedisServer) -> bool {
    let is_first = !redis.had_replica();
    if is_first {
        other.follow(redis);
        other.lead();
    }
    is_first
}

/// All parts.
pub struct Cluster {
    // The order of the fields is the order in which they are stopped.
    pub nodes: Vec<Node>,
    pub redis: Mutex<RedisServer>,
    pub redis_addr: String,
    /// What some proxies are made to take for their Redis, and what copies the first one and is copied by it.
    pub other_redis: RedisServer,
    pub shards: Vec<Mutex<PostgresServer>>,
    /// Whether clients only read, for a while: then each key comes to be in the cache.
    pub only_reads: AtomicBool,
    /// The URLs of the shards' databases, past the fault proxies.
    pub urls: Vec<String>,
}

impl Cluster {
    /// Starts everything, and waits until it works.
    pub fn start() -> Cluster {
        let (redis, other_redis) = (RedisServer::start(), RedisServer::start());
        copy_first_time(&redis, &other_redis);
        let shards: Vec<PostgresServer> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..SHARDS)
                .map(|_| scope.spawn(PostgresServer::separate))
                .collect();
            starting
                .into_iter()
                .map(|thread| thread.join().expect("it starts"))
                .collect()
        });
        let urls: Vec<String> = shards.iter().map(PostgresServer::create_database).collect();
        let cluster = Cluster {
            nodes: (0..PROXIES).map(|_| Node::start(&redis, &urls)).collect(),
            redis_addr: redis.addr(),
            redis: Mutex::new(redis),
            other_redis,
            shards: shards.into_iter().map(Mutex::new).collect(),
            only_reads: AtomicBool::new(false),
            urls,
        };
        cluster.wait_healthy();
        cluster
    }

    pub fn redis(&self) -> MutexGuard<'_, RedisServer> {
        self.redis
            .lock()
            .expect("no thread panics while it holds this")
    }

    pub fn shard(&self, shard: usize) -> MutexGuard<'_, PostgresServer> {
        self.shards[shard]
            .lock()
            .expect("no thread panics while it holds this")
    }

    /// Waits until each proxy says that all is well.
    pub fn wait_healthy(&self) {
        for node in &self.nodes {
            let http = node.proxy().http();
            eventually("a proxy is healthy when nothing is wrong", || {
                (http.health().1["status"] == "healthy").then_some(())
            });
        }
    }
}
