//! A look at the databases before anything is started on them. It writes nothing, and makes nothing.

use std::time::Duration;

use super::identity::{Candidate, Identity, Mismatch, reconcile};
use super::{Settings, postgres, sqlite};
use crate::config::ShardTarget;
use crate::routing::{Routing, ShardId};

/// What was found where one shard should be.
#[derive(Debug)]
pub struct Survey {
    /// The shard that the configuration takes it for.
    pub shard: ShardId,
    /// The variable that names it.
    pub variable: String,
    /// What was found; a text for the operator, without a password, if nothing was.
    pub found: Result<Found, String>,
    /// The variable before it that names the same database.
    pub is_also: Option<String>,
}

/// A database.
#[derive(Debug)]
pub enum Found {
    /// A PostgreSQL server was reached.
    Postgres(Box<PostgresFacts>),
    /// The file is there, or can be made.
    Sqlite(SqliteFacts),
}

impl Found {
    /// Who it says it is; `None` if it is blank.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Found::Postgres(facts) => facts.identity.as_ref(),
            Found::Sqlite(facts) => facts.identity.as_ref(),
        }
    }
}

/// What a PostgreSQL server and its database say.
#[derive(Debug)]
pub struct PostgresFacts {
    /// How long the connection took, with its authentication.
    pub connected_in: Duration,
    /// How long a question and its answer take.
    pub round_trip: Duration,
    /// As in `15.18`.
    pub version: String,
    /// As in 150018.
    pub version_number: i32,
    /// It is a standby in recovery.
    pub is_standby: bool,
    /// The encoding of the database.
    pub encoding: String,
    /// Its collation.
    pub collation: String,
    /// The role that this is.
    pub role: String,
    /// The schema in which tables are made; `None` if the role's `search_path` has none that exists.
    pub schema: Option<String>,
    /// The role may make tables there.
    pub may_create: bool,
    /// Tables of respgres there which another role owns.
    pub owned_by_others: Vec<String>,
    /// Transactions that can be prepared at a time.
    pub prepared_max: i32,
    /// Connections that roles without privileges can have, by all limits that there are.
    pub connections_max: i32,
    /// Connections that the server has for all such roles together.
    pub server_connections_max: i32,
    /// The same for all databases of one running server; `None` if it does not tell.
    pub server: Option<String>,
    /// Connections that are open.
    pub connections: i32,
    /// The settings for durability that are off.
    pub off: Vec<String>,
    /// How much the server's clock is ahead of this machine's, in milliseconds, to half a round trip.
    pub clock_ahead_millis: i64,
    /// A pooler hands out its sessions by the transaction.
    pub is_pooled_by_transaction: bool,
    /// Who the database says it is; `None` if it is blank.
    pub identity: Option<Identity>,
}

/// What is known of a file.
#[derive(Debug)]
pub struct SqliteFacts {
    /// Whether it is there; else it will be made.
    pub exists: bool,
    /// Who it says it is; `None` if it is blank.
    pub identity: Option<Identity>,
}

/// Looks at all of them at once.
pub async fn survey(targets: &[ShardTarget], settings: &Settings) -> Vec<Survey> {
    let looking: Vec<_> = targets
        .iter()
        .zip(0u16..)
        .map(|(target, index)| {
            let (target, settings) = (target.clone(), settings.clone());
            tokio::spawn(async move { look(&target, ShardId::new(index), &settings).await })
        })
        .collect();
    let (mut surveys, mut sessions) = (Vec::new(), Vec::new());
    for ((target, index), looked) in targets.iter().zip(0u16..).zip(looking) {
        let (found, session) = match looked.await {
            Ok(Ok((found, session))) => (Ok(found), session),
            Ok(Err(reason)) => (Err(reason), None),
            Err(error) => (Err(format!("it could not be looked at: {error}")), None),
        };
        surveys.push(Survey {
            shard: ShardId::new(index),
            variable: target.variable().to_owned(),
            found,
            is_also: None,
        });
        sessions.push(session);
    }
    // A lock that only this process knows: who can't have it is where another of these sessions is. The sessions are held
    // until all have tried.
    let mark = fastrand::i64(..);
    let mut marked: Vec<(usize, String)> = Vec::new();
    for (position, session) in sessions.iter().enumerate() {
        let Some(session) = session else { continue };
        match session.mark(mark).await {
            Ok(true) => marked.push((position, session.database().to_owned())),
            Ok(false) => {
                // One of those that have it; by the name of the database, where there are several.
                let same = marked
                    .iter()
                    .find(|(_, database)| database == session.database())
                    .or(marked.first());
                surveys[position].is_also =
                    same.map(|(other, _)| targets[*other].variable().to_owned());
            }
            // What is wrong with the server is told already, or comes up at the start.
            Err(_) => {}
        }
    }
    surveys
}

/// Compares who the databases say they are, as a start does.
pub fn mismatches(surveys: &[Survey], routing: Routing) -> Vec<Mismatch> {
    let candidates: Vec<_> = surveys
        .iter()
        .filter_map(|survey| {
            Some(Candidate {
                variable: &survey.variable,
                shard: survey.shard,
                identity: survey.found.as_ref().ok()?.identity().cloned(),
            })
        })
        .collect();
    reconcile(&candidates, routing, None)
        .err()
        .unwrap_or_default()
}

async fn look(
    target: &ShardTarget,
    shard: ShardId,
    settings: &Settings,
) -> Result<(Found, Option<postgres::Visit>), String> {
    match target {
        ShardTarget::Postgres { config, tls, .. } => {
            let visit = postgres::Visit::begin(config, tls, settings).await?;
            let facts = visit.facts().await?;
            Ok((Found::Postgres(Box::new(facts)), Some(visit)))
        }
        ShardTarget::Sqlite { path, .. } => {
            let path = path.clone();
            let looking = tokio::task::spawn_blocking(move || sqlite::survey(&path));
            let facts = looking
                .await
                .map_err(|error| format!("{shard} could not be looked at: {error}"))??;
            Ok((Found::Sqlite(facts), None))
        }
    }
}
