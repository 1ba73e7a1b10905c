//! The deployment: every connection between its parts goes through a fault proxy.

use std::sync::{Mutex, MutexGuard};

use super::{PROXIES, SHARDS};
use crate::harness::{
    FaultProxy, PostgresServer, Proxy, ProxyBuilder, RedisServer, Scratch, eventually,
};

/// A proxy and its links.
pub struct Node {
    proxy: Mutex<Proxy>,
    ports: Mutex<Ports>,
    pub to_redis: FaultProxy,
    pub to_shards: Vec<FaultProxy>,
    _dir: Scratch,
}

/// Where a proxy listens. It is elsewhere after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    pub resp: String,
    pub http: String,
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
            .env("DB_CONNECT_TIMEOUT_MS", "1000")
            .env("DB_QUERY_TIMEOUT_MS", "2000")
            .start();
        Node {
            ports: Mutex::new(ports_of(&proxy)),
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

    /// Starts a killed proxy again.
    pub fn start_again(&self) {
        let mut proxy = self.proxy();
        proxy.start_again();
        *self
            .ports
            .lock()
            .expect("no thread panics while it holds this") = ports_of(&proxy);
    }
}

fn ports_of(proxy: &Proxy) -> Ports {
    Ports {
        resp: proxy.resp_addr().to_owned(),
        http: proxy.http().addr().to_owned(),
    }
}

/// `host:port` of a PostgreSQL URL.
fn addr_in(url: &str) -> &str {
    let after_user = url.rsplit('@').next().unwrap_or_default();
    after_user.split('/').next().unwrap_or_default()
}

/// All parts.
pub struct Cluster {
    // The order of the fields is the order in which they are stopped.
    pub nodes: Vec<Node>,
    pub redis: Mutex<RedisServer>,
    pub redis_addr: String,
    /// What some proxies are made to take for their Redis, and what the first one is made a replica of.
    pub other_redis: RedisServer,
    pub shards: Vec<Mutex<PostgresServer>>,
    /// The URLs of the shards' databases, past the fault proxies.
    pub urls: Vec<String>,
}

impl Cluster {
    /// Starts everything, and waits until it works.
    pub fn start() -> Cluster {
        let redis = RedisServer::start();
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
            other_redis: RedisServer::start(),
            shards: shards.into_iter().map(Mutex::new).collect(),
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
