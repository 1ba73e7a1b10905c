//! What is special about the cache in Redis, against a real server.

mod entries;
mod generations;
mod replication;
mod server;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::tests::{SHARD, name, row, sighting};
use super::{Cached, Lease, RedisCache, RedisSession, Token, Unavailable};
use crate::view::{Epoch, Instance};

pub(super) use server::Server;

/// Of the deployment in these tests.
const NAMESPACE: &str = "test";

const PATIENCE: Duration = Duration::from_secs(10);

fn named(namespace: &str) -> Arc<OnceLock<String>> {
    Arc::new(OnceLock::from(namespace.to_owned()))
}

async fn wait_for(what: &str, condition: impl AsyncFn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < until, "{what} did not come");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the cache is reached; which instance that is.
async fn reached(cache: &RedisCache) -> Instance {
    wait_for("the cache", async || cache.sight().cache.is_some()).await;
    cache.sight().cache.unwrap()
}

async fn lost(cache: &RedisCache) {
    wait_for("the end", async || cache.sight().cache.is_none()).await;
}

/// A session on what is reached now.
fn session(cache: &RedisCache) -> RedisSession {
    let instance = cache.sight().cache.expect("the cache is reached");
    cache.session(instance).expect("a session for it")
}

/// How Redis calls the entry of this key.
fn called(key: &str) -> String {
    RedisCache::name_of(NAMESPACE, &name(key))
}

async fn fill(session: &RedisSession, key: &str, stamp: u64) {
    let token = Token::draw();
    let lease = session.lease(&[name(key)], token).await.unwrap();
    assert_eq!(lease, [Lease::Granted]);
    let filled = [sighting(key, Some(token), Some(row(stamp)))];
    session.settle(&filled).await.unwrap();
    assert_eq!(get(session, key).await, value(stamp));
}

async fn get(session: &RedisSession, key: &str) -> Option<Cached> {
    session.get(&[name(key)]).await.unwrap().remove(0)
}

fn value(stamp: u64) -> Option<Cached> {
    Some(Cached::Row(row(stamp)))
}

/// Every step fails, and none waits.
async fn assert_over(session: &RedisSession) {
    let since = Instant::now();
    let (names, token) = ([name("k")], Token(1));
    assert_eq!(session.get(&names).await, Err(Unavailable));
    assert_eq!(session.lease(&names, token).await, Err(Unavailable));
    let seen = [sighting("k", None, Some(row(1)))];
    assert_eq!(session.settle(&seen).await, Err(Unavailable));
    assert_eq!(session.fin(&names).await, Err(Unavailable));
    let cleared = session.clear(SHARD, Epoch::FIRST).await;
    assert_eq!(cleared, Err(Unavailable));
    assert!(
        since.elapsed() < server::TIMEOUT / 2,
        "it took {:?}",
        since.elapsed()
    );
}
