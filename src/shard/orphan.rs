//! Writes whose outcome is unknown, and the server processes that may still commit them.

use super::{Backend, Failure, Shard, postgres};
use crate::error::Error;

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// What to tell the client.
    pub error: Error,
    /// What may still commit the write; there is one exactly if the outcome is unknown.
    pub orphan: Option<Orphan>,
    /// Whether a lock was not granted in time.
    pub is_locked: bool,
}

/// The server process of a write whose connection was lost with the commit under way. Until it is
/// gone it may commit at any moment, and hide the row that it wrote from whoever has read since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan(pub(super) postgres::ServerProcess);

impl Shard {
    /// Ends the orphan, and returns when it certainly is gone: what it has not committed by then it
    /// never will. Waits through outages of the shard, for ever if need be.
    pub async fn await_end(&self, orphan: &Orphan) {
        match &self.backend {
            Backend::Postgres(backend) => backend.await_end(orphan.0).await,
            // A write of SQLite has no other end than its answer.
            Backend::Sqlite(_) => {}
        }
    }
}

impl From<Error> for WriteFailure {
    fn from(error: Error) -> Self {
        Self {
            error,
            orphan: None,
            is_locked: false,
        }
    }
}

/// Why a backend did not do a write, and what may still do it.
pub(super) struct Unfinished {
    pub(super) failure: Failure,
    pub(super) orphan: Option<Orphan>,
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            orphan: None,
        }
    }
}
