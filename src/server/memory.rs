//! MEMORY: what this process takes. <https://redis.io/docs/latest/commands/memory-stats/>

use super::Server;
use crate::command::control::Memory;
use crate::resp::Reply;

pub(super) async fn memory(server: &Server, asked: Memory) -> Reply {
    match asked {
        Memory::Stats => stats(server).await,
        Memory::Doctor => Reply::Verbatim(diagnosis()),
        // The allocator gives memory back by itself.
        Memory::Purge => Reply::OK,
        Memory::AllocatorStats => {
            Reply::text("Stats not supported for the current allocator".to_owned())
        }
    }
}

/// Of Redis' fields those that are known here: a proxy has no dataset.
async fn stats(server: &Server) -> Reply {
    let Usage { resident, peak } = Usage::now();
    let keys = server.engine.count().await.unwrap_or(0);
    let field = |name: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        (Reply::text(name), Reply::Integer(value))
    };
    Reply::Map(vec![
        field("peak.allocated", peak),
        field("total.allocated", resident),
        field("replication.backlog", 0),
        field("clients.slaves", 0),
        field("aof.buffer", 0),
        field("lua.caches", 0),
        field("functions.caches", 0),
        field("keys.count", keys),
        field("allocator.resident", resident),
    ])
}

fn diagnosis() -> String {
    let Usage { resident, peak } = Usage::now();
    format!(
        "The proxy takes {} MiB now and has taken {} MiB at most. The data are in the shards and the cache; ask those for theirs.\n",
        resident / (1024 * 1024),
        peak / (1024 * 1024)
    )
}

/// Bytes of this process, as Linux counts them; 0 where they are not known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) resident: u64,
    pub(super) peak: u64,
}

impl Usage {
    pub(super) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident: kilobytes(&status, "VmRSS:"),
            peak: kilobytes(&status, "VmHWM:"),
        }
    }
}

/// The bytes that a line of `/proc` tells in kilobytes; 0 if there is none.
pub(super) fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes: Option<u64> = number.and_then(|number| number.trim().parse().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}
