//! The parts of the proxy, made from the configuration.

use std::sync::Arc;

use respgres::access;
use respgres::cache::{self, Cache, MemoryCache, RedisCache};
use respgres::command::table::COMMANDS;
use respgres::config::{CacheTarget, Config};
use respgres::crash_points::CrashPoints;
#[cfg(feature = "crash-points")]
use respgres::crash_points::{DIE_AT, HANG_AT, STOP_AT};
use respgres::engine::{self, Engine, Keepers};
use respgres::metrics::Metrics;
use respgres::routing::Scheme;
use respgres::workers::Workers;
use respgres::{server, shard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::{Failure, refused};

/// The bounds of the RESP port.
pub fn bounds(config: &Config) -> server::Bounds {
    server::Bounds {
        clients_max: config.max_clients,
        request_max: config.max_request_size,
        request_memory: config.max_request_memory,
        output_max: config.max_output_buffer,
        queued_max: config.max_queued_commands,
        authentication_timeout: config.authentication_timeout,
    }
}

/// Where the users of the RESP port are.
pub fn users_source(config: &Config) -> access::Source {
    access::Source {
        password: config.password.clone(),
        users_file: config.users_file.clone(),
        must_ask: false,
    }
}

/// What the configuration says of the shards.
pub fn shard_settings(
    config: &Config,
    workers: &Workers,
    metrics: &Arc<Metrics>,
) -> shard::Settings {
    shard::Settings {
        metrics: Arc::clone(metrics),
        pool_min_size: config.db_pool_min_size,
        pool_max_size: config.db_pool_max_size,
        connect_timeout: config.db_connect_timeout,
        pool_wait_timeout: config.db_pool_wait_timeout,
        query_timeout: config.db_query_timeout,
        value_max: config.max_value_size,
        workers: workers.clone(),
        scheme: Scheme::of(config.hash_tags),
    }
}

/// Where the figures are counted.
pub fn metrics(config: &Config, workers: &Workers) -> Arc<Metrics> {
    Arc::new(Metrics::new(
        workers.runtimes().len(),
        config.shards.len(),
        COMMANDS.len(),
    ))
}

/// The engine, with its shards and its cache; `tasks` are what it leaves running, until `stop`.
///
/// # Errors
///
/// A shard that is not what the configuration says, or a URL of a cache that can't be used.
pub async fn engine(
    config: &Config,
    workers: &Workers,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(Engine, Keepers), Failure> {
    let metrics = metrics(config, workers);
    let settings = shard_settings(config, workers, &metrics);
    let shards = shard::open(&config.shards, &settings)
        .await
        .map_err(|error| refused(error.to_string()))?;
    let cache = match &config.cache {
        CacheTarget::Memory => {
            Cache::Memory(MemoryCache::new(config.cache_memory, config.cache_ttl))
        }
        CacheTarget::Redis { url, tls } => {
            let settings = cache::RedisSettings {
                ttl: config.cache_ttl,
                timeout: config.redis_timeout,
                namespace: shards.deployment_cell(),
                tls: tls.clone(),
                metrics: Arc::clone(&metrics),
            };
            RedisCache::start(url.expose(), settings, workers.clone(), tasks, stop.clone())
                .map(Cache::Redis)
                .map_err(|error| refused(format!("REDIS_URL: {error}")))?
        }
    };
    Ok(Engine::start(
        shards,
        cache,
        engine::Settings {
            reads_when_shard_down: config.reads_when_shard_down,
            queue_wait_max: config.queue_wait_max,
            crash_points: crash_points(),
        },
        metrics,
        workers,
        tasks,
        stop,
    ))
}

/// What the proxy runs on and where the data is, in one line.
pub fn describe(config: &Config) -> String {
    let cache = match &config.cache {
        CacheTarget::Memory => {
            format!(
                "in-process cache of {} MiB",
                config.cache_memory / (1024 * 1024)
            )
        }
        CacheTarget::Redis { url, .. } => format!("cache {url}"),
    };
    if config.embedded {
        return format!(
            "{} embedded SQLite shards in {}, {cache}",
            config.shards.len(),
            config.data_dir.display()
        );
    }
    let shards: Vec<String> = config.shards.iter().map(ToString::to_string).collect();
    format!("{} shards ({}), {cache}", shards.len(), shards.join(", "))
}

#[cfg(feature = "crash-points")]
fn crash_points() -> CrashPoints {
    let named = |variable| std::env::var(variable).ok();
    CrashPoints::new(named(DIE_AT), named(STOP_AT), named(HANG_AT))
}

#[cfg(not(feature = "crash-points"))]
fn crash_points() -> CrashPoints {
    CrashPoints::default()
}
