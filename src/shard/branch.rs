//! Transactions over several shards, as one shard sees them: its branch, and what is known of those
//! that somebody left behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::orphan::{Unfinished, WriteFailure};
use super::{Asked, Backend, Failure, Shard, postgres};
use crate::command::operation::Access;
use crate::command::{Rows, Timestamp};
use crate::error::Error;
use crate::routing::ShardId;

/// The name of a transaction over several shards: `respgres:`, the deployment, the index of the shard
/// that decides on it, and who began it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gid(String);

/// PostgreSQL takes names of up to 199 bytes.
const DEPLOYMENT_MAX: usize = 128;

impl Gid {
    /// A new one; `by` tells people who began it.
    pub fn draw(deployment: &str, decider: ShardId, by: &str) -> Self {
        let prefix = Self::prefix(deployment);
        let (decider, random) = (decider.index(), fastrand::u64(..));
        Self(format!("{prefix}{decider}:{by}:{random:016x}"))
    }

    /// What all names of a deployment begin with.
    pub fn prefix(deployment: &str) -> String {
        let end = deployment.floor_char_boundary(DEPLOYMENT_MAX);
        format!("respgres:{}:", &deployment[..end])
    }

    /// One that a database has.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard that decides, if it is a name of this deployment.
    pub fn decider(&self, deployment: &str) -> Option<ShardId> {
        let rest = self.0.strip_prefix(&Self::prefix(deployment))?;
        let (index, _) = rest.split_once(':')?;
        index.parse().ok().map(ShardId::new)
    }

    /// As a literal of SQL.
    pub(super) fn quoted(&self) -> String {
        // With a backslash it would be one of another kind, which PostgreSQL takes in any setting.
        let escaped = self.0.replace('\\', "\\\\").replace('\'', "''");
        format!("E'{escaped}'")
    }
}

impl std::fmt::Display for Gid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Commit,
    /// It does not.
    Abort,
}

/// That a transaction is to be committed, as the deciding shard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The transaction.
    pub gid: Gid,
    /// The indices of the other shards, on which it is prepared.
    pub branches: Vec<i32>,
}

/// The part of one shard in a transaction. Dropping one that is not prepared rolls it back.
pub struct Branch {
    shard: Arc<Shard>,
    branch: postgres::Branch,
}

impl Shard {
    /// Whether its rows can be part of a transaction with those of other shards.
    pub fn has_branches(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Begins a branch: locks the keys, absent ones too, and reads them.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; nothing happened.
    pub async fn begin(self: &Arc<Self>, keys: &[(Bytes, Access)]) -> Result<Branch, Error> {
        self.breaker.check(self.id)?;
        let result = self.postgres()?.begin(keys).await;
        let branch = self.judge(result, Asked::ToRead)?;
        Ok(Branch {
            shard: Arc::clone(self),
            branch,
        })
    }

    /// Finishes a branch that was prepared. One that is not there was finished by somebody else.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; it may be finished or not.
    pub async fn finish(&self, gid: &Gid, verdict: Verdict) -> Result<(), Error> {
        self.breaker.check(self.id)?;
        let result = self.postgres()?.finish(gid, verdict).await;
        self.judge(result, Asked::ToRead)
    }

    /// What this shard has decided on a transaction. If it has not yet, that is that it does not happen.
    ///
    /// # Errors
    ///
    /// The shard is down or refused: it stays open.
    pub async fn verdict(&self, gid: &Gid) -> Result<Verdict, Error> {
        self.breaker.check(self.id)?;
        let result = self.postgres()?.verdict(gid).await;
        self.judge(result, Asked::ToRead)
    }

    /// Branches of this deployment that were prepared longer than `age` ago.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn in_doubt(&self, deployment: &str, age: Duration) -> Result<Vec<Gid>, Error> {
        self.breaker.check(self.id)?;
        let prefix = Gid::prefix(deployment);
        let result = self.postgres()?.in_doubt(&prefix, age).await;
        self.judge(result, Asked::ToRead)
    }

    /// Decisions that this shard made a while ago.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn old_decisions(&self) -> Result<Vec<Decision>, Error> {
        self.breaker.check(self.id)?;
        let result = self.postgres()?.old_decisions().await;
        self.judge(result, Asked::ToRead)
    }

    /// Forgets decisions. To be called when no shard has a branch of them any more: an open one would
    /// be taken for undecided.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn forget(&self, decided: &[Gid]) -> Result<(), Error> {
        self.breaker.check(self.id)?;
        let result = self.postgres()?.forget(decided).await;
        self.judge(result, Asked::ToRead)
    }

    fn postgres(&self) -> Result<&postgres::PostgresShard, Error> {
        match &self.backend {
            Backend::Postgres(backend) => Ok(backend),
            Backend::Sqlite(_) => Err(Error::ShardRefused {
                shard: self.id,
                reason: "a SQLite file has no prepared transactions".into(),
            }),
        }
    }
}

impl Branch {
    /// The shard.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Whether the server can prepare transactions.
    pub fn can_prepare(&self) -> bool {
        self.branch.can_prepare()
    }

    /// The shard's now.
    pub fn now(&self) -> Timestamp {
        self.branch.now()
    }

    /// Puts the rows as they are under their locks into `rows`; once.
    pub fn put_into(&mut self, rows: &mut Rows) {
        self.branch.put_into(rows);
    }

    /// Writes what `rows` changes on this shard, with a decision also that; not committed yet.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; nothing will happen here.
    pub async fn write(&mut self, rows: &Rows, decision: Option<&Decision>) -> Result<(), Error> {
        let result = self.branch.write(rows, decision).await;
        self.shard.judge(result, Asked::ToRead)
    }

    /// Prepares it: from now on it stays, whatever ends, until it is finished.
    ///
    /// # Errors
    ///
    /// The shard is down, and it may be prepared or not; or refused, and it is not.
    pub async fn prepare(&mut self, gid: &Gid) -> Result<(), Error> {
        let result = self.branch.prepare(gid).await;
        self.shard.judge(result, Asked::ToRead)
    }

    /// Commits it, not having been prepared.
    ///
    /// # Errors
    ///
    /// As [`Shard::write`].
    pub async fn commit(self) -> Result<(), WriteFailure> {
        let Self { shard, branch } = self;
        let result: Result<(), Unfinished> = branch.commit().await;
        shard.judge_write(result)
    }

    /// Takes it back, not having been prepared. Success also says that its locks were held until now.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; the server takes it back.
    pub async fn roll_back(self) -> Result<(), Error> {
        let Self { shard, branch } = self;
        let result: Result<(), Failure> = branch.roll_back().await;
        shard.judge(result, Asked::ToRead)
    }

    /// Finishes it, having been prepared.
    ///
    /// # Errors
    ///
    /// As [`Shard::finish`].
    pub async fn finish(self, gid: &Gid, verdict: Verdict) -> Result<(), Error> {
        let Self { shard, branch } = self;
        let result = branch.finish(gid, verdict).await;
        shard.judge(result, Asked::ToRead)
    }
}

impl std::fmt::Debug for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Branch")
            .field("shard", &self.shard.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_deployment_and_the_shard_that_decides() {
        let gid = Gid::draw("abc", ShardId::new(12), "0badcafe");
        assert!(gid.as_str().starts_with("respgres:abc:12:0badcafe:"));
        assert_eq!(gid.decider("abc"), Some(ShardId::new(12)));
        assert_eq!(gid.decider("ab"), None);
        assert_eq!(gid.decider("abcd"), None);
        assert_eq!(Gid::from_text("respgres:abc:x:y").decider("abc"), None);
        let long = Gid::draw(&"ü".repeat(200), ShardId::new(1023), "0badcafe");
        assert!(long.as_str().len() < 200, "{}", long.as_str().len());
    }

    #[test]
    fn a_name_is_quoted_whatever_is_in_it() {
        assert_eq!(Gid::from_text("a'b\\c").quoted(), "E'a''b\\\\c'");
    }
}
