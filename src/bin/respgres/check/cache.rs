//! What is right and wrong with the Redis.

use respgres::cache;
use respgres::config::{Config, SecretUrl};
use respgres::tls::ClientTls;

use super::report::Report;
use crate::failure::Failure;

const SUBJECT: &str = "REDIS_URL";

pub async fn check(
    url: &SecretUrl,
    tls: Option<&ClientTls>,
    config: &Config,
    report: &mut Report,
) -> Result<(), Failure> {
    // Longer than a step may take: how long that is, is what is looked for.
    let limit = config.redis_timeout.max(config.db_connect_timeout);
    let facts = match cache::survey(url.expose(), tls, limit).await {
        Ok(facts) => facts,
        Err(reason) => {
            return report.wrong(
                SUBJECT,
                &format!("{url} can't be used: {reason}; respgres works without it, slower"),
            );
        }
    };
    report.right(
        SUBJECT,
        &format!(
            "{url} is reached: connected in {:.1} ms, round trip {:.1} ms",
            millis(facts.connected_in),
            millis(facts.round_trip)
        ),
    )?;
    if facts.connected_in.max(facts.round_trip) * 2 > config.redis_timeout {
        report.warning(
            SUBJECT,
            &format!(
                "that is not far from REDIS_TIMEOUT_MS ({}), after which it is taken for down; raise that, or find out why",
                config.redis_timeout.as_millis()
            ),
        )?;
    }
    match &facts.unfit {
        None => report.right(SUBJECT, &format!("Redis {}, a master", facts.version))?,
        Some(reason) => report.wrong(
            SUBJECT,
            &format!("{reason}; give the URL of a master of Redis 7 or later"),
        )?,
    }
    if let Some(reason) = &facts.refuses_writes {
        report.warning(SUBJECT, reason)?;
    }
    match (facts.memory_max, facts.policy.as_str()) {
        (0, _) => report.warning(
            SUBJECT,
            "maxmemory is not set: the cache grows until the machine is full; set maxmemory, and maxmemory-policy allkeys-lru",
        ),
        (max, "noeviction") => report.warning(
            SUBJECT,
            &format!("maxmemory is {max} with maxmemory-policy noeviction: once it is full it refuses what is to be cached; set allkeys-lru"),
        ),
        (max, policy) => report.right(SUBJECT, &format!("maxmemory {max}, {policy}")),
    }
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
