//! Waiting for a server process to be gone.

use std::time::Duration;

use super::PostgresShard;
use super::session::ServerProcess;

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Tells the process to end, if it is there.
const END: &str = "
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2";

impl PostgresShard {
    /// Returns when `process` is gone. Whatever it had begun is over by then.
    ///
    /// A process that ends runs its exit hooks in two rounds (`shmem_exit`). The first has
    /// `ShutdownPostgres`, which aborts a transaction that is open and frees the locks of the
    /// session; a commit that has begun is finished before an end is even considered, since
    /// interrupts are held meanwhile. The second has `pgstat_beshutdown_hook`, which takes the
    /// process out of `pg_stat_activity`. So who no longer sees it there sees all that it committed.
    ///
    /// After a crash of the server there is nothing to wait for: no process of before survives it.
    pub(in crate::shard) async fn await_end(&self, process: ServerProcess) {
        loop {
            let found = self
                .on_connection(async |connection| {
                    let end = connection.prepare_cached(END).await?;
                    connection
                        .query(&end, &[&process.pid, &process.started])
                        .await
                })
                .await;
            if found.is_ok_and(|rows| rows.is_empty()) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
