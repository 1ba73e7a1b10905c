//! Bringing the shards up: reach each one, compare who they are, found what is blank.
//!
//! Nothing is written before everything that can be reached has been compared. Several proxies may
//! start at once: they take the start-up locks in the order of the shards, so one of them founds
//! the deployment and the others find it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::identity::{Candidate, Identity, Mismatch, draw_deployment, reconcile};
use super::member::MemberId;
use super::postgres::{Claim, PostgresShard};
use super::sqlite::SqliteShard;
use super::{Backend, Failure, Shard, Verdict};
use crate::config::ShardTarget;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::routing::{Routing, Scheme, ShardId};
use crate::workers::Workers;

/// Bounds on connections and statements.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections kept open to each shard.
    pub pool_min_size: usize,
    /// Most connections to each shard.
    pub pool_max_size: usize,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
    /// Longest wait for a free connection of the pool.
    pub pool_wait_timeout: Duration,
    /// Longest statement.
    pub query_timeout: Duration,
    /// Length of the longest value, in bytes.
    pub value_max: usize,
    /// Where the connections live: those of a shard's pool on the worker of that shard.
    pub workers: Workers,
    /// What of a key selects its shard.
    pub scheme: Scheme,
    /// Where waits for connections are counted, and breakers that open.
    pub metrics: Arc<Metrics>,
}

/// The configuration and the databases do not fit each other. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenError(pub Vec<Mismatch>);

/// All shards of the deployment.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Arc<Shard>>,
    scheme: Scheme,
    value_max: usize,
    pool_max_size: usize,
    deployment: Arc<OnceLock<String>>,
    member: MemberId,
}

/// Makes the shards of the configuration and brings up those that can be reached.
///
/// # Errors
///
/// An SQLite file can't be opened, or a database is not the one that its variable should name.
pub async fn open(targets: &[ShardTarget], settings: &Settings) -> Result<Shards, OpenError> {
    let member = MemberId::draw();
    let mut shards = Vec::with_capacity(targets.len());
    let mut mismatches = Vec::new();
    for (target, index) in targets.iter().zip(0u16..) {
        let id = ShardId::new(index);
        let identity = Arc::default();
        let backend = match target {
            ShardTarget::Postgres { config, tls, .. } => {
                PostgresShard::new(config, tls, id, member, settings, Arc::clone(&identity))
                    .map(Backend::Postgres)
            }
            ShardTarget::Sqlite { path, .. } => {
                SqliteShard::open(path, member, settings.value_max).map(Backend::Sqlite)
            }
        };
        match backend {
            Ok(backend) => {
                shards.push(Arc::new(Shard::new(
                    id,
                    target.variable().to_owned(),
                    backend,
                    identity,
                    Arc::clone(&settings.metrics),
                )));
            }
            Err(problem) => mismatches.push(Mismatch {
                shard: id,
                variable: target.variable().to_owned(),
                problem,
            }),
        }
    }
    if !mismatches.is_empty() {
        return Err(OpenError(mismatches));
    }
    let shards = Shards {
        shards,
        scheme: settings.scheme,
        value_max: settings.value_max,
        pool_max_size: settings.pool_max_size,
        deployment: Arc::default(),
        member,
    };
    shards.establish(AtStart::Yes).await?;
    shards.finish_in_files().await?;
    Ok(shards)
}

/// Whether a mismatch refuses the start, or only its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtStart {
    Yes,
    No,
}

/// A shard that was reached and is not established yet.
struct Reached<'a> {
    shard: &'a Arc<Shard>,
    /// SQLite needs no session: its file is locked for this process.
    claim: Option<Claim>,
}

impl Shards {
    /// The shards, by index.
    pub fn all(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The number of shards, at least 1.
    pub fn num_shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// How keys are spread over them.
    pub fn routing(&self) -> Routing {
        Routing {
            num_shards: self.num_shards(),
            scheme: self.scheme,
        }
    }

    /// Length of the longest value, in bytes.
    pub fn value_max(&self) -> usize {
        self.value_max
    }

    /// Connections to each shard at most.
    pub fn pool_max_size(&self) -> usize {
        self.pool_max_size
    }

    /// Which proxy this process is, to the others.
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The deployment's id, once a shard has been reached.
    pub fn deployment(&self) -> Option<&str> {
        self.deployment.get().map(String::as_str)
    }

    /// The deployment's id, as a cell that is filled once a shard has been reached.
    pub fn deployment_cell(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.deployment)
    }

    /// Whether each shard has been up since this process started.
    pub fn all_established(&self) -> bool {
        self.shards
            .iter()
            .all(|shard| shard.identity.get().is_some())
    }

    /// Brings up the shards that could not be reached at the start, as far as they can be reached
    /// now. One whose database is not the right one stays down, and says so.
    pub async fn establish_late(&self) {
        // Every mismatch is its shard's reason for being down.
        let _ = self.establish(AtStart::No).await;
    }

    /// Finishes the transactions over several files in the middle of which the process before ended. Their
    /// rows are not locked any more, so nobody may be served before.
    async fn finish_in_files(&self) -> Result<(), OpenError> {
        for shard in self.shards.iter().filter(|shard| shard.is_private()) {
            if let Err(error) = self.finish_in_file(shard).await {
                return Err(OpenError(vec![Mismatch {
                    shard: shard.id,
                    variable: shard.variable.clone(),
                    problem: format!("has a part of a transaction that can't be finished: {error}"),
                }]));
            }
        }
        Ok(())
    }

    async fn finish_in_file(&self, shard: &Shard) -> Result<(), Error> {
        let deployment = self.deployment().unwrap_or_default();
        for gid in shard.in_doubt(deployment, Duration::ZERO).await? {
            let decider = gid.decider(deployment);
            let decider = decider.and_then(|decider| self.shards.get(decider.index()));
            let verdict = match decider {
                Some(decider) => decider.verdict(&gid).await?,
                // Files decide on themselves, and all of them are here.
                None => Verdict::Abort,
            };
            shard.finish(&gid, verdict).await?;
            tracing::info!(shard = %shard.id, %gid, ?verdict, "a transaction over several shards was left behind; its part here is finished");
        }
        Ok(())
    }

    async fn establish(&self, at_start: AtStart) -> Result<(), OpenError> {
        let waiting = self
            .shards
            .iter()
            .filter(|shard| shard.identity.get().is_none());
        let mut reached = Vec::new();
        for (shard, claim) in reach(waiting).await {
            match claim {
                Ok(claim) => reached.push(Reached { shard, claim }),
                Err(failure) => shard.trip(failure.to_string()),
            }
        }
        let result = loop {
            match self.establish_reached(&mut reached).await {
                Err(OpenError(found)) if at_start == AtStart::No => {
                    for Mismatch {
                        shard,
                        variable,
                        problem,
                    } in &found
                    {
                        let (wrong, right): (Vec<_>, Vec<_>) = reached
                            .into_iter()
                            .partition(|reached| reached.shard.id == *shard);
                        for Reached { shard, .. } in wrong {
                            shard.trip(format!("{variable} {problem}"));
                        }
                        reached = right;
                    }
                }
                result => break result,
            }
        };
        for reached in reached {
            if let Some(claim) = reached.claim {
                claim.release().await;
            }
        }
        result
    }

    async fn establish_reached(&self, reached: &mut Vec<Reached<'_>>) -> Result<(), OpenError> {
        refuse_one_database_twice(reached).await?;
        let mut identities = Vec::new();
        let mut still_reached = Vec::new();
        for shard in reached.drain(..) {
            match shard.look().await {
                Ok(identity) => {
                    identities.push(identity);
                    still_reached.push(shard);
                }
                Err(failure) => shard.shard.trip(failure.to_string()),
            }
        }
        *reached = still_reached;
        let candidates: Vec<_> = reached
            .iter()
            .zip(&identities)
            .map(|(reached, identity)| Candidate {
                variable: &reached.shard.variable,
                shard: reached.shard.id,
                identity: identity.clone(),
            })
            .collect();
        let found = reconcile(&candidates, self.routing(), self.deployment()).map_err(OpenError)?;
        if reached.is_empty() {
            return Ok(());
        }
        let is_new = found.is_none();
        let deployment = self
            .deployment
            .get_or_init(|| found.unwrap_or_else(draw_deployment))
            .clone();
        for (reached, identity) in reached.iter().zip(identities) {
            let shard = reached.shard;
            if identity.is_none() && !is_new {
                tracing::warn!(shard = %shard.id, variable = %shard.variable, "a blank database joins a deployment that exists already; if this shard had data before, its URL is wrong");
            }
            let own = Identity::of(&deployment, shard.id, self.routing());
            match reached.establish(&own, identity.as_ref()).await {
                Ok(()) => {
                    if shard.identity.set(own).is_ok() {
                        shard.breaker.close();
                    }
                }
                Err(failure) => shard.trip(failure.to_string()),
            }
        }
        Ok(())
    }
}

/// Connects to all shards at once: one that is down costs its time-out only once.
async fn reach<'a>(
    shards: impl Iterator<Item = &'a Arc<Shard>>,
) -> Vec<(&'a Arc<Shard>, Result<Option<Claim>, Failure>)> {
    let attempts: Vec<_> = shards
        .map(|shard| {
            let owned = Arc::clone(shard);
            let attempt = tokio::spawn(async move {
                match &owned.backend {
                    Backend::Postgres(backend) => backend.claim().await.map(Some),
                    Backend::Sqlite(_) => Ok(None),
                }
            });
            (shard, attempt)
        })
        .collect();
    let mut reached = Vec::with_capacity(attempts.len());
    for (shard, attempt) in attempts {
        let result = attempt
            .await
            .unwrap_or_else(|error| Err(Failure::Unreachable(error.to_string())));
        reached.push((shard, result));
    }
    reached
}

async fn refuse_one_database_twice(reached: &[Reached<'_>]) -> Result<(), OpenError> {
    let mark = fastrand::i64(..);
    let mut marked: Vec<&str> = Vec::new();
    let mut mismatches = Vec::new();
    for Reached { shard, claim } in reached {
        let Some(claim) = claim else { continue };
        match claim.mark(mark).await {
            Ok(true) => marked.push(&shard.variable),
            Ok(false) => mismatches.push(Mismatch {
                shard: shard.id,
                variable: shard.variable.clone(),
                problem: format!(
                    "names a database that another of the variables ({}) names as well; each shard needs a database of its own",
                    marked.join(", ")
                ),
            }),
            // Found again, and told, when it is looked at.
            Err(_) => {}
        }
    }
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(OpenError(mismatches))
    }
}

impl Reached<'_> {
    async fn look(&self) -> Result<Option<Identity>, Failure> {
        match (&self.claim, &self.shard.backend) {
            (Some(claim), _) => {
                claim.lock(&self.shard.variable).await?;
                claim.identity().await
            }
            (None, Backend::Sqlite(backend)) => backend.identity().await,
            (None, Backend::Postgres(_)) => Err(Failure::Unreachable("no session".into())),
        }
    }

    async fn establish(
        &self,
        identity: &Identity,
        found: Option<&Identity>,
    ) -> Result<(), Failure> {
        match (&self.claim, &self.shard.backend) {
            (Some(claim), _) => claim.establish(identity, found).await,
            (None, Backend::Sqlite(backend)) => backend.establish(identity, found).await,
            (None, Backend::Postgres(_)) => Err(Failure::Unreachable("no session".into())),
        }
    }
}

/// All mistakes, one line each.
impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shards do not fit the configuration; nothing was written:")?;
        for Mismatch {
            variable, problem, ..
        } in &self.0
        {
            write!(f, "\n  {variable}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}
