//! MEMORY: what this process takes. <https://redis.io/docs/latest/commands/memory-stats/>

use super::Server;
use crate::command::control::Memory;
use crate::metrics::process::Memory as Usage;
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
