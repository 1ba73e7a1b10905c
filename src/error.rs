//! What can go wrong between a command and its reply.
//!
//! Each variant says where the failure came from; [`Error::outcome`] says what is known about the
//! effect. The words a client sees are made in one place for each protocol: RESP from the
//! [`Display`](std::fmt::Display) of this type, HTTP in `http::error`.

use crate::routing::ShardId;

/// What is known about a failed operation's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing happened. Trying again is safe.
    NotApplied,
    /// It may or may not have happened; only reading the key can tell.
    Unknown,
}

/// A failed operation, in the words that a RESP client gets after the `-`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The shard can't be reached, or is not the one that it should be.
    #[error("SHARDDOWN {shard} is unavailable: {reason}")]
    ShardDown {
        /// The shard that the key belongs to.
        shard: ShardId,
        /// Why, without credentials.
        reason: String,
    },
    /// The connection was lost after a write had been sent and before its commit was confirmed.
    #[error(
        "UNKNOWNOUTCOME the write to {shard} may or may not have happened: {reason}; read the key to find out"
    )]
    OutcomeUnknown {
        /// The shard that the write was sent to.
        shard: ShardId,
        /// What happened to the connection.
        reason: String,
    },
    /// A write over several shards was done on some of them and not on this one.
    #[error(
        "{code} {shard} did not do its part of the write: {reason}; the other shards did theirs"
    )]
    Partial {
        /// The code of that shard's own error.
        code: &'static str,
        /// The first shard that did not do its part.
        shard: ShardId,
        /// Why.
        reason: String,
    },
    /// The shard received the statement and refused it: a full disk, a read-only standby, a lock
    /// that was not granted in time. Nothing was changed.
    #[error("SHARDERR {shard} refused the operation, nothing was changed: {reason}")]
    ShardRefused {
        /// The shard.
        shard: ShardId,
        /// The database's own message.
        reason: String,
    },
    /// More comes than the shard can do; nothing was done.
    #[error("BUSY {shard} is overloaded: {reason}; nothing was done, try again later")]
    Busy {
        /// The shard.
        shard: ShardId,
        /// Which queue or bound refused it.
        reason: String,
    },
    /// What has to happen at one instant is on several shards.
    #[error(
        "CROSSSHARD the keys are on several shards ({}), and {reason}; nothing was done; or use keys of one shard, as HASH_TAGS=on makes it easy",
        .shards.iter().map(ShardId::to_string).collect::<Vec<_>>().join(", ")
    )]
    CrossShard {
        /// The shards.
        shards: Vec<ShardId>,
        /// Which of them can't take part, and what to do.
        reason: String,
    },
    /// The proxy is stopping and no longer takes operations.
    #[error("SHUTDOWN respgres is stopping; nothing was done, connect again")]
    Stopping,
}

impl Error {
    /// This error of one shard, where other shards have done their parts of the write.
    pub fn after_others(self, shard: ShardId) -> Error {
        let (code, reason) = match self {
            Error::ShardDown { reason, .. } => ("SHARDDOWN", reason),
            Error::ShardRefused { reason, .. } => ("SHARDERR", reason),
            Error::Busy { reason, .. } => ("BUSY", format!("it is overloaded: {reason}")),
            Error::Stopping => ("SHUTDOWN", "respgres is stopping".to_owned()),
            error @ (Error::OutcomeUnknown { .. }
            | Error::Partial { .. }
            | Error::CrossShard { .. }) => return error,
        };
        Error::Partial {
            code,
            shard,
            reason,
        }
    }

    /// What is known about the effect of the failed operation.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::OutcomeUnknown { .. } | Error::Partial { .. } => Outcome::Unknown,
            Error::ShardDown { .. }
            | Error::ShardRefused { .. }
            | Error::Busy { .. }
            | Error::CrossShard { .. }
            | Error::Stopping => Outcome::NotApplied,
        }
    }
}
