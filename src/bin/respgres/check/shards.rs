//! What is right and wrong with the shards.

use std::collections::BTreeMap;

use respgres::config::Config;
use respgres::routing::{Routing, Scheme};
use respgres::shard::Settings;
use respgres::shard::identity::{Mismatch, SCHEMA_VERSION};
use respgres::shard::survey::{Found, PostgresFacts, SqliteFacts, Survey, mismatches, survey};

use super::report::Report;
use crate::failure::Failure;

/// `15` as the server writes it.
const VERSION_MIN: i32 = 15_00_00;
/// A clock that is further off than this is told: only expiries go by it.
const CLOCK_OFF_MAX_MILLIS: i64 = 1000;

pub async fn check(
    config: &Config,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Failure> {
    let surveys = survey(&config.shards, settings).await;
    let routing = Routing {
        num_shards: u16::try_from(config.shards.len()).unwrap_or(u16::MAX),
        scheme: Scheme::of(config.hash_tags),
    };
    let mismatches = mismatches(&surveys, routing);
    for (survey, target) in surveys.iter().zip(&config.shards) {
        let subject = match config.embedded {
            true => survey.shard.to_string(),
            false => survey.variable.clone(),
        };
        match &survey.found {
            Err(reason) => report.wrong(&subject, &format!("{target} can't be used: {reason}"))?,
            Ok(found @ Found::Sqlite(facts)) => {
                sqlite(&subject, &target.to_string(), facts, report)?;
                identity(&subject, survey, found, &mismatches, report)?;
            }
            Ok(found @ Found::Postgres(facts)) => {
                reached(&subject, &target.to_string(), facts, report)?;
                server(&subject, facts, report)?;
                rights(&subject, facts, report)?;
                identity(&subject, survey, found, &mismatches, report)?;
                connections(&subject, facts, config, report)?;
                durability(&subject, facts, report)?;
            }
        }
    }
    together(&surveys, config, report)?;
    let blank = |survey: &&Survey| matches!(&survey.found, Ok(found) if found.identity().is_none());
    let blanks = surveys.iter().filter(blank).count();
    let reached = surveys.iter().filter(|survey| survey.found.is_ok()).count();
    if blanks > 0 && blanks < reached {
        report.warning(
            "shards",
            "some databases are blank and others have rows: if a blank one had rows before, its URL is wrong",
        )?;
    }
    Ok(())
}

/// Whether servers that have several shards have connections for all of them.
fn together(surveys: &[Survey], config: &Config, report: &mut Report) -> Result<(), Failure> {
    let mut servers: BTreeMap<&str, (i32, Vec<&str>)> = BTreeMap::new();
    for survey in surveys {
        if let Ok(Found::Postgres(facts)) = &survey.found
            && let Some(server) = &facts.server
        {
            let entry = servers.entry(server).or_default();
            entry.0 = facts.server_connections_max;
            entry.1.push(&survey.variable);
        }
    }
    for (max, variables) in servers.into_values().filter(|(_, of)| of.len() > 1) {
        let needed = variables.len() * (config.db_pool_max_size + 1);
        let text = format!(
            "{} are on one server: up to {needed} connections of each proxy, of {max}",
            variables.join(", ")
        );
        match usize::try_from(max).unwrap_or(0) >= needed {
            true => report.right("shards", &text)?,
            false => report.wrong(
                "shards",
                &format!("{text}; raise max_connections there, or lower DB_POOL_MAX_SIZE"),
            )?,
        }
    }
    Ok(())
}

fn sqlite(
    subject: &str,
    target: &str,
    facts: &SqliteFacts,
    report: &mut Report,
) -> Result<(), Failure> {
    match facts.exists {
        true => report.right(
            subject,
            &format!("{target} is there, and nobody has it open"),
        ),
        false => report.right(subject, &format!("{target} is not there, and will be made")),
    }
}

fn reached(
    subject: &str,
    target: &str,
    facts: &PostgresFacts,
    report: &mut Report,
) -> Result<(), Failure> {
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    report.right(
        subject,
        &format!(
            "{target} is reached: connected in {:.1} ms, round trip {:.1} ms",
            millis(facts.connected_in),
            millis(facts.round_trip)
        ),
    )?;
    match facts.is_pooled_by_transaction {
        false => report.right(subject, "each connection has a session of its own"),
        true => report.wrong(
            subject,
            "a pooler hands out its sessions by the transaction; set it to session mode (pgbouncer: pool_mode = session), or give the URL of the server itself",
        ),
    }
}

fn server(subject: &str, facts: &PostgresFacts, report: &mut Report) -> Result<(), Failure> {
    let text = format!(
        "PostgreSQL {}, encoding {}, collation {} (keys and values are bytes: any will do)",
        facts.version, facts.encoding, facts.collation
    );
    match facts.version_number >= VERSION_MIN {
        true => report.right(subject, &text)?,
        false => report.wrong(
            subject,
            &format!(
                "PostgreSQL {}; version 15 or later is needed",
                facts.version
            ),
        )?,
    }
    match facts.is_standby {
        false => report.right(subject, "it is a primary")?,
        true => report.wrong(
            subject,
            "it is a standby in recovery; give the URL of the primary",
        )?,
    }
    let off = facts.clock_ahead_millis;
    match off.abs() <= CLOCK_OFF_MAX_MILLIS {
        true => report.right(subject, &format!("its clock is {off} ms ahead of this machine's")),
        false => report.warning(
            subject,
            &format!("its clock is {off} ms ahead of this machine's: keys expire by the server's; synchronise both"),
        ),
    }
}

fn rights(subject: &str, facts: &PostgresFacts, report: &mut Report) -> Result<(), Failure> {
    let role = &facts.role;
    let Some(schema) = &facts.schema else {
        return report.wrong(
            subject,
            &format!("the role {role} has no schema to make tables in; create one that is on its search_path"),
        );
    };
    if !facts.owned_by_others.is_empty() {
        return report.wrong(
            subject,
            &format!(
                "the role {role} does not own {}; all proxies connect as the role that does (or ALTER TABLE … OWNER TO {role})",
                facts.owned_by_others.join(", ")
            ),
        );
    }
    match (&facts.identity, facts.may_create) {
        (Some(identity), _) if identity.schema_version == SCHEMA_VERSION => {
            report.right(subject, &format!("the role {role} owns the tables"))
        }
        (_, true) => report.right(
            subject,
            &format!("the role {role} may make tables in the schema {schema}"),
        ),
        (_, false) => report.wrong(
            subject,
            &format!("the role {role} may not make tables in the schema {schema}; GRANT CREATE ON SCHEMA {schema} TO {role}"),
        ),
    }
}

fn identity(
    subject: &str,
    survey: &Survey,
    found: &Found,
    mismatches: &[Mismatch],
    report: &mut Report,
) -> Result<(), Failure> {
    if let Some(other) = &survey.is_also {
        return report.wrong(
            subject,
            &format!("names the same database as {other}; each shard needs a database of its own"),
        );
    }
    let mut is_wrong = false;
    for mismatch in mismatches
        .iter()
        .filter(|mismatch| mismatch.shard == survey.shard)
    {
        is_wrong = true;
        let text = match mismatch.variable == survey.variable {
            true => mismatch.problem.clone(),
            false => format!("{} {}", mismatch.variable, mismatch.problem),
        };
        report.wrong(subject, &text)?;
    }
    if is_wrong {
        return Ok(());
    }
    match found.identity() {
        None => report.right(subject, "it is blank: the first start makes the tables"),
        Some(identity) if identity.schema_version < SCHEMA_VERSION => report.warning(
            subject,
            &format!(
                "it is {} of {} of deployment {}, with tables of version {}; the first start upgrades them to {SCHEMA_VERSION}: stop all proxies of the older release first",
                survey.shard, identity.num_shards, identity.deployment, identity.schema_version
            ),
        ),
        Some(identity) => report.right(
            subject,
            &format!(
                "it is {} of {} of deployment {}, with tables of version {}",
                survey.shard, identity.num_shards, identity.deployment, identity.schema_version
            ),
        ),
    }
}

fn connections(
    subject: &str,
    facts: &PostgresFacts,
    config: &Config,
    report: &mut Report,
) -> Result<(), Failure> {
    // One more shows the others that it lives.
    let needed = config.db_pool_max_size + 1;
    let (max, open) = (facts.connections_max, facts.connections);
    let text = format!("up to {needed} connections of each proxy, of {max}; {open} are open now");
    match usize::try_from(max).unwrap_or(0) >= needed {
        true => report.right(subject, &text)?,
        false => report.wrong(
            subject,
            &format!("{text}; raise max_connections (or the limit of the role or the database), or lower DB_POOL_MAX_SIZE"),
        )?,
    }
    match facts.prepared_max {
        0 => report.warning(
            subject,
            "max_prepared_transactions is 0: EXEC and MSETNX over several shards are refused with CROSSSHARD; set it to max_connections, and restart the server",
        ),
        max => report.right(subject, &format!("max_prepared_transactions is {max}")),
    }
}

fn durability(subject: &str, facts: &PostgresFacts, report: &mut Report) -> Result<(), Failure> {
    match facts.off.is_empty() {
        true => report.right(subject, "commits are durable"),
        false => report.warning(
            subject,
            &format!(
                "{} off: an acknowledged write may be lost when the server crashes; turn on what is to be kept",
                facts.off.join(", ")
            ),
        ),
    }
}
