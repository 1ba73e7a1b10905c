//! PROXY: what there is behind the proxy, for people. Maps in RESP3, lists of names and values in RESP2.

use bytes::Bytes;

use super::Server;
use super::answer::failed;
use super::slowlog;
use crate::command::control::Proxy;
use crate::command::unsupported::UNSUPPORTED;
use crate::metrics::{BigKey, HotKey, SampledKey};
use crate::resp::Reply;

impl Server {
    pub(super) async fn proxy(&self, asked: Proxy) -> Reply {
        match asked {
            Proxy::Shard(key) => self.proxy_shard(key).await,
            Proxy::Shards => self.proxy_shards().await,
            Proxy::HotKeys(count) => hot_keys(self.engine.metrics().hot_keys(count)),
            Proxy::BigKeys(count) => big_keys(self.engine.metrics().big_keys(count)),
            Proxy::Slowlog(count) => slowlog::answer_split(&self.engine.metrics().slow_log, count),
            Proxy::Unsupported(names) => unsupported(&names),
        }
    }

    /// Reads the key, as a GET would: the cache has it afterwards.
    async fn proxy_shard(&self, key: Bytes) -> Reply {
        let mut found = Vec::with_capacity(1);
        self.engine
            .read(std::slice::from_ref(&key), &mut found)
            .await;
        let shard = self.engine.shard_of(&key);
        let (was_cached, left) = match found.pop() {
            Some(Ok(found)) => {
                let left = match &found.row {
                    None => -2,
                    Some(row) => match self.engine.time_left(&key, row) {
                        None => -1,
                        Some(left) => i64::try_from(left.as_millis()).unwrap_or(i64::MAX),
                    },
                };
                (found.from_cache, left)
            }
            Some(Err(error)) => return failed(&error),
            None => return Reply::Null,
        };
        let was_cached = if was_cached { "yes" } else { "no" };
        Reply::Map(vec![
            (Reply::text("shard"), Reply::text(shard.to_string())),
            (Reply::text("cached"), Reply::text(was_cached)),
            (Reply::text("ttl_ms"), Reply::Integer(left)),
        ])
    }

    async fn proxy_shards(&self) -> Reply {
        let health = self.engine.health();
        let stats = self.engine.stats().await;
        let mut shards = Vec::new();
        for (index, state) in health.shards.iter().enumerate() {
            let count = |number: Option<u64>| {
                number.map_or(Reply::Null, |number| {
                    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
                })
            };
            let connections = stats.pool_sizes.get(index).map(|size| *size as u64);
            let mut fields = vec![
                (
                    Reply::text("state"),
                    Reply::text(if state.is_ok() { "up" } else { "down" }),
                ),
                (
                    Reply::text("keys"),
                    count(stats.distribution.get(index).copied().flatten()),
                ),
                (Reply::text("connections"), count(connections)),
            ];
            if let Err(reason) = state {
                fields.push((Reply::text("reason"), Reply::text(reason.clone())));
            }
            shards.push((Reply::text(format!("shard_{index}")), Reply::Map(fields)));
        }
        Reply::Map(shards)
    }
}

fn hot_keys(keys: Vec<HotKey>) -> Reply {
    let number = |number: f64| Reply::text(format!("{number:.1}"));
    let shown = keys.into_iter().map(|hot| {
        let HotKey {
            reads,
            writes,
            share,
            ..
        } = hot;
        let mut fields = key_fields(hot.key);
        fields.extend([
            (Reply::text("requests_per_second"), number(reads + writes)),
            (Reply::text("reads_per_second"), number(reads)),
            (Reply::text("writes_per_second"), number(writes)),
            (Reply::text("percent"), number(100.0 * share)),
        ]);
        Reply::Map(fields)
    });
    Reply::Array(shown.collect())
}

fn big_keys(keys: Vec<BigKey>) -> Reply {
    let shown = keys.into_iter().map(|big| {
        let BigKey { key, size, seen } = big;
        let mut fields = key_fields(key);
        fields.extend([
            (Reply::text("bytes"), Reply::Integer(size as i64)),
            (
                Reply::text("seen_seconds_ago"),
                Reply::Integer(seen.elapsed().as_secs() as i64),
            ),
        ]);
        Reply::Map(fields)
    });
    Reply::Array(shown.collect())
}

/// Of a long key only the beginning is known.
fn key_fields(key: SampledKey) -> Vec<(Reply, Reply)> {
    let is_whole = key.bytes.len() == key.length;
    let mut fields = vec![
        (Reply::text("key"), Reply::Bulk(key.bytes)),
        (
            Reply::text("shard"),
            Reply::text(format!("shard_{}", key.shard)),
        ),
    ];
    if !is_whole {
        fields.push((Reply::text("key_bytes"), Reply::Integer(key.length as i64)));
    }
    fields
}

fn unsupported(names: &[Bytes]) -> Reply {
    let is_asked = |known: &str| {
        let is_it = |name: &Bytes| name.eq_ignore_ascii_case(known.as_bytes());
        names.is_empty() || names.iter().any(is_it)
    };
    let listed = UNSUPPORTED
        .iter()
        .filter(|(name, _)| is_asked(name))
        .map(|(name, reason)| (Reply::text(*name), Reply::text(*reason)));
    Reply::Map(listed.collect())
}
