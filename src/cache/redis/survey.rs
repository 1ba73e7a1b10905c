//! A look at a Redis before it is used. It writes nothing.

use std::time::{Duration, Instant};

use ::redis::{InfoDict, cmd};

use super::server;
use crate::tls::{ClientTls, RedisTarget};

/// What a Redis says of itself.
#[derive(Debug)]
pub struct RedisFacts {
    /// How long the connection took, with its authentication.
    pub connected_in: Duration,
    /// How long a question and its answer take.
    pub round_trip: Duration,
    /// As in `7.0.15`.
    pub version: String,
    /// Why it can't be used, if it can't.
    pub unfit: Option<String>,
    /// Bytes that it may take; 0 is without a limit.
    pub memory_max: u64,
    /// What it does then.
    pub policy: String,
    /// Why it refuses writes now, if it does.
    pub refuses_writes: Option<String>,
}

/// Connects, within `limit`, and asks.
///
/// # Errors
///
/// It can't be reached, or does not answer in time. The text shows no password.
pub async fn survey(
    url: &str,
    tls: Option<&ClientTls>,
    limit: Duration,
) -> Result<RedisFacts, String> {
    let target = RedisTarget::new(url, tls)?;
    tokio::time::timeout(limit, ask(&target))
        .await
        .unwrap_or_else(|_elapsed| {
            let hint = target.silence().replace("no answer", "");
            Err(format!("no answer within {} ms{hint}", limit.as_millis()))
        })
}

async fn ask(target: &RedisTarget) -> Result<RedisFacts, String> {
    let begun = Instant::now();
    let mut connection = server::dial(target).await?;
    let connected_in = begun.elapsed();
    let info: InfoDict = cmd("INFO")
        .query_async(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    let asked = Instant::now();
    cmd("PING")
        .query_async::<()>(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    let field = |name: &str| info.get::<String>(name).unwrap_or_default();
    let failed_save = (field("rdb_last_bgsave_status") == "err").then(|| {
        "its last save failed: it may refuse writes (stop-writes-on-bgsave-error)".to_owned()
    });
    Ok(RedisFacts {
        connected_in,
        round_trip: asked.elapsed(),
        version: field("redis_version"),
        unfit: server::check(&info).err(),
        memory_max: info.get("maxmemory").unwrap_or_default(),
        policy: field("maxmemory_policy"),
        refuses_writes: failed_save,
    })
}
