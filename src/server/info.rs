//! INFO. <https://redis.io/docs/latest/commands/info/>

use bytes::Bytes;

use super::Server;
use super::session::REDIS_VERSION;

/// The sections, in Redis' order, and one of our own.
const SECTIONS: [&str; 7] = [
    "Server",
    "Clients",
    "Memory",
    "Persistence",
    "Stats",
    "Replication",
    "Keyspace",
];
const OWN_SECTION: &str = "Respgres";

/// The text for the sections asked for; without any, all.
pub(super) async fn info(server: &Server, asked: &[Bytes]) -> String {
    let everything = asked.is_empty()
        || asked.iter().any(|section| {
            ["all", "default", "everything"]
                .iter()
                .any(|all| section.eq_ignore_ascii_case(all.as_bytes()))
        });
    let mut text = String::new();
    for section in SECTIONS.into_iter().chain([OWN_SECTION]) {
        let wanted = everything
            || asked
                .iter()
                .any(|name| name.eq_ignore_ascii_case(section.as_bytes()));
        if !wanted {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str(&format!("# {section}\r\n"));
        for (name, value) in fields(server, section).await {
            text.push_str(&format!("{name}:{value}\r\n"));
        }
    }
    text
}

async fn fields(server: &Server, section: &str) -> Vec<(String, String)> {
    let metrics = server.engine.metrics();
    let uptime = server.started.elapsed().as_secs();
    let pairs = |pairs: &[(&str, String)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    };
    match section {
        "Server" => pairs(&[
            ("redis_version", REDIS_VERSION.into()),
            ("redis_mode", "standalone".into()),
            ("os", std::env::consts::OS.into()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", server.settings.port.to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400).to_string()),
        ]),
        "Clients" => pairs(&[
            ("connected_clients", server.clients.count().to_string()),
            ("maxclients", server.settings.clients_max.to_string()),
            ("blocked_clients", "0".into()),
        ]),
        "Memory" => {
            let resident = resident_bytes().unwrap_or(0);
            pairs(&[
                ("used_memory", resident.to_string()),
                ("used_memory_rss", resident.to_string()),
                ("maxmemory", "0".into()),
                ("maxmemory_policy", "noeviction".into()),
            ])
        }
        "Persistence" => pairs(&[
            ("loading", "0".into()),
            ("rdb_bgsave_in_progress", "0".into()),
            ("aof_enabled", "1".into()),
        ]),
        "Stats" => pairs(&[
            (
                "total_connections_received",
                metrics.connections.get().to_string(),
            ),
            (
                "total_commands_processed",
                metrics.commands.get().to_string(),
            ),
            (
                "rejected_connections",
                metrics.connections_rejected.get().to_string(),
            ),
            (
                "expired_keys",
                metrics.expired_rows_removed.get().to_string(),
            ),
            ("keyspace_hits", metrics.cache_hits.get().to_string()),
            ("keyspace_misses", metrics.cache_misses.get().to_string()),
        ]),
        "Replication" => pairs(&[("role", "master".into()), ("connected_slaves", "0".into())]),
        "Keyspace" => match server.engine.count().await {
            Ok(keys) if keys > 0 => pairs(&[("db0", format!("keys={keys},expires=0,avg_ttl=0"))]),
            // Redis, too, leaves out what has no keys; with a shard down the number is unknown.
            _ => Vec::new(),
        },
        _ => {
            let health = server.engine.health();
            let mut fields = pairs(&[
                ("respgres_version", env!("CARGO_PKG_VERSION").into()),
                ("respgres_backend", server.settings.backend.clone()),
                ("respgres_shards", server.engine.num_shards().to_string()),
                (
                    "respgres_cache",
                    if health.cache_available { "up" } else { "down" }.into(),
                ),
            ]);
            for (index, state) in health.shards.iter().enumerate() {
                let state = if state.is_ok() { "up" } else { "down" };
                fields.push((format!("shard_{index}"), state.into()));
            }
            fields
        }
    }
}

/// Resident memory of this process, as Linux counts it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
