//! Counters of the whole process, each with its name and help for `/metrics` in one table.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($field:ident: $help:literal;)*) => {
        /// All counters.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Counter,)*
        }

        impl Metrics {
            /// Every counter as (name, help, value); `/metrics` adds the prefix `respgres_` and
            /// the suffix `_total`.
            pub fn table(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($field), $help, self.$field.get()),)*]
            }
        }
    };
}

counters! {
    cache_hits: "Keys answered from the cache";
    cache_misses: "Keys read from a shard";
    commands: "RESP commands processed";
    connections: "RESP connections accepted";
    network_input_bytes: "Bytes read from RESP clients";
    network_output_bytes: "Bytes written to RESP clients";
    connections_rejected: "RESP connections refused because of MAX_CLIENTS";
    protocol_errors: "RESP connections closed because of a broken frame";
    http_requests: "HTTP requests answered";
    shard_read_batches: "Read statements sent to shards";
    shard_write_batches: "Write statements or transactions sent to shards";
    shard_writes: "Single writes in those batches";
    transactions_across: "Transactions begun over several shards";
    transactions_recovered: "Parts of such transactions that were left behind by another proxy, or by a lost connection, and finished here";
    shard_errors: "Shard operations that failed";
    view_changes: "Changes of a shard's view of the cache, by whichever proxy";
    outside_writes: "Rows changed past the proxies whose cache entries were removed";
    expired_rows_removed: "Rows deleted by the sweeper because they had expired";
    tls_connections: "Connections accepted with TLS, on both ports";
    tls_refused: "Connections to the ports with TLS that ended in the handshake";
    tls_refused_plain: "Those of them that did not speak TLS";
}
