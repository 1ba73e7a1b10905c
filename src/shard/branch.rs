//! Transactions over several shards, as one shard sees them: its branch, and what is known of those
//! that somebody left behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::orphan::{Unfinished, WriteFailure};
use super::{Asked, Backend, Shard, on_backend, postgres, sqlite};
use crate::command::operation::Access;
use crate::command::{Rows, Timestamp};
use crate::error::Error;
use crate::routing::ShardId;

/// The name of a transaction over several shards: `respgres:`, the deployment, the index of the shard
/// that decides on it, and who began it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gid(String);

/// Characters of the deployment in it. Those that this program draws have fewer; PostgreSQL takes names of
/// up to 199 bytes.
const DEPLOYMENT_MAX: usize = 32;

impl Gid {
    /// A new one; `by` tells people who began it.
    pub fn draw(deployment: &str, decider: ShardId, by: &str) -> Self {
        let prefix = Self::prefix(deployment);
        let (decider, random) = (decider.index(), fastrand::u64(..));
        Self(format!("{prefix}{decider}:{by}:{random:016x}"))
    }

    /// What all names of a deployment begin with.
    pub fn prefix(deployment: &str) -> String {
        let shown: String = deployment.chars().take(DEPLOYMENT_MAX).collect();
        format!("respgres:{shown}:")
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

    /// What the branch of a shard is called, as a literal of SQL. A server may have several shards, and
    /// has the names of all its databases in one place.
    pub(super) fn branch(&self, shard: ShardId) -> String {
        // With a backslash it would be one of another kind, which PostgreSQL takes in any setting.
        let escaped = self.0.replace('\\', "\\\\").replace('\'', "''");
        format!("E'{escaped}:{}'", shard.index())
    }

    /// The transaction of a branch that is called so.
    pub(super) fn of_branch(name: &str) -> Option<Self> {
        let (gid, _) = name.rsplit_once(':')?;
        Some(Self(gid.to_owned()))
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
    part: Part,
}

enum Part {
    Postgres(Box<postgres::Branch>),
    Sqlite(sqlite::Branch),
}

impl Shard {
    /// Begins a branch: locks the keys, absent ones too, and reads them.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; nothing happened.
    pub async fn begin(self: &Arc<Self>, keys: &[(Bytes, Access)]) -> Result<Branch, Error> {
        self.breaker.check(self.id)?;
        let result = match &self.backend {
            Backend::Postgres(backend) => {
                let begun = backend.begin(keys).await;
                begun.map(|branch| Part::Postgres(Box::new(branch)))
            }
            Backend::Sqlite(backend) => backend.begin(keys).await.map(Part::Sqlite),
        };
        let part = self.judge(result, Asked::ToRead)?;
        Ok(Branch {
            shard: Arc::clone(self),
            part,
        })
    }

    /// Finishes a branch that was prepared. One that is not there was finished by somebody else.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; it may be finished or not.
    pub async fn finish(&self, gid: &Gid, verdict: Verdict) -> Result<(), Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.finish(gid, verdict).await);
        self.judge(result, Asked::ToRead)
    }

    /// What this shard has decided on a transaction. If it has not yet, that is that it does not happen.
    ///
    /// # Errors
    ///
    /// The shard is down or refused: it stays open.
    pub async fn verdict(&self, gid: &Gid) -> Result<Verdict, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.verdict(gid).await);
        self.judge(result, Asked::ToRead)
    }

    /// Branches of this deployment that were prepared longer than `age` ago.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn in_doubt(&self, deployment: &str, age: Duration) -> Result<Vec<Gid>, Error> {
        self.breaker.check(self.id)?;
        let result = match &self.backend {
            Backend::Postgres(backend) => backend.in_doubt(&Gid::prefix(deployment), age).await,
            Backend::Sqlite(backend) => backend.in_doubt(age).await,
        };
        self.judge(result, Asked::ToRead)
    }

    /// Decisions that this shard made a while ago.
    ///
    /// # Errors
    ///
    /// The shard is down or refused.
    pub async fn old_decisions(&self) -> Result<Vec<Decision>, Error> {
        self.breaker.check(self.id)?;
        let result = on_backend!(self, backend => backend.old_decisions().await);
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
        let result = on_backend!(self, backend => backend.forget(decided).await);
        self.judge(result, Asked::ToRead)
    }
}

impl Branch {
    /// The shard.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Whether the server can prepare transactions.
    pub fn can_prepare(&self) -> bool {
        match &self.part {
            Part::Postgres(branch) => branch.can_prepare(),
            Part::Sqlite(_) => true,
        }
    }

    /// The shard's now.
    pub fn now(&self) -> Timestamp {
        match &self.part {
            Part::Postgres(branch) => branch.now(),
            Part::Sqlite(branch) => branch.now(),
        }
    }

    /// Puts the rows as they are under their locks into `rows`; once.
    pub fn put_into(&mut self, rows: &mut Rows) {
        match &mut self.part {
            Part::Postgres(branch) => branch.put_into(rows),
            Part::Sqlite(branch) => branch.put_into(rows),
        }
    }

    /// Writes what `rows` changes on this shard, with a decision also that; not committed yet.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; nothing will happen here.
    pub async fn write(&mut self, rows: &Rows, decision: Option<&Decision>) -> Result<(), Error> {
        let result = match &mut self.part {
            Part::Postgres(branch) => branch.write(rows, decision).await,
            Part::Sqlite(branch) => {
                branch.write(rows, decision);
                Ok(())
            }
        };
        self.shard.judge(result, Asked::ToRead)
    }

    /// Prepares it: from now on it stays, whatever ends, until it is finished.
    ///
    /// # Errors
    ///
    /// The shard is down, and it may be prepared or not; or refused, and it is not.
    pub async fn prepare(&mut self, gid: &Gid) -> Result<(), Error> {
        let result = match &mut self.part {
            Part::Postgres(branch) => branch.prepare(gid).await,
            Part::Sqlite(branch) => branch.prepare(gid).await,
        };
        self.shard.judge(result, Asked::ToRead)
    }

    /// Commits it, not having been prepared.
    ///
    /// # Errors
    ///
    /// As [`Shard::write`].
    pub async fn commit(self) -> Result<(), WriteFailure> {
        let result = match self.part {
            Part::Postgres(branch) => branch.commit().await,
            Part::Sqlite(branch) => branch.commit().await.map_err(Unfinished::from),
        };
        self.shard.judge_write(result)
    }

    /// Takes it back, not having been prepared. Success also says that its locks were held until now.
    ///
    /// # Errors
    ///
    /// The shard is down or refused; the server takes it back.
    pub async fn roll_back(self) -> Result<(), Error> {
        let result = match self.part {
            Part::Postgres(branch) => branch.roll_back().await,
            Part::Sqlite(branch) => branch.roll_back().await,
        };
        self.shard.judge(result, Asked::ToRead)
    }

    /// Finishes it, having been prepared.
    ///
    /// # Errors
    ///
    /// As [`Shard::finish`].
    pub async fn finish(self, gid: &Gid, verdict: Verdict) -> Result<(), Error> {
        let result = match self.part {
            Part::Postgres(branch) => branch.finish(gid, verdict).await,
            Part::Sqlite(branch) => branch.finish(gid, verdict).await,
        };
        self.shard.judge(result, Asked::ToRead)
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
        let branch = long.branch(ShardId::new(1023));
        assert!(branch.len() - "E''".len() < 200, "{branch}");
    }

    #[test]
    fn a_name_is_quoted_whatever_is_in_it() {
        let gid = Gid::from_text("a'b\\c");
        assert_eq!(gid.branch(ShardId::new(7)), "E'a''b\\\\c:7'");
        assert_eq!(Gid::of_branch("a'b\\c:7"), Some(gid));
    }
}
