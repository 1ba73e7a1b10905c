//! The commands around a transaction. <https://redis.io/docs/latest/develop/interact/transactions/>

use bytes::Bytes;

/// MULTI and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// MULTI: commands are queued from here on.
    Begin,
    /// EXEC: does what was queued.
    Execute,
    /// DISCARD: forgets what was queued.
    Discard,
    /// `WATCH key [key …]`: EXEC does nothing if one of these has been written since.
    Watch(Vec<Bytes>),
    /// UNWATCH
    Unwatch,
}
